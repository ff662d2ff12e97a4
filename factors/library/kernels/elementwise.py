"""Element-by-element operations. A result that is not finite becomes NaN at once."""

from __future__ import annotations

import math

import numpy as np

from factors.library.kernels.layout import I0, I1, I2, I3, L0, L1, L2, L3, MODE, OP, OUT, OUTR, R0, R1, R2, R3, Op
from factors.library.kernels.types import F8, I8, LARGEST, ROUNDING, kernel, row_of

NAN = np.nan
# numba reads module constants, not members of an enumeration.
COPY = int(Op.COPY)
NEG = int(Op.NEG)
ABS = int(Op.ABS)
SIGN = int(Op.SIGN)
LOG = int(Op.LOG)
LOG10 = int(Op.LOG10)
LOG1P = int(Op.LOG1P)
EXP = int(Op.EXP)
SQRT = int(Op.SQRT)
FLOOR = int(Op.FLOOR)
CEIL = int(Op.CEIL)
ROUND = int(Op.ROUND)
SIN = int(Op.SIN)
COS = int(Op.COS)
TAN = int(Op.TAN)
ATAN = int(Op.ATAN)
TANH = int(Op.TANH)
INV = int(Op.INV)
ISNAN = int(Op.ISNAN)
NOT = int(Op.NOT)
SQUARE = int(Op.SQUARE)
ADD = int(Op.ADD)
SUB = int(Op.SUB)
MUL = int(Op.MUL)
DIV = int(Op.DIV)
MOD = int(Op.MOD)
POW = int(Op.POW)
SPOW = int(Op.SPOW)
MAX = int(Op.MAX)
MIN = int(Op.MIN)
LT = int(Op.LT)
LE = int(Op.LE)
EQ = int(Op.EQ)
NE = int(Op.NE)
AND = int(Op.AND)
OR = int(Op.OR)
COALESCE = int(Op.COALESCE)
WHERE = int(Op.WHERE)


@kernel
def unary(op: int, x: F8, z: F8) -> None:
    """One operation on one row."""
    m = len(z)
    if op == COPY:
        for j in range(m):
            z[j] = x[j]
    elif op == NEG:
        for j in range(m):
            z[j] = -x[j]
    elif op == ABS:
        for j in range(m):
            z[j] = abs(x[j])
    elif op == ISNAN:
        for j in range(m):
            z[j] = 0.0 if x[j] == x[j] else 1.0
    elif op == NOT:
        for j in range(m):
            z[j] = 1.0 - x[j]
    elif op == FLOOR:
        for j in range(m):
            z[j] = np.floor(x[j])
    elif op == CEIL:
        for j in range(m):
            z[j] = np.ceil(x[j])
    elif op == SQRT:
        for j in range(m):
            z[j] = math.sqrt(x[j]) if x[j] >= 0.0 else NAN
    elif op == SIGN:
        for j in range(m):
            z[j] = 1.0 if x[j] > 0.0 else (-1.0 if x[j] < 0.0 else x[j] * 0.0)
    elif op == ROUND:
        for j in range(m):
            z[j] = np.floor(x[j] + 0.5)
    elif op == SQUARE:
        for j in range(m):
            v = x[j] * x[j]
            z[j] = v if abs(v) <= LARGEST else NAN
    elif op == INV:
        for j in range(m):
            v = 1.0 / x[j]
            z[j] = v if abs(v) <= LARGEST else NAN
    else:
        transcendental(op, x, z)


@kernel
def transcendental(op: int, x: F8, z: F8) -> None:
    """One operation of libm on one row."""
    for j in range(len(z)):
        v = x[j]
        r = NAN
        if op == LOG:
            r = math.log(v) if v > 0.0 else NAN
        elif op == LOG10:
            r = math.log10(v) if v > 0.0 else NAN
        elif op == LOG1P:
            r = math.log1p(v) if v > -1.0 else NAN
        elif op == EXP:
            r = math.exp(v) if v < 709.7 else NAN
        elif v == v:
            if op == SIN:
                r = math.sin(v)
            elif op == COS:
                r = math.cos(v)
            elif op == TAN:
                r = math.tan(v)
            elif op == ATAN:
                r = math.atan(v)
            elif op == TANH:
                r = math.tanh(v)
        z[j] = r if abs(r) <= LARGEST else NAN


@kernel
def power(v: float, a: float) -> float:
    """Real power, NaN where it is not real or not finite."""
    if not (v == v and a == a):
        return NAN
    if v < 0.0 and a != np.floor(a):
        return NAN
    if v == 0.0 and a < 0.0:
        return NAN
    return float(v**a)


@kernel
def powers(op: int, x: F8, y: F8, z: F8) -> None:
    """Power and signed power on one row."""
    for j in range(len(z)):
        if op == POW:
            r = power(x[j], y[j])
        elif x[j] == 0.0:
            r = 0.0 if y[j] >= 0.0 else NAN
        else:
            r = power(abs(x[j]), y[j])
            r = -r if x[j] < 0.0 else r
        z[j] = r if abs(r) <= LARGEST else NAN


@kernel
def arithmetic(op: int, x: F8, y: F8, z: F8) -> None:
    """One arithmetic operation on two rows; a sum or difference that is rounding is 0."""
    m = len(z)
    if op == MAX:
        for j in range(m):
            z[j] = (x[j] if x[j] > y[j] else y[j]) + 0.0 * x[j]
    elif op == MIN:
        for j in range(m):
            z[j] = (x[j] if x[j] < y[j] else y[j]) + 0.0 * x[j]
    elif op == ADD:
        for j in range(m):
            v = x[j] + y[j]
            v = 0.0 if abs(v) <= ROUNDING * abs(x[j]) + ROUNDING * abs(y[j]) else v
            z[j] = v if abs(v) <= LARGEST else NAN
    elif op == SUB:
        for j in range(m):
            v = x[j] - y[j]
            v = 0.0 if abs(v) <= ROUNDING * abs(x[j]) + ROUNDING * abs(y[j]) else v
            z[j] = v if abs(v) <= LARGEST else NAN
    elif op == MUL:
        for j in range(m):
            v = x[j] * y[j]
            z[j] = v if abs(v) <= LARGEST else NAN
    elif op == DIV:
        for j in range(m):
            v = x[j] / y[j]
            z[j] = v if abs(v) <= LARGEST else NAN
    elif op == MOD:
        for j in range(m):
            v = x[j] - np.floor(x[j] / y[j]) * y[j]
            z[j] = v if abs(v) <= LARGEST else NAN
    else:
        powers(op, x, y, z)


@kernel
def logic(op: int, x: F8, y: F8, z: F8) -> None:
    """One comparison or logical operation on two rows; undefined where an operand is, equal where rounding differs."""
    m = len(z)
    if op == LT:
        for j in range(m):
            near = ROUNDING * abs(x[j]) + ROUNDING * abs(y[j])
            z[j] = (1.0 if y[j] - x[j] > near else 0.0) + 0.0 * near
    elif op == LE:
        for j in range(m):
            near = ROUNDING * abs(x[j]) + ROUNDING * abs(y[j])
            z[j] = (1.0 if x[j] - y[j] <= near else 0.0) + 0.0 * near
    elif op == EQ:
        for j in range(m):
            near = ROUNDING * abs(x[j]) + ROUNDING * abs(y[j])
            z[j] = (1.0 if abs(x[j] - y[j]) <= near else 0.0) + 0.0 * near
    elif op == NE:
        for j in range(m):
            near = ROUNDING * abs(x[j]) + ROUNDING * abs(y[j])
            z[j] = (1.0 if abs(x[j] - y[j]) > near else 0.0) + 0.0 * near
    elif op == AND:
        for j in range(m):
            z[j] = x[j] * y[j]
    elif op == OR:
        for j in range(m):
            z[j] = x[j] + y[j] - x[j] * y[j]
    elif op == COALESCE:
        for j in range(m):
            z[j] = x[j] if x[j] == x[j] else y[j]


@kernel
def where(c: F8, x: F8, y: F8, z: F8) -> None:
    """Conditional on one row."""
    for j in range(len(z)):
        v = x[j] if c[j] != 0.0 else y[j]
        z[j] = v if c[j] == c[j] else NAN


@kernel
def where_aged(c: F8, x: F8, y: F8, age: F8, need: float, z: F8) -> None:
    """Conditional on one row, silent before the age of `need` rows."""
    for j in range(len(z)):
        v = x[j] if c[j] != 0.0 else y[j]
        z[j] = v if c[j] == c[j] and age[j] >= need else NAN


@kernel
def elementwise(A: F8, c: I8, n: int, t0: int, t1: int, j0: int, j1: int) -> None:
    """Run one element-by-element instruction over rows [t0, t1) and assets [j0, j1)."""
    op = c[OP]
    for t in range(t0, t1):
        o = row_of(t, 0, c[OUTR], c[OUT], n)
        z = A[o + j0 : o + j1]
        i = row_of(t, c[L0], c[R0], c[I0], n)
        x = A[i + j0 : i + j1]
        if op < ADD:
            unary(op, x, z)
            continue
        i = row_of(t, c[L1], c[R1], c[I1], n)
        y = A[i + j0 : i + j1]
        if op < LT:
            arithmetic(op, x, y, z)
        elif op < WHERE:
            logic(op, x, y, z)
        else:
            i = row_of(t, c[L2], c[R2], c[I2], n)
            w = A[i + j0 : i + j1]
            if c[MODE] == 0:
                where(x, y, w, z)
            else:
                i = row_of(t, c[L3], c[R3], c[I3], n)
                where_aged(x, y, w, A[i + j0 : i + j1], float(c[MODE]), z)
