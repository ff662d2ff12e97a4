"""The mean absolute deviation of a window."""

from __future__ import annotations

from factors.library.kernels.found import window
from factors.library.kernels.layout import I0, L0, OUT, OUTR, R0, W
from factors.library.kernels.moments import window_mean
from factors.library.kernels.types import F8, I8, row_of, slot


@window
def avedev(A: F8, c: I8, F: F8, n: int, t0: int, t1: int, j0: int, j1: int, S: F8) -> None:
    """Mean absolute deviation from the mean, strict."""
    m = j1 - j0
    base = c[I0] + j0
    acc = S[3, :m]
    for t in range(t0, t1):
        o = row_of(t, 0, c[OUTR], c[OUT], n) + j0
        z = A[o : o + m]
        new = (t - c[L0]) % c[R0]
        window_mean(A, base, c[R0], n, new, c[W], S, m)
        acc[:] = 0.0
        for k in range(c[W] - 1, -1, -1):
            o = base + slot(new, k, c[R0]) * n
            x = A[o : o + m]
            for j in range(m):
                acc[j] += abs(x[j] - S[0, j])
        for j in range(m):
            z[j] = acc[j] / c[W]
