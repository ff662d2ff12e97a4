"""Regression of one panel on several over a window: normal equations of centred columns, Cholesky."""

from __future__ import annotations

import math

import numpy as np

from factors.library.kernels.layout import I0, I1, L0, L1, MINP, MODE, NX, OUT, OUTR, P0, R0, R1, W, X
from factors.library.kernels.moments import FLAT
from factors.library.kernels.types import F8, I8, LARGEST, kernel, row_of

NAN = np.nan
# Scratch rows: the window's sums from 0 (55 of nine panels), then deviations of nine panels, and three more.
DEVIATION = 55
THERE, SHARE, REST = 64, 65, 66
SCRATCH_ROWS = 67


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
def answer(mode: int, ddof: int, count: float, mean: F8, row: F8, gram: F8, beta: F8, p: int) -> float:
    """Slope k as mode k, intercept 0, R2 -1, residual of `row` -2, standard deviation of the residuals -3."""
    if mode > 0:
        return float(beta[mode])
    if mode == -2:
        rest = row[0] - mean[0]
        for i in range(1, p):
            rest -= beta[i] * (row[i] - mean[i])
        return float(rest)
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
def add_moments(
    A: F8, c: I8, E: I8, n: int, r: int, D: F8, at: int, step: int, p: int, sums: int, j0: int, m: int, S: F8,
    strict: bool,
) -> None:  # fmt: skip
    """Add row r to means, products about them and count, `step` apart from D[at] on, where all panels are there."""
    there, share, rest = S[THERE, :m], S[SHARE, :m], S[REST, :m]
    there[:] = 1.0
    for i in range(p):
        o = column(c, E, i, n, r) + j0
        x, mean, d = A[o : o + m], D[at + i * step : at + i * step + m], S[DEVIATION + i, :m]
        for j in range(m):
            d[j] = x[j] - mean[j]
            there[j] = there[j] if strict or d[j] == d[j] else 0.0
    o = at + (sums - 1) * step
    count = D[o : o + m]
    for j in range(m):
        count[j] += there[j]
        share[j] = there[j] / max(count[j], 1.0)
        rest[j] = 1.0 - share[j]
    a = at + p * step
    for i in range(p):
        d, mean = S[DEVIATION + i, :m], D[at + i * step : at + i * step + m]
        for j in range(m):
            d[j] = d[j] if there[j] == 1.0 else 0.0
            mean[j] += d[j] * share[j]
        for h in range(i + 1):
            e, product = S[DEVIATION + h, :m], D[a : a + m]
            for j in range(m):
                product[j] += (d[j] * rest[j]) * e[j]
            a += step


@kernel
def load_gram(S: F8, j: int, p: int, mean: F8, gram: F8) -> None:
    """Means and products of asset j."""
    a = p
    for i in range(p):
        mean[i] = S[i, j]
        for h in range(i + 1):
            gram[i, h] = S[a, j]
            a += 1


@kernel
def finish_regression(A: F8, c: I8, E: I8, n: int, t: int, p: int, sums: int, j0: int, z: F8, S: F8) -> None:
    """Any MREG mode but the residual skewness of one row of assets."""
    mean, row, beta = np.empty(p), np.empty(p), np.empty(p)
    gram, work, place = np.empty((p, p)), np.empty((p, p)), np.empty(p, np.int64)
    for i in range(p):
        place[i] = column(c, E, i, n, t) + j0
    for j in range(len(z)):
        z[j] = NAN
        count = S[sums - 1, j]
        # a missing count, of a name that joined without history, is not enough either
        if not (count >= c[MINP] and count >= p + (1 if c[MODE] < 0 else 0)):
            continue
        load_gram(S, j, p, mean, gram)
        for i in range(p):
            row[i] = A[place[i] + j]
        if solve(gram, work, beta, p, mean, int(count)):
            v = answer(c[MODE], c[P0], count, mean, row, gram, beta, p)
            z[j] = v if abs(v) <= LARGEST else NAN


@kernel
def rolling_mreg(A: F8, c: I8, E: I8, n: int, t0: int, t1: int, j0: int, j1: int, S: F8) -> None:
    """The modes of `answer`, and the skewness of the residuals -4."""
    m, p = j1 - j0, c[NX] + 2
    sums, flat = p + p * (p + 1) // 2 + 1, S.reshape(-1)
    for t in range(t0, t1):
        S[:sums, :m] = 0.0
        for r in range(t - c[W] + 1, t + 1):
            add_moments(A, c, E, n, r, flat, 0, S.shape[1], p, sums, j0, m, S, False)
        o = row_of(t, 0, c[OUTR], c[OUT], n) + j0
        if c[MODE] == -4:
            residual_skew(A, c, E, n, t, p, sums, j0, A[o : o + m], S)
        else:
            finish_regression(A, c, E, n, t, p, sums, j0, A[o : o + m], S)


@kernel
def residual_skew(A: F8, c: I8, E: I8, n: int, t: int, p: int, sums: int, j0: int, z: F8, S: F8) -> None:
    """m3 / m2^1.5 of the residuals of one row of assets."""
    m = len(z)
    mean, beta, gram, work = np.empty(p), np.empty(p), np.empty((p, p)), np.empty((p, p))
    for j in range(m):
        enough = S[sums - 1, j] >= c[MINP] and S[sums - 1, j] >= p + 1
        load_gram(S, j, p, mean, gram)
        solved = enough and solve(gram, work, beta, p, mean, int(S[sums - 1, j]))
        for i in range(1, p):
            S[DEVIATION + i, j] = beta[i] if solved else NAN
    rest, square, cube = S[THERE, :m], S[SHARE, :m], S[REST, :m]
    square[:] = 0.0
    cube[:] = 0.0
    for r in range(t - c[W] + 1, t + 1):
        for i in range(p):
            o = column(c, E, i, n, r) + j0
            x, centre, slope = A[o : o + m], S[i, :m], S[DEVIATION + i, :m]
            for j in range(m):
                rest[j] = x[j] - centre[j] if i == 0 else rest[j] - slope[j] * (x[j] - centre[j])
        for j in range(m):
            v = rest[j] if rest[j] == rest[j] else 0.0
            square[j] += v * v
            cube[j] += v * v * v
    for j in range(m):
        count = max(S[sums - 1, j], 1.0)
        m2 = square[j] / count
        z[j] = cube[j] / count / (m2 * math.sqrt(m2)) if m2 > 1e-28 else NAN
