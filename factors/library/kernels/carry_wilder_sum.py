"""Wilder's running sum."""

from __future__ import annotations

import numpy as np

from factors.library.kernels.found import carry
from factors.library.kernels.layout import I0, L0, OUT, OUTR, R0, ST, W
from factors.library.kernels.types import F8, I8, row_of

NAN = np.nan


@carry(state=2)
def wilder_sum(A: F8, c: I8, F: F8, n: int, t0: int, t1: int, j0: int, j1: int) -> None:
    """Wilder's running sum: the first W - 1 values added, then s - s / W + x."""
    m = j1 - j0
    s = c[ST] + j0
    count, level = A[s : s + m], A[s + n : s + n + m]
    w = float(c[W])
    for t in range(t0, t1):
        out = row_of(t, 0, c[OUTR], c[OUT], n) + j0
        o = row_of(t, c[L0], c[R0], c[I0], n) + j0
        for j in range(m):
            v = A[o + j]
            A[out + j] = NAN
            if v != v:
                continue
            count[j] += 1.0
            if count[j] < w:
                level[j] += v
            else:
                level[j] = level[j] - level[j] / w + v
                A[out + j] = level[j]
