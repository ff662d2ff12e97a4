"""The product of a window."""

from __future__ import annotations

import numpy as np

from factors.library.kernels.found import window
from factors.library.kernels.layout import I0, L0, MINP, OUT, OUTR, R0, W
from factors.library.kernels.types import F8, I8, LARGEST, row_of, slot

NAN = np.nan


@window
def product(A: F8, c: I8, F: F8, n: int, t0: int, t1: int, j0: int, j1: int, S: F8) -> None:
    """Product of the window, oldest row first."""
    m = j1 - j0
    base = c[I0] + j0
    strict = c[MINP] == c[W]
    acc, count = S[0, :m], S[1, :m]
    for t in range(t0, t1):
        o = row_of(t, 0, c[OUTR], c[OUT], n) + j0
        z = A[o : o + m]
        new = (t - c[L0]) % c[R0]
        acc[:] = 1.0
        count[:] = 0.0
        for k in range(c[W] - 1, -1, -1):
            o = base + slot(new, k, c[R0]) * n
            x = A[o : o + m]
            if strict:
                for j in range(m):
                    acc[j] *= x[j]
            else:
                for j in range(m):
                    there = x[j] == x[j]
                    acc[j] *= x[j] if there else 1.0
                    count[j] += 1.0 if there else 0.0
        least = 0.0 if strict else float(c[MINP])
        for j in range(m):
            z[j] = acc[j] if count[j] >= least and abs(acc[j]) <= LARGEST else NAN
