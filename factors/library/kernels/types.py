"""Array types of the kernels and the addressing of rings."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

F8 = NDArray[np.float64]
I8 = NDArray[np.int64]
U8 = NDArray[np.uint64]

LARGEST = np.finfo(np.float64).max


@njit(cache=True, nogil=True, inline="always")
def row_of(t: int, lag: int, rows: int, off: int, n: int) -> int:
    """Position in the arena of the row that is `lag` before row `t`."""
    return off + ((t - lag) % rows) * n


@njit(cache=True, nogil=True, inline="always")
def slot(newest: int, k: int, rows: int) -> int:
    """Ring row that is `k` before ring row `newest`; 0 <= k < rows."""
    i = newest - k
    return i + rows if i < 0 else i
