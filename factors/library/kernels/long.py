"""Sums over long windows in a bounded number of steps per row, without drift.

Rows fall into blocks of BLOCK_DAYS calendar days, wherever the data begin. A window is the end of its oldest block (a
suffix, summed backwards once per block), the whole blocks between (summed anew when a block is entered or left) and the
beginning of the current block (a running sum). Nothing is ever subtracted, so nothing drifts and a NaN leaves with its
row; and the value depends on the window's rows and dates alone, so that any start agrees bit for bit.
`starts[r % len(starts)]` is the first row of row r's block.
"""

from __future__ import annotations

import numpy as np

from factors.library.kernels.layout import FC, I0, I1, L0, L1, MINP, MODE, OUT, OUTR, P0, P1, R0, R1, ST, W
from factors.library.kernels.moments import pair_value
from factors.library.kernels.types import F8, I8, LARGEST, kernel, row_of

NAN = np.nan
BLOCK_DAYS = 32
# Part of a sum of squares that is no more than its rounding.
ROUNDING = 1e-13
# running sum, whole blocks, suffixes; each a value and a count
SUM_ROWS = 2 * (2 + BLOCK_DAYS)
# references of x and y; then six sums for the running part, the whole blocks and the suffixes
PAIR_ROWS = 2 + 6 * (2 + BLOCK_DAYS)


@kernel
def head_end(starts: I8, old: int, last: int) -> int:
    """First row after `old` that begins a block, at most `last`."""
    r = old + 1
    while r < last and starts[r % len(starts)] != r:
        r += 1
    return r


@kernel
def long_sum(A: F8, c: I8, starts: I8, n: int, t0: int, t1: int, j0: int, j1: int) -> None:
    """Sum (mode 0) or mean (1) of a long window, strict or over the rows that are there."""
    m, w = j1 - j0, c[W]
    strict = c[MINP] == w
    state = c[ST] + j0
    for t in range(t0, t1):
        out = row_of(t, 0, c[OUTR], c[OUT], n) + j0
        z = A[out : out + m]
        u = t - c[L0]
        if u < 0:
            z[:] = NAN
            continue
        begin, old = starts[u % len(starts)], u - w + 1
        run, seen = A[state : state + m], A[state + n : state + n + m]
        if begin == u:
            run[:] = 0.0
            seen[:] = 0.0
        add_rows(A, c, n, u, u + 1, 1, j0, m, run, seen, strict)
        mid, among = A[state + 2 * n : state + 2 * n + m], A[state + 3 * n : state + 3 * n + m]
        entered = old >= 0 and starts[old % len(starts)] == old
        if begin == u or entered or old == 0:
            end = min(head_end(starts, old, begin), begin) if old >= 0 else 0
            mid[:] = 0.0
            among[:] = 0.0
            add_rows(A, c, n, end, begin, 1, j0, m, mid, among, strict)
            if entered or old == 0:
                suffixes(A, c, n, old, end, state, j0, m, strict)
        if old < 0 and strict:
            z[:] = NAN
            continue
        o = state + (4 + 2 * (max(old, 0) % BLOCK_DAYS)) * n
        head, first = A[o : o + m], A[o + n : o + n + m]
        weight = 1.0 if old >= 0 else 0.0
        finish_sum(c, run, seen, mid, among, head, first, weight, z, strict)


@kernel
def finish_sum(
    c: I8, run: F8, seen: F8, mid: F8, among: F8, head: F8, first: F8, weight: float, z: F8, strict: bool
) -> None:  # fmt: skip
    """Put the three parts together."""
    if strict:
        scale = 1.0 / c[W] if c[MODE] == 1 else 1.0
        for j in range(len(z)):
            v = ((head[j] + mid[j]) + run[j]) * scale
            z[j] = v if abs(v) <= LARGEST else NAN
        return
    least = float(c[MINP])
    for j in range(len(z)):
        count = (first[j] * weight + among[j]) + seen[j]
        v = (head[j] * weight + mid[j]) + run[j]
        v = v / count if c[MODE] == 1 else v
        z[j] = v if count >= least and abs(v) <= LARGEST else NAN


@kernel
def add_rows(
    A: F8, c: I8, n: int, first: int, last: int, step: int, j0: int, m: int, total: F8, count: F8, strict: bool
) -> None:  # fmt: skip
    """Add rows [first, last) of the operand, in order."""
    for r in range(first, last, step):
        o = row_of(r, 0, c[R0], c[I0], n) + j0
        x = A[o : o + m]
        if strict:
            for j in range(m):
                total[j] += x[j]
        else:
            for j in range(m):
                there = x[j] == x[j]
                total[j] += x[j] if there else 0.0
                count[j] += 1.0 if there else 0.0


@kernel
def suffixes(A: F8, c: I8, n: int, old: int, end: int, state: int, j0: int, m: int, strict: bool) -> None:
    """Sums of rows [r, end) for every r of the oldest block, from the newest backwards."""
    for r in range(end - 1, old - 1, -1):
        o = row_of(r, 0, c[R0], c[I0], n) + j0
        x = A[o : o + m]
        o = state + (4 + 2 * (r % BLOCK_DAYS)) * n
        total, count = A[o : o + m], A[o + n : o + n + m]
        o = state + (4 + 2 * ((r + 1) % BLOCK_DAYS)) * n
        after, beyond = A[o : o + m], A[o + n : o + n + m]
        last = r == end - 1
        for j in range(m):
            there = strict or x[j] == x[j]
            v = x[j] if there else 0.0
            total[j] = v if last else after[j] + v
            count[j] = (0.0 if last else beyond[j]) + (1.0 if there else 0.0)


@kernel
def long_pair(A: F8, c: I8, F: F8, starts: I8, n: int, t0: int, t1: int, j0: int, j1: int, S: F8) -> None:
    """Any PAIR mode over a long window. Sums are of differences from the values at the current block's first row."""
    m, w = j1 - j0, c[W]
    strict = c[MINP] == w
    state = c[ST] + j0
    run, mid, tail = state + 2 * n, state + 8 * n, state + 14 * n
    for t in range(t0, t1):
        out = row_of(t, 0, c[OUTR], c[OUT], n) + j0
        u = t
        begin, old = starts[u % len(starts)], u - w + 1
        if begin == u:
            references(A, c, n, u, state, j0, m)
            clear(A, run, n, m)
        add_pairs(A, c, n, u, u + 1, state, run, j0, m, strict)
        if begin == u or old == 0 or (old >= 0 and starts[old % len(starts)] == old):
            end = min(head_end(starts, old, begin), begin) if old >= 0 else 0
            clear(A, mid, n, m)
            add_pairs(A, c, n, end, begin, state, mid, j0, m, strict)
            for r in range(end - 1, old - 1, -1):
                here, after = tail + 6 * (r % BLOCK_DAYS) * n, tail + 6 * ((r + 1) % BLOCK_DAYS) * n
                for a in range(6):
                    for j in range(m):
                        A[here + a * n + j] = 0.0 if r == end - 1 else A[after + a * n + j]
                add_pairs(A, c, n, r, r + 1, state, here, j0, m, strict)
        if old < 0 and strict:
            A[out : out + m] = NAN
            continue
        here = tail + 6 * (max(old, 0) % BLOCK_DAYS) * n
        for a in range(6):
            for j in range(m):
                head = A[here + a * n + j] if old >= 0 else 0.0
                S[a, j] = (head + A[mid + a * n + j]) + A[run + a * n + j]
        finish_pair(A, c, F, n, t, state, out, j0, m, S)


@kernel
def references(A: F8, c: I8, n: int, u: int, state: int, j0: int, m: int) -> None:
    """References of x and y for the block that begins at row u."""
    for j in range(j0, j0 + m):
        A[state + j - j0] = reference(A, u - c[L1], c[R1], c[I1] + j, n)
        A[state + n + j - j0] = reference(A, u - c[L0], c[R0], c[I0] + j, n)


@kernel
def reference(A: F8, r: int, rows: int, off: int, n: int) -> float:
    """Value of the newest row that is there, of BLOCK_DAYS rows; 0 without one.

    A window longer than two blocks holds these rows as long as the block of row r lasts, wherever the data begin.
    """
    for k in range(BLOCK_DAYS):
        x = A[off + ((r - k) % rows) * n]
        if x == x:
            return float(x)
    return 0.0


@kernel
def spread(square: float, total: float, count: float) -> float:
    """Sum of squares about the mean; 0 where only rounding is left (never so with a reference in the window)."""
    about = square - total * total / count
    return 0.0 if about <= ROUNDING * square else about


@kernel
def clear(A: F8, at: int, n: int, m: int) -> None:
    """Six sums to zero."""
    for a in range(6):
        A[at + a * n : at + a * n + m] = 0.0


@kernel
def add_pairs(
    A: F8, c: I8, n: int, first: int, last: int, state: int, at: int, j0: int, m: int, strict: bool
) -> None:  # fmt: skip
    """Add the pairs of rows [first, last) to the six sums at `at`: x, y, xx, yy, xy, count."""
    rx, ry = A[state : state + m], A[state + n : state + n + m]
    sx, sy = A[at : at + m], A[at + n : at + n + m]
    sxx, syy = A[at + 2 * n : at + 2 * n + m], A[at + 3 * n : at + 3 * n + m]
    sxy, count = A[at + 4 * n : at + 4 * n + m], A[at + 5 * n : at + 5 * n + m]
    for r in range(first, last):
        oy = row_of(r, c[L0], c[R0], c[I0], n) + j0
        ox = row_of(r, c[L1], c[R1], c[I1], n) + j0
        y, x = A[oy : oy + m], A[ox : ox + m]
        for j in range(m):
            dx, dy = x[j] - rx[j], y[j] - ry[j]
            there = strict or (dx == dx and dy == dy)
            dx, dy = (dx, dy) if there else (0.0, 0.0)
            sx[j] += dx
            sy[j] += dy
            sxx[j] += dx * dx
            syy[j] += dy * dy
            sxy[j] += dx * dy
            count[j] += 1.0 if there else 0.0


@kernel
def finish_pair(A: F8, c: I8, F: F8, n: int, t: int, state: int, out: int, j0: int, m: int, S: F8) -> None:
    """Values from the sums in S."""
    oy = row_of(t, c[L0], c[R0], c[I0], n) + j0
    ox = row_of(t, c[L1], c[R1], c[I1], n) + j0
    least = float(max(c[MINP], 2))
    zero = 0.0 if c[P1] == 1 else NAN
    for j in range(m):
        A[out + j] = NAN
        if S[5, j] >= least:
            for a in range(2):
                if spread(S[2 + a, j], S[a, j], S[5, j]) == 0.0:
                    S[2 + a, j] = S[a, j] * S[a, j] / S[5, j]
            v = pair_value(
                c[MODE], S[5, j], S[0, j], S[1, j], S[2, j], S[3, j], S[4, j], A[state + j], A[state + n + j],
                A[ox + j], A[oy + j], float(c[P0]), zero, F[c[FC]],
            )  # fmt: skip
            A[out + j] = v if abs(v) <= LARGEST else NAN
