"""Arrow IPC streams of one shape written again and again: the bytes of the first, with other numbers put in.

All that polars writes beside the numbers (schema, names, lengths, offsets) is the same for the same columns and rows,
and takes a hundred times as long as the numbers do. Where the numbers lie is found by writing the shape twice, once
with zeros and once with ones in every byte of a number; nothing of the format is assumed beyond that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contracts.frames import encode

ONES = 0x01


def in_single(values: NDArray[np.float64]) -> NDArray[np.float32]:
    """Give numbers in single precision, 24 bits; what is beyond its range is infinite, without a warning."""
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(values, np.float32)


class TableShape:
    """A table of texts, dates and numbers, of which the dates and numbers change.

    Parameters
    ----------
    texts : mapping of column to texts [n_rows]
    dates : sequence of str
        Columns of dates.
    numbers : sequence of str
        Columns of numbers.
    single : bool
        The numbers are float32 instead of float64: half the bytes, seven digits.
    """

    def __init__(
        self, texts: Mapping[str, Sequence[str]], dates: Sequence[str], numbers: Sequence[str], single: bool = False
    ) -> None:
        self.n = len(next(iter(texts.values())))
        self._dtype = np.dtype(np.float32 if single else np.float64)
        self._texts, self._dates, self._numbers = texts, tuple(dates), tuple(numbers)
        zeros, ones = (np.frombuffer(self._plain(byte), np.uint8) for byte in (0, ONES))
        self._bytes = zeros
        changed = np.flatnonzero(zeros != ones) if len(zeros) == len(ones) else np.empty(0, np.intp)
        sizes = [4 * self.n] * len(self._dates) + [self._dtype.itemsize * self.n] * len(self._numbers)
        self._starts: list[int] = []
        at = 0
        for size in sizes:
            run = changed[at : at + size]
            if len(run) < size or run[-1] - run[0] != size - 1:
                raise ValueError("the numbers do not lie in one piece each")
            self._starts.append(int(run[0]))
            at += size
        if at != len(changed):
            raise ValueError("something else changes with the numbers")

    def _plain(self, byte: int) -> bytes:
        import polars as pl

        dates = np.full(4 * self.n, byte, np.uint8).view(np.int32)
        row = np.full(self._dtype.itemsize * self.n, byte, np.uint8).view(self._dtype)
        columns: list[Any] = [pl.Series(name, dates).cast(pl.Date) for name in self._dates]
        columns += [pl.Series(name, list(texts), dtype=pl.String) for name, texts in self._texts.items()]
        columns += [pl.Series(name, row, nan_to_null=False) for name in self._numbers]
        return encode(pl.DataFrame(columns))

    def write(self, values: NDArray[np.float64], *dates: np.datetime64) -> bytes:
        """Write the table.

        Parameters
        ----------
        values : float64 [n_numbers, n_rows]
            In single precision, what is beyond its range (3.4e38) is infinite.
        dates
            One for each column of dates, the same in every row.
        """
        if values.shape != (len(self._numbers), self.n) or len(dates) != len(self._dates):
            raise ValueError(f"values are {values.shape}; expected {(len(self._numbers), self.n)}")
        out = self._bytes.copy()
        for start, date in zip(self._starts, dates, strict=False):
            out[start : start + 4 * self.n].view(np.int32)[:] = date.astype("datetime64[D]").astype(np.int64)
        size = self._dtype.itemsize * self.n
        rows = in_single(values) if self._dtype == np.float32 else np.ascontiguousarray(values, np.float64)
        for start, row in zip(self._starts[len(dates) :], rows.view(np.uint8), strict=True):
            out[start : start + size] = row
        return out.tobytes()
