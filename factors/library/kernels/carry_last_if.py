"""The last value on which a condition was true."""

from __future__ import annotations

import numpy as np

from factors.library.kernels.found import carry
from factors.library.kernels.layout import I0, I1, L0, L1, OUT, OUTR, R0, R1, ST
from factors.library.kernels.types import F8, I8, row_of

NAN = np.nan


@carry(state=2, speaks=True)
def last_if(A: F8, c: I8, F: F8, n: int, t0: int, t1: int, j0: int, j1: int) -> None:
    """Value of the last row where the condition was true. State: begun, value."""
    s = c[ST]
    for t in range(t0, t1):
        out = row_of(t, 0, c[OUTR], c[OUT], n)
        x = row_of(t, c[L0], c[R0], c[I0], n)
        o = row_of(t, c[L1], c[R1], c[I1], n)
        for j in range(j0, j1):
            if A[o + j] == 1.0 and A[x + j] == A[x + j]:
                A[s + j], A[s + n + j] = 1.0, A[x + j]
            A[out + j] = A[s + n + j] if A[s + j] == 1.0 else NAN
