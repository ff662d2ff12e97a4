"""The last rows of an array that grows by days."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


class Window:
    """Keeps the last `rows` rows, contiguous and in order, at a cost for each new row that does not grow.

    The buffer has room for twice the rows; when it is full the last ones move to its front.

    Parameters
    ----------
    rows : int
        At least this many rows are kept, if there were as many.
    """

    def __init__(self, rows: int) -> None:
        self.rows = max(rows, 1)
        self._buffer: NDArray[Any] | None = None
        self._begin = 0
        self._end = 0

    @property
    def values(self) -> NDArray[Any]:
        """The rows held, the latest last, `[<= rows, ...]`; a view, valid until the next `push`."""
        if self._buffer is None:
            return np.empty((0, 0))
        return self._buffer[self._begin : self._end]

    def push(self, block: NDArray[Any], fill: float = np.nan) -> NDArray[Any]:
        """Add the rows of `block` [n, ..., n_assets] and give all rows that were held before, with them.

        A block that is wider in assets than what is held widens it with `fill`. The answer holds the last `rows` - 1
        earlier rows (or fewer) and then the block.
        """
        held = self.values
        if self._buffer is not None and held.shape[1:] != block.shape[1:]:
            wide = np.full((len(held), *block.shape[1:]), fill, dtype=block.dtype)
            wide[..., : held.shape[-1]] = held
            held = wide
            self._buffer = None
        n = len(block)
        kept = held[max(0, len(held) - self.rows + 1) :]
        if self._buffer is None or n > self.rows:
            joined = np.concatenate([kept, block]) if len(kept) else block
            self._store(joined[max(0, len(joined) - self.rows) :])
            return joined
        begin = self._end - len(kept)
        if self._end + n > len(self._buffer):
            self._buffer[: len(kept)] = kept.copy()
            begin = 0
            self._end = len(kept)
        self._buffer[self._end : self._end + n] = block
        self._end += n
        self._begin = max(begin, self._end - self.rows)
        return self._buffer[begin : self._end]

    def peek(self, block: NDArray[Any], fill: float = np.nan) -> NDArray[Any]:
        """Give what `push` would give, and hold what was held; the answer is valid until the next `push` or `peek`."""
        buffer, n = self._buffer, len(block)
        if buffer is not None and buffer.shape[1:] == block.shape[1:] and n <= self.rows:
            kept = min(self._end - self._begin, self.rows - 1)
            if self._end + n > len(buffer):
                held = self.values.copy()
                buffer[: len(held)] = held
                self._begin, self._end = 0, len(held)
            buffer[self._end : self._end + n] = block
            return buffer[self._end - kept : self._end + n]
        held = self.values
        if buffer is not None and held.shape[1:] != block.shape[1:]:
            wide = np.full((len(held), *block.shape[1:]), fill, dtype=block.dtype)
            wide[..., : held.shape[-1]] = held
            held = wide
        kept_rows = held[max(0, len(held) - self.rows + 1) :]
        return np.concatenate([kept_rows, block]) if len(kept_rows) else block

    def _store(self, last: NDArray[Any]) -> None:
        self._buffer = np.empty((2 * self.rows, *last.shape[1:]), dtype=last.dtype)
        self._buffer[: len(last)] = last
        self._begin, self._end = 0, len(last)
