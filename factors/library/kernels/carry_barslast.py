"""How long a condition has not been true."""

from __future__ import annotations

import numpy as np

from factors.library.kernels.found import carry
from factors.library.kernels.layout import I0, L0, OUT, OUTR, R0, ST
from factors.library.kernels.types import F8, I8, row_of

NAN = np.nan


@carry(state=2, speaks=True)
def barslast(A: F8, c: I8, F: F8, n: int, t0: int, t1: int, j0: int, j1: int) -> None:
    """Rows since the condition was last true. State: begun, rows."""
    s = c[ST]
    for t in range(t0, t1):
        out = row_of(t, 0, c[OUTR], c[OUT], n)
        o = row_of(t, c[L0], c[R0], c[I0], n)
        for j in range(j0, j1):
            A[s + n + j] += 1.0
            if A[o + j] == 1.0:
                A[s + j], A[s + n + j] = 1.0, 0.0
            A[out + j] = A[s + n + j] if A[s + j] == 1.0 and A[o + j] == A[o + j] else NAN
