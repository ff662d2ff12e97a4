"""Array types of the kernels and the addressing of rings."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

F8 = NDArray[np.float64]
I8 = NDArray[np.int64]
U8 = NDArray[np.uint64]
U4 = NDArray[np.uint32]

LARGEST = np.finfo(np.float64).max
# Two numbers that differ by less than this times the sum of their sizes differ by rounding.
ROUNDING = 5e-15

# Called from Python. Division by zero gives an infinity or NaN, as in numpy.
entry = njit(cache=True, nogil=True, error_model="numpy")
# Called from kernels only: no wrappers, which are a good part of the compile time.
_KERNEL: dict[str, Any] = {
    "nogil": True, "error_model": "numpy", "no_cpython_wrapper": True, "no_cfunc_wrapper": True,
}  # fmt: skip
kernel = njit(**_KERNEL)


@njit(nogil=True, inline="always")
def row_of(t: int, lag: int, rows: int, off: int, n: int) -> int:
    """Position in the arena of the row that is `lag` before row `t`."""
    return off + ((t - lag) % rows) * n


@njit(nogil=True, inline="always")
def slot(newest: int, k: int, rows: int) -> int:
    """Ring row that is `k` before ring row `newest`; 0 <= k < rows."""
    i = newest - k
    return i + rows if i < 0 else i
