"""Regression of one panel on several over a window: normal equations of centred columns, Cholesky."""

from __future__ import annotations

import math

import numpy as np

from factors.library.kernels.layout import I0, I1, L0, L1, MINP, MODE, NX, OUT, OUTR, P0, R0, R1, W, X
from factors.library.kernels.moments import FLAT
from factors.library.kernels.types import F8, I8, kernel, row_of

NAN = np.nan


@kernel
def column(c: I8, E: I8, i: int, n: int, t: int) -> int:
    """Position of row t of the i-th of two or more operands."""
    if i == 0:
        return row_of(t, c[L0], c[R0], c[I0], n)
    if i == 1:
        return row_of(t, c[L1], c[R1], c[I1], n)
    e = c[X] + 3 * (i - 2)
    return row_of(t, E[e + 2], E[e + 1], E[e], n)


@kernel
def solve(gram: F8, work: F8, beta: F8, p: int, ref: F8, count: int) -> bool:
    """Slopes of column 0 on columns 1..p-1 from their centred products; False if they are collinear."""
    for i in range(1, p):
        for h in range(1, i + 1):
            v = gram[i, h]
            for q in range(1, h):
                v -= work[i, q] * work[h, q]
            if i == h:
                floor = max(1e-12 * gram[i, i], count * (FLAT * ref[i]) ** 2)
                if not v > floor:
                    return False
                work[i, i] = math.sqrt(v)
            else:
                work[i, h] = v / work[h, h]
    for i in range(1, p):
        v = gram[i, 0]
        for q in range(1, i):
            v -= work[i, q] * beta[q]
        beta[i] = v / work[i, i]
    for i in range(p - 1, 0, -1):
        v = beta[i]
        for q in range(i + 1, p):
            v -= work[q, i] * beta[q]
        beta[i] = v / work[i, i]
    return True


@kernel
def residual_of(row: F8, mean: F8, beta: F8, p: int) -> float:
    """What the slopes leave of a row's first column."""
    rest = row[0] - mean[0]
    for i in range(1, p):
        rest -= beta[i] * (row[i] - mean[i])
    return rest


@kernel
def answer(mode: int, ddof: int, count: float, mean: F8, row: F8, gram: F8, beta: F8, p: int) -> float:
    """Slope k as mode k, intercept 0, R2 -1, residual of `row` -2, standard deviation of the residuals -3."""
    if mode > 0:
        return float(beta[mode])
    if mode == -2:
        return residual_of(row, mean, beta, p)
    intercept = mean[0]
    explained = 0.0
    for i in range(1, p):
        intercept -= beta[i] * mean[i]
        explained += beta[i] * gram[i, 0]
    if mode == 0:
        return float(intercept)
    if mode == -1:
        flat = gram[0, 0] <= count * (FLAT * mean[0]) ** 2
        return NAN if flat else min(max(explained / gram[0, 0], 0.0), 1.0)
    free = count - ddof
    return math.sqrt(max(gram[0, 0] - explained, 0.0) / free) if free > 0 else NAN


@kernel
def rolling_mreg(A: F8, c: I8, E: I8, n: int, t0: int, t1: int, j0: int, j1: int) -> None:
    """The modes of `answer`, and the skewness of the residuals -4."""
    p = c[NX] + 2
    mean, row = np.empty(p), np.empty(p)
    gram, work, beta = np.empty((p, p)), np.empty((p, p)), np.empty(p)
    for t in range(t0, t1):
        out = row_of(t, 0, c[OUTR], c[OUT], n)
        for j in range(j0, j1):
            A[out + j] = mreg_value(A, c, E, n, t, j, p, mean, row, gram, work, beta)


@kernel
def read_row(A: F8, c: I8, E: I8, n: int, t: int, j: int, p: int, row: F8) -> bool:
    """The p operands of asset j at row t; whether all are there."""
    for i in range(p):
        row[i] = A[column(c, E, i, n, t) + j]
        if row[i] != row[i]:
            return False
    return True


@kernel
def mreg_value(
    A: F8, c: I8, E: I8, n: int, t: int, j: int, p: int, mean: F8, row: F8, gram: F8, work: F8, beta: F8
) -> float:  # fmt: skip
    """One value of rolling_mreg."""
    count = 0
    mean[:] = 0.0
    for k in range(c[W] - 1, -1, -1):
        if read_row(A, c, E, n, t - k, j, p, row):
            count += 1
            for i in range(p):
                mean[i] += row[i]
    if count < c[MINP] or count < p + (1 if c[MODE] < 0 else 0):
        return NAN
    for i in range(p):
        mean[i] /= count
    gram[:, :] = 0.0
    for k in range(c[W] - 1, -1, -1):
        if read_row(A, c, E, n, t - k, j, p, row):
            for i in range(p):
                row[i] -= mean[i]
                for h in range(i + 1):
                    gram[i, h] += row[i] * row[h]
    if not solve(gram, work, beta, p, mean, count):
        return NAN
    if c[MODE] == -4:
        return residual_skew(A, c, E, n, t, j, p, row, mean, beta, count)
    if c[MODE] == -2 and not read_row(A, c, E, n, t, j, p, row):
        return NAN
    return answer(c[MODE], c[P0], float(count), mean, row, gram, beta, p)


@kernel
def residual_skew(
    A: F8, c: I8, E: I8, n: int, t: int, j: int, p: int, row: F8, mean: F8, beta: F8, count: int
) -> float:  # fmt: skip
    """m3 / m2^1.5 of the residuals."""
    square, cube = 0.0, 0.0
    for k in range(c[W] - 1, -1, -1):
        if read_row(A, c, E, n, t - k, j, p, row):
            rest = residual_of(row, mean, beta, p)
            square += rest * rest
            cube += rest * rest * rest
    square /= count
    return cube / count / (square * math.sqrt(square)) if square > 1e-28 else NAN
