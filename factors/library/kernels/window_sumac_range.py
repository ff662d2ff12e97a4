"""The range of the running sum inside a window."""

from __future__ import annotations

import numpy as np

from factors.library.kernels.found import window
from factors.library.kernels.layout import I0, L0, OUT, OUTR, R0, W
from factors.library.kernels.types import F8, I8, LARGEST, row_of, slot

NAN = np.nan


@window
def sumac_range(A: F8, c: I8, F: F8, n: int, t0: int, t1: int, j0: int, j1: int, S: F8) -> None:
    """Range of the running sum inside the window, started at its oldest row."""
    m = j1 - j0
    total, high, low = S[0, :m], S[1, :m], S[2, :m]
    for t in range(t0, t1):
        o = row_of(t, 0, c[OUTR], c[OUT], n) + j0
        z = A[o : o + m]
        new = (t - c[L0]) % c[R0]
        total[:] = 0.0
        high[:] = -np.inf
        low[:] = np.inf
        for k in range(c[W] - 1, -1, -1):
            o = c[I0] + j0 + slot(new, k, c[R0]) * n
            x = A[o : o + m]
            for j in range(m):
                total[j] += x[j]
                high[j] = total[j] if total[j] > high[j] else high[j]
                low[j] = total[j] if total[j] < low[j] else low[j]
        for j in range(m):
            z[j] = high[j] - low[j] if abs(total[j]) <= LARGEST else NAN
