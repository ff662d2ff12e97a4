"""From which row on a library has to be given the data, so that its values do not tell where they began."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from factors.library.compile.compiler import Library

ROWS = 64
"""Rows that are looked at together: most names are there on one of the first."""


def begin(library: Library, fields: Mapping[str, Any], first: int, stop: int) -> int:
    """Give the row to begin at for the values of the rows `first` to `stop`, not included.

    Recursive factors need everything, others the rows that they look back on. A conditional counts the rows since a
    name was listed, which may lie further back for a name that was away: its last row before that stands for all.

    Parameters
    ----------
    fields : mapping to [n_dates, n_assets]
        Of the whole history, as `Library.run` takes them.
    """
    if library.recursive:
        return 0
    start = max(0, first - max(library.lookback.values()))
    found = start
    for names in library.counted_from_listing if start else ():
        values = [np.asarray(fields[name]) for name in names]
        columns = np.flatnonzero(_absent([one[start] for one in values]))
        if columns.size:
            back = ~_absent([one[start:stop, columns] for one in values]).all(axis=0)  # it came again
            there = ~_absent([one[:start, columns[back]] for one in values])
            there = there[:, there.any(axis=0)]
            if there.size:
                # The last row of each; the earliest of these has every name's on it or behind it.
                found = min(found, start - 1 - int(there[::-1].argmax(axis=0).max()))
    return found


def first_rows(values: Sequence[Any], columns: NDArray[np.intp], stop: int) -> NDArray[np.int64]:
    """Give the first row before `stop` on which all of some fields are there, for each of some columns; -1 for none.

    Parameters
    ----------
    values : sequence of array [n_dates, n_assets]
    columns : int array [n_columns]
    stop : int

    Returns
    -------
    int64 array [n_columns]
    """
    found = np.full(len(columns), -1, dtype=np.int64)
    for start in range(0, stop, ROWS):
        left = np.flatnonzero(found < 0)
        if not left.size:
            break
        there = ~_absent([np.asarray(one[start : min(start + ROWS, stop)])[:, columns[left]] for one in values])
        some = there.any(axis=0)
        found[left[some]] = start + there[:, some].argmax(axis=0)
    return found


def _absent(values: list[Any]) -> Any:
    """Say where one of the fields is missing at least."""
    missing = ~np.isfinite(values[0])
    for one in values[1:]:
        missing = missing | ~np.isfinite(one)
    return missing
