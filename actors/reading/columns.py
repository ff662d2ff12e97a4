"""Values of many names as arrays, until somebody reads them: they travel as a few bytes objects and arrive plain.

A dictionary of 3,000 names made for each of twelve styles, written by pickle and made again at the other end costs
several times what the scores cost. Here it is made once, where it is wanted: pickle writes names and numbers, and what
it reads back are dictionaries and lists (`contracts.plain`). Inside the actor they behave as such.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, overload

import numpy as np

from contracts.plain import Plain, listed, named, tabled


class _Lazy(Mapping[str, Any]):
    """A mapping that is made of arrays when it is first read."""

    @cached_property
    def _plain(self) -> Plain:
        make, parts = self.__reduce__()
        return make(*parts)

    def __reduce__(self) -> tuple[Callable[..., Plain], tuple[Any, ...]]:
        raise NotImplementedError

    def __getitem__(self, name: str) -> Any:
        return self._plain[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._plain)

    def __len__(self) -> int:
        return len(self._plain)


class Named(_Lazy):
    """``{name: value}``, None where undefined.

    Parameters
    ----------
    names : sequence of str
    values : float64 [n_names]
    """

    def __init__(self, names: Sequence[str], values: np.ndarray) -> None:
        self._names, self._values = names, values

    def __reduce__(self) -> tuple[Callable[..., Plain], tuple[Any, ...]]:
        """Give what makes the dictionary."""
        n_missing = int(np.count_nonzero(np.isnan(self._values)))
        return named, (self._names, _packed(self._values), n_missing)


class Table(_Lazy):
    """``{row: {name: value}}``, undefined values left out.

    Parameters
    ----------
    rows, names : sequence of str
    values : float64 [n_rows, n_names]
    """

    def __init__(self, rows: Sequence[str], names: Sequence[str], values: np.ndarray) -> None:
        self._rows, self._names, self._values = rows, names, values

    def __reduce__(self) -> tuple[Callable[..., Plain], tuple[Any, ...]]:
        """Give what makes the dictionaries."""
        whole = np.isfinite(self._values).all(axis=1).tolist()
        return tabled, (tuple(self._rows), self._names, [_packed(row) for row in self._values], whole)


class Rows(Sequence[list[float]]):
    """A matrix as a list of rows.

    Parameters
    ----------
    values : float64 [n_rows, n_columns]
    """

    def __init__(self, values: np.ndarray) -> None:
        self._values = values

    def __reduce__(self) -> tuple[Callable[..., list[list[float]]], tuple[Any, ...]]:
        """Give what makes the list."""
        return listed, (_packed(self._values), self._values.shape[1])

    @overload
    def __getitem__(self, index: int) -> list[float]: ...
    @overload
    def __getitem__(self, index: slice) -> list[list[float]]: ...
    def __getitem__(self, index: int | slice) -> Any:
        """Give rows as lists."""
        return self._values[index].tolist()

    def __len__(self) -> int:
        return len(self._values)


def _packed(values: np.ndarray) -> bytes:
    return np.ascontiguousarray(values, dtype=np.float64).tobytes()
