"""Element-by-element operations. A result that is not finite becomes NaN at once."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from factors.library.kernels.layout import I0, I1, I2, I3, L0, L1, L2, L3, MODE, OP, OUT, OUTR, R0, R1, R2, R3
from factors.library.kernels.types import F8, I8, LARGEST, row_of

NAN = np.nan


@njit(cache=True, nogil=True)
def unary(op: int, x: F8, z: F8) -> None:
    """One operation on one row."""
    m = len(z)
    if op == 2:
        for j in range(m):
            z[j] = -x[j]
    elif op == 3:
        for j in range(m):
            z[j] = abs(x[j])
    elif op == 4:
        for j in range(m):
            v = x[j]
            z[j] = 1.0 if v > 0.0 else (-1.0 if v < 0.0 else v * 0.0)
    elif op == 18:
        for j in range(m):
            v = 1.0 / x[j] if x[j] != 0.0 else NAN
            z[j] = v if abs(v) <= LARGEST else NAN
    elif op == 19:
        for j in range(m):
            z[j] = 0.0 if x[j] == x[j] else 1.0
    elif op == 20:
        for j in range(m):
            z[j] = 1.0 - x[j]
    elif op == 21:
        for j in range(m):
            v = x[j] * x[j]
            z[j] = v if v <= LARGEST else NAN
    elif op == 8:
        for j in range(m):
            z[j] = math.sqrt(x[j]) if x[j] >= 0.0 else NAN
    elif op == 9:
        for j in range(m):
            z[j] = np.floor(x[j])
    elif op == 10:
        for j in range(m):
            z[j] = np.ceil(x[j])
    else:
        for j in range(m):
            z[j] = x[j]


@njit(cache=True, nogil=True)
def transcendental(op: int, x: F8, z: F8) -> None:
    """One operation of libm on one row."""
    m = len(z)
    for j in range(m):
        v = x[j]
        r = NAN
        if v == v:
            if op == 4 + 1:
                r = math.log(v) if v > 0.0 else NAN
            elif op == 6:
                r = math.log(v + 1.0) if v + 1.0 <= 0.0 else math.log1p(v)
            elif op == 7:
                r = math.exp(v) if v < 709.7 else NAN
            elif op == 11:
                r = np.floor(v + 0.5)
            elif op == 12:
                r = math.sin(v)
            elif op == 13:
                r = math.cos(v)
            elif op == 14:
                r = math.tan(v)
            elif op == 15:
                r = math.atan(v)
            elif op == 16:
                r = math.tanh(v)
        z[j] = r if abs(r) <= LARGEST else NAN
