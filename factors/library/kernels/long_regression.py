"""Regression on several panels over a long window from carried sums: the block scheme of long.py for all products.

For p columns, y first, the sums are those of the p differences from the references, of their p(p+1)/2 products, and the
count; kept for the current block's beginning, the whole blocks between and each suffix of the oldest block.
"""

from __future__ import annotations

import math

import numpy as np

from factors.library.kernels.layout import I0, I1, L0, L1, MINP, MODE, NX, OUT, OUTR, P0, R0, R1, ST, W, X
from factors.library.kernels.long import BLOCK_DAYS, head_end, reference, spread
from factors.library.kernels.moments import FLAT
from factors.library.kernels.types import F8, I8, LARGEST, kernel, row_of
from factors.library.kernels.windows import solve

NAN = np.nan
# Scratch rows: differences of up to nine columns, and whether the row is there.
THERE = 11


def state_rows(p: int) -> int:
    """Rows of state for p columns: references, then the sums of the two parts and of the suffixes."""
    return p + n_sums(p) * (2 + BLOCK_DAYS)


def n_sums(p: int) -> int:
    """Sums of p columns, of their products, and the count."""
    return p + p * (p + 1) // 2 + 1


@kernel
def operand(c: I8, E: I8, i: int) -> tuple[int, int, int]:
    """Place, rows and lag of the i-th operand."""
    if i == 0:
        return c[I0], c[R0], c[L0]
    if i == 1:
        return c[I1], c[R1], c[L1]
    e = c[X] + 3 * (i - 2)
    return E[e], E[e + 1], E[e + 2]


@kernel
def column(c: I8, E: I8, i: int, n: int, t: int) -> int:
    """Position of row t of the i-th operand."""
    off, rows, lag = operand(c, E, i)
    return row_of(t, lag, rows, off, n)


@kernel
def long_mreg(A: F8, c: I8, E: I8, starts: I8, n: int, t0: int, t1: int, j0: int, j1: int, S: F8) -> None:
    """The modes of rolling_mreg but the residual skewness, over a long window."""
    m, w, p = j1 - j0, c[W], c[NX] + 2
    sums = p + p * (p + 1) // 2 + 1
    state = c[ST] + j0
    run = state + p * n
    mid = run + sums * n
    tail = mid + sums * n
    ref, row, total = np.empty(p), np.empty(p), np.empty(sums)
    gram, work, beta = np.empty((p, p)), np.empty((p, p)), np.empty(p)
    for t in range(t0, t1):
        begin, old = starts[t % len(starts)], t - w + 1
        if begin == t:
            for i in range(p):
                off, rows, lag = operand(c, E, i)
                for j in range(m):
                    A[state + i * n + j] = reference(A, t - lag, rows, off + j0 + j, n)
            clear(A, run, sums, n, m)
        add_products(A, c, E, n, t, state, run, p, j0, m, S)
        if begin == t or old == 0 or (old >= 0 and starts[old % len(starts)] == old):
            end = min(head_end(starts, old, begin), begin) if old >= 0 else 0
            clear(A, mid, sums, n, m)
            for r in range(end, begin):
                add_products(A, c, E, n, r, state, mid, p, j0, m, S)
            for r in range(end - 1, old - 1, -1):
                here = tail + sums * (r % BLOCK_DAYS) * n
                after = tail + sums * ((r + 1) % BLOCK_DAYS) * n
                for a in range(sums):
                    for j in range(m):
                        A[here + a * n + j] = 0.0 if r == end - 1 else A[after + a * n + j]
                add_products(A, c, E, n, r, state, here, p, j0, m, S)
        head = tail + sums * (max(old, 0) % BLOCK_DAYS) * n
        out = row_of(t, 0, c[OUTR], c[OUT], n) + j0
        for j in range(m):
            for a in range(sums):
                v = A[head + a * n + j] if old >= 0 else 0.0
                total[a] = (v + A[mid + a * n + j]) + A[run + a * n + j]
            A[out + j] = NAN
            count = total[sums - 1]
            if count < c[MINP] or count < p + (1 if c[MODE] < 0 else 0):
                continue
            centre(A, total, ref, gram, state + j, p, n, count)
            if not solve(gram, work, beta, p, ref, int(count)):
                continue
            if c[MODE] == -2:
                for i in range(p):
                    row[i] = A[column(c, E, i, n, t) + j0 + j]
            v = answer(c[MODE], c[P0], count, ref, row, gram, beta, p)
            A[out + j] = v if abs(v) <= LARGEST else NAN


@kernel
def clear(A: F8, at: int, sums: int, n: int, m: int) -> None:
    """Set the sums to zero."""
    for a in range(sums):
        A[at + a * n : at + a * n + m] = 0.0


@kernel
def add_products(A: F8, c: I8, E: I8, n: int, r: int, state: int, at: int, p: int, j0: int, m: int, S: F8) -> None:
    """Add row r's differences from the references, and their products, to the sums at `at`, where all are there."""
    there = S[THERE, :m]
    there[:] = 1.0
    for i in range(p):
        o = column(c, E, i, n, r) + j0
        d = S[i, :m]
        for j in range(m):
            d[j] = A[o + j] - A[state + i * n + j]
            there[j] = there[j] if d[j] == d[j] else 0.0
    a = at
    for i in range(p):
        d = S[i, :m]
        for j in range(m):
            d[j] = d[j] if there[j] == 1.0 else 0.0
            A[a + j] += d[j]
        a += n
    for i in range(p):
        d = S[i, :m]
        for h in range(i + 1):
            e = S[h, :m]
            for j in range(m):
                A[a + j] += d[j] * e[j]
            a += n
    for j in range(m):
        A[a + j] += there[j]


@kernel
def centre(A: F8, total: F8, ref: F8, gram: F8, state: int, p: int, n: int, count: float) -> None:
    """Means of the columns into ref and centred products into gram."""
    a = p
    for i in range(p):
        for h in range(i + 1):
            gram[i, h] = total[a] - total[i] * total[h] / count
            a += 1
        gram[i, i] = spread(total[a - 1], total[i], count)
    for i in range(p):
        ref[i] = A[state + i * n] + total[i] / count


@kernel
def answer(mode: int, ddof: int, count: float, ref: F8, row: F8, gram: F8, beta: F8, p: int) -> float:
    """Slope, intercept, R2, today's residual, or standard deviation of the residuals."""
    if mode > 0:
        return float(beta[mode])
    intercept = ref[0]
    explained = 0.0
    for i in range(1, p):
        intercept -= beta[i] * ref[i]
        explained += beta[i] * gram[i, 0]
    if mode == 0:
        return float(intercept)
    if mode == -1:
        flat = gram[0, 0] <= count * (FLAT * ref[0]) ** 2
        return NAN if flat else min(max(explained / gram[0, 0], 0.0), 1.0)
    if mode == -3:
        free = count - ddof
        return math.sqrt(max(gram[0, 0] - explained, 0.0) / free) if free > 0 else NAN
    rest = row[0] - intercept
    for i in range(1, p):
        rest -= beta[i] * row[i]
    return float(rest)
