"""Sums and moments over long windows in a bounded number of steps per row, without drift.

Rows fall into blocks of BLOCK_BARS bars by the clock (calendar days, where rows are days), wherever the data begin. A
window is the end of its oldest block (a suffix), the whole blocks between, and the beginning of the current block. What
is kept of each is put together anew for every row; nothing is ever subtracted, so nothing drifts and a missing value
leaves with its row; and the result depends on the window's rows and dates alone, so that any start agrees bit for bit.

The suffixes of a block are taken from its newest row backwards, a share of them at each step of the window through the
block before, so that no row costs much more than another. A node's state is the whole blocks together, SLOTS suffixes
and a ring of `kept_blocks` blocks with the current one; each of these is `n_sums` rows of assets:

* of one panel its sum and, unless the window is strict, the number of rows that are there;
* of p panels their means, the p (p + 1) / 2 sums of products about them, and the number of rows where all are there,
  taken row by row (Welford 1962) and put together by parts (Chan, Golub and LeVeque 1983), so that a level far from
  zero costs no digits and a constant has no variance.

A peek at a row needs none of the suffixes that are due, since they belong to later windows; the current block with the
row, and the whole blocks together where they change with it, go to SPARE_PARTS parts from `SPARE` on.

`B` says of row r, at `r % B.shape[1]`: the first row of its block, the first row after it (0 while it is not over), and
the number of its block.
"""

from __future__ import annotations

import numpy as np

from factors.library.kernels.layout import FC, MINP, MODE, NX, OP, OUT, OUTR, P0, P1, SPARE, ST, Op, W
from factors.library.kernels.moments import pair_value
from factors.library.kernels.regression import DEVIATION, REST, SHARE, add_moments, column, finish_regression
from factors.library.kernels.types import F8, I8, LARGEST, kernel, row_of

NAN = np.nan
LONG_SUM, LONG_PAIR = int(Op.LONG_SUM), int(Op.LONG_PAIR)
BLOCK_BARS = 32
FIRST, END, NUMBER = range(3)
# A block's suffixes come in on one side while those of the block before leave on the other.
SLOTS = BLOCK_BARS + 2
SPARE_PARTS = 2
# No exchange has fewer rows in a block; sparser dates are as right, only slower.
ROWS_A_BLOCK = 18


def kept_blocks(window: int) -> int:
    """Blocks whose sums are kept for a window."""
    return 2 + window // ROWS_A_BLOCK


def n_sums(panels: int, *, strict: bool) -> int:
    """Rows of sums of a part of the window."""
    if panels == 1:
        return 1 if strict else 2
    return panels + panels * (panels + 1) // 2 + 1


def state_rows(panels: int, window: int, *, strict: bool) -> int:
    """Rows of state of a node."""
    return n_sums(panels, strict=strict) * (1 + SLOTS + kept_blocks(window))


@kernel
def suffix_slot(B: I8, r: int) -> int:
    """Where the suffix that begins at row r is kept."""
    i = r % B.shape[1]
    back = B[END, i] - 1 - r
    return back if B[NUMBER, i] % 2 == 0 else SLOTS - 1 - back


@kernel
def due(B: I8, old: int) -> tuple[int, int]:
    """Rows [first, last) whose suffixes are due while `old` is the window's oldest row.

    They are of the block after that of row `old`. Before the data there is a block as long as the first one.
    """
    size = B.shape[1]
    if old < 0:
        rows = length = end = B[END, 0]
        at = old + rows
        if at < 0:
            return 0, 0
    else:
        i = old % size
        rows, at = B[END, i] - B[FIRST, i], old - B[FIRST, i]
        end = B[END, B[END, i] % size]
        length = end - B[END, i]
    done = (length * at + rows - 1) // rows
    need = (length * (at + 1) + rows - 1) // rows
    return end - need, end - done


@kernel
def clear(A: F8, at: int, sums: int, n: int, m: int) -> None:
    """A part without rows."""
    for a in range(sums):
        A[at + a * n : at + a * n + m] = 0.0


@kernel
def add_row(
    A: F8, c: I8, E: I8, n: int, r: int, at: int, p: int, sums: int, j0: int, m: int, S: F8, strict: bool
) -> None:  # fmt: skip
    """Add row r to the part at `at`."""
    if p > 1:
        add_moments(A, c, E, n, r, A, at, n, p, sums, j0, m, S, strict)
        return
    o = column(c, E, 0, n, r) + j0
    x, total = A[o : o + m], A[at : at + m]
    if strict:
        for j in range(m):
            total[j] += x[j]
        return
    count = A[at + n : at + n + m]
    for j in range(m):
        there = x[j] == x[j]
        total[j] += x[j] if there else 0.0
        count[j] += 1.0 if there else 0.0


@kernel
def merge(S: F8, A: F8, at: int, p: int, sums: int, n: int, m: int) -> None:
    """Add the part at `at` to that in S."""
    if p == 1:
        for a in range(sums):
            total, more = S[a, :m], A[at + a * n : at + a * n + m]
            for j in range(m):
                total[j] += more[j]
        return
    o = at + (sums - 1) * n
    count, more, share, rest = S[sums - 1, :m], A[o : o + m], S[SHARE, :m], S[REST, :m]
    for j in range(m):
        both = count[j] + more[j]
        share[j] = more[j] / max(both, 1.0)
        rest[j] = count[j] * share[j]
        count[j] = both
    a = p
    for i in range(p):
        d, mean, other = S[DEVIATION + i, :m], S[i, :m], A[at + i * n : at + i * n + m]
        for j in range(m):
            d[j] = other[j] - mean[j]
            mean[j] += d[j] * share[j]
        for h in range(i + 1):
            e, product, beside = S[DEVIATION + h, :m], S[a, :m], A[at + a * n : at + a * n + m]
            for j in range(m):
                product[j] = (product[j] + beside[j]) + (d[j] * rest[j]) * e[j]
            a += 1


@kernel
def fold(
    A: F8, c: I8, E: I8, B: I8, n: int, t: int, old: int, mid: int, ring: int, p: int, sums: int, j0: int, m: int,
    S: F8, strict: bool,
) -> None:  # fmt: skip
    """Put the whole blocks together anew, the oldest first."""
    size, kept, now = B.shape[1], 2 + c[W] // ROWS_A_BLOCK, B[NUMBER, t % B.shape[1]]
    S[:sums, :m] = 0.0
    r = B[END, old % size]
    while r < B[FIRST, t % size]:
        end, number = B[END, r % size], B[NUMBER, r % size]
        at = ring + (number % kept) * sums * n
        if now - number >= kept:
            at = mid
            clear(A, at, sums, n, m)
            for q in range(r, end):
                add_row(A, c, E, n, q, at, p, sums, j0, m, S, strict)
        merge(S, A, at, p, sums, n, m)
        r = end
    put(S, A, mid, sums, n, m)


@kernel
def put(S: F8, A: F8, at: int, sums: int, n: int, m: int) -> None:
    """Keep the part in S at `at`."""
    for a in range(sums):
        A[at + a * n : at + a * n + m] = S[a, :m]


@kernel
def take(S: F8, A: F8, at: int, sums: int, n: int, m: int) -> None:
    """The part at `at` into S."""
    for a in range(sums):
        S[a, :m] = A[at + a * n : at + a * n + m]


@kernel
def long_window(A: F8, c: I8, F: F8, E: I8, B: I8, n: int, t0: int, t1: int, j0: int, j1: int, S: F8) -> None:
    """LONG_SUM, LONG_PAIR and LONG_MREG: the modes of SUM, PAIR and MREG but the residual skewness."""
    m, w, size = j1 - j0, c[W], B.shape[1]
    strict = c[MINP] == w
    p = 1 if c[OP] == LONG_SUM else c[NX] + 2
    sums = (1 if strict else 2) if p == 1 else p + p * (p + 1) // 2 + 1
    step, kept = sums * n, 2 + w // ROWS_A_BLOCK
    mid = c[ST] + j0
    tail, ring = mid + step, mid + (1 + SLOTS) * step
    for t in range(t0, t1):
        old, begin, number = t - w + 1, B[FIRST, t % size], B[NUMBER, t % size]
        run, whole = ring + (number % kept) * step, mid
        if c[SPARE] > 0:
            take(S, A, run, sums, n, m)
            run, whole = c[SPARE] + j0, c[SPARE] + j0 + step
            put(S, A, run, sums, n, m)
        if begin == t:
            clear(A, run, sums, n, m)
        add_row(A, c, E, n, t, run, p, sums, j0, m, S, strict)
        if old >= 0 and B[FIRST, old % size] == old:
            fold(A, c, E, B, n, t, old, whole, ring, p, sums, j0, m, S, strict)
        elif begin == t and t > 0:
            take(S, A, mid, sums, n, m)
            merge(S, A, ring + ((number - 1) % kept) * step, p, sums, n, m)
            put(S, A, whole, sums, n, m)
        else:
            whole = mid
        first, last = due(B, old) if c[SPARE] == 0 else (0, 0)
        for r in range(last - 1, first - 1, -1):
            here = tail + suffix_slot(B, r) * step
            if B[END, r % size] == r + 1:
                clear(A, here, sums, n, m)
            else:
                take(S, A, tail + suffix_slot(B, r + 1) * step, sums, n, m)
                put(S, A, here, sums, n, m)
            add_row(A, c, E, n, r, here, p, sums, j0, m, S, strict)
        o = row_of(t, 0, c[OUTR], c[OUT], n) + j0
        z = A[o : o + m]
        if old < 0 and strict:
            z[:] = NAN
            continue
        if old >= 0:
            take(S, A, tail + suffix_slot(B, old) * step, sums, n, m)
        else:
            S[:sums, :m] = 0.0
        merge(S, A, whole, p, sums, n, m)
        merge(S, A, run, p, sums, n, m)
        if p == 1:
            finish_sum(c, S, z, strict)
        elif c[OP] == LONG_PAIR:
            finish_pair(A, c, F, E, n, t, j0, z, S)
        else:
            finish_regression(A, c, E, n, t, p, sums, j0, z, S)


@kernel
def finish_sum(c: I8, S: F8, z: F8, strict: bool) -> None:
    """Sum or mean of one row of assets."""
    if strict:
        scale = 1.0 / c[W] if c[MODE] == 1 else 1.0
        for j in range(len(z)):
            v = S[0, j] * scale
            z[j] = v if abs(v) <= LARGEST else NAN
        return
    least = float(c[MINP])
    for j in range(len(z)):
        v = S[0, j] / S[1, j] if c[MODE] == 1 else S[0, j]
        z[j] = v if S[1, j] >= least and abs(v) <= LARGEST else NAN


@kernel
def finish_pair(A: F8, c: I8, F: F8, E: I8, n: int, t: int, j0: int, z: F8, S: F8) -> None:
    """Any PAIR mode of one row of assets; y comes first."""
    oy, ox = column(c, E, 0, n, t) + j0, column(c, E, 1, n, t) + j0
    least = float(max(c[MINP], 2))
    zero = 0.0 if c[P1] == 1 else NAN
    for j in range(len(z)):
        z[j] = NAN
        if S[5, j] >= least:
            v = pair_value(
                c[MODE], S[5, j], 0.0, 0.0, S[4, j], S[2, j], S[3, j], S[1, j], S[0, j], A[ox + j], A[oy + j],
                float(c[P0]), zero, F[c[FC]],
            )  # fmt: skip
            z[j] = v if abs(v) <= LARGEST else NAN
