"""The largest fall from a peak inside a window."""

from __future__ import annotations

import numpy as np

from factors.library.kernels.found import window
from factors.library.kernels.layout import I0, L0, OUT, OUTR, R0, W
from factors.library.kernels.types import F8, I8, LARGEST, row_of, slot

NAN = np.nan


@window
def ts_drawdown(A: F8, c: I8, F: F8, n: int, t0: int, t1: int, j0: int, j1: int, S: F8) -> None:
    """Largest fall from the running peak inside the window, as a fraction of the peak."""
    m = j1 - j0
    peak, worst = S[0, :m], S[1, :m]
    for t in range(t0, t1):
        o = row_of(t, 0, c[OUTR], c[OUT], n) + j0
        z = A[o : o + m]
        new = (t - c[L0]) % c[R0]
        peak[:] = -np.inf
        worst[:] = 0.0
        for k in range(c[W] - 1, -1, -1):
            o = c[I0] + j0 + slot(new, k, c[R0]) * n
            x = A[o : o + m]
            for j in range(m):
                peak[j] = x[j] if x[j] > peak[j] else peak[j]
                fall = 1.0 - x[j] / peak[j]
                worst[j] = fall if fall > worst[j] else worst[j] + 0.0 * x[j]
        for j in range(m):
            z[j] = worst[j] if abs(worst[j]) <= LARGEST and peak[j] > 0.0 else NAN
