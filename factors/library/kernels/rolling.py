"""Operations over a window of one panel, read directly: sums, products, extremes, ranks, weights.

The window loop is outside and the asset loop inside, so that the inner loop is a vector operation on contiguous rows.
A NaN in a strict window reaches the accumulator by arithmetic; with `min_periods` missing rows are left out, counted.
Rows before the first are NaN (the ring starts so), which makes the warm-up of a strict window by itself.
"""

from __future__ import annotations

import numpy as np

from factors.library.kernels.layout import FC, I0, L0, MINP, MODE, OUT, OUTR, P0, R0, W
from factors.library.kernels.types import F8, I8, LARGEST, kernel, row_of, slot

NAN = np.nan


@kernel
def rolling_sum(A: F8, c: I8, F: F8, n: int, t0: int, t1: int, j0: int, j1: int, S: F8) -> None:
    """Sum (mode 0) or mean (1) of the window, oldest row first."""
    m = j1 - j0
    w, rows, base = c[W], c[R0], c[I0] + j0
    acc = S[0, :m]
    for t in range(t0, t1):
        o = row_of(t, 0, c[OUTR], c[OUT], n) + j0
        z = A[o : o + m]
        new = (t - c[L0]) % rows
        if c[MINP] < w:
            masked_sum(A, c, n, new, base, S, z)
            continue
        k = w - 1
        o = base + slot(new, k, rows) * n
        x = A[o : o + m]
        for j in range(m):
            acc[j] = x[j]
        while k >= 4:
            oa = base + slot(new, k - 1, rows) * n
            ob = base + slot(new, k - 2, rows) * n
            oc = base + slot(new, k - 3, rows) * n
            od = base + slot(new, k - 4, rows) * n
            xa, xb, xc, xd = A[oa : oa + m], A[ob : ob + m], A[oc : oc + m], A[od : od + m]
            for j in range(m):
                acc[j] = (((acc[j] + xa[j]) + xb[j]) + xc[j]) + xd[j]
            k -= 4
        while k >= 1:
            oa = base + slot(new, k - 1, rows) * n
            xa = A[oa : oa + m]
            for j in range(m):
                acc[j] += xa[j]
            k -= 1
        scale = 1.0 / w
        if c[MODE] == 1:
            for j in range(m):
                z[j] = acc[j] * scale
        else:
            for j in range(m):
                z[j] = acc[j] if abs(acc[j]) <= LARGEST else NAN


@kernel
def masked_sum(A: F8, c: I8, n: int, new: int, base: int, S: F8, z: F8) -> None:
    """The same over the rows that are there, at least min_periods of them."""
    m = len(z)
    acc, count = S[0, :m], S[1, :m]
    acc[:] = 0.0
    count[:] = 0.0
    for k in range(c[W] - 1, -1, -1):
        o = base + slot(new, k, c[R0]) * n
        x = A[o : o + m]
        for j in range(m):
            there = x[j] == x[j]
            acc[j] += x[j] if there else 0.0
            count[j] += 1.0 if there else 0.0
    least = float(c[MINP])
    for j in range(m):
        v = acc[j] / count[j] if c[MODE] == 1 and count[j] > 0.0 else acc[j]
        z[j] = v if count[j] >= least and abs(v) <= LARGEST else NAN


@kernel
def rolling_weighted(A: F8, c: I8, F: F8, n: int, t0: int, t1: int, j0: int, j1: int, S: F8) -> None:
    """Weighted sum of the window; the weight of the row k before today is F[FC + k]."""
    m = j1 - j0
    w, rows, base, first = c[W], c[R0], c[I0] + j0, c[FC]
    acc = S[0, :m]
    for t in range(t0, t1):
        o = row_of(t, 0, c[OUTR], c[OUT], n) + j0
        z = A[o : o + m]
        new = (t - c[L0]) % rows
        k = w - 1
        o = base + slot(new, k, rows) * n
        x = A[o : o + m]
        f = F[first + k]
        for j in range(m):
            acc[j] = f * x[j]
        while k >= 3:
            oa = base + slot(new, k - 1, rows) * n
            ob = base + slot(new, k - 2, rows) * n
            oc = base + slot(new, k - 3, rows) * n
            xa, xb, xc = A[oa : oa + m], A[ob : ob + m], A[oc : oc + m]
            fa, fb, fc = F[first + k - 1], F[first + k - 2], F[first + k - 3]
            for j in range(m):
                acc[j] = ((acc[j] + fa * xa[j]) + fb * xb[j]) + fc * xc[j]
            k -= 3
        while k >= 1:
            oa = base + slot(new, k - 1, rows) * n
            xa = A[oa : oa + m]
            fa = F[first + k - 1]
            for j in range(m):
                acc[j] += fa * xa[j]
            k -= 1
        for j in range(m):
            z[j] = acc[j] if abs(acc[j]) <= LARGEST else NAN


@kernel
def rolling_extreme(A: F8, c: I8, F: F8, n: int, t0: int, t1: int, j0: int, j1: int, S: F8) -> None:
    """Minimum 0, maximum 1, their positions 2, 3 (oldest on ties), rows since 4, 5 (latest on ties)."""
    m = j1 - j0
    mode = c[MODE]
    for t in range(t0, t1):
        o = row_of(t, 0, c[OUTR], c[OUT], n) + j0
        z = A[o : o + m]
        new = (t - c[L0]) % c[R0]
        if c[MINP] == c[W] and mode < 2:
            strict_extreme(A, c, n, new, j0, z, S)
        else:
            placed_extreme(A, c, n, new, j0, z, S)


@kernel
def strict_extreme(A: F8, c: I8, n: int, new: int, j0: int, z: F8, S: F8) -> None:
    """Minimum or maximum of a strict window of one row of assets."""
    m = len(z)
    best = S[0, :m]
    base, rows = c[I0] + j0, c[R0]
    least = c[MODE] == 0
    k = c[W] - 1
    o = base + slot(new, k, rows) * n
    best[:] = A[o : o + m]
    while k >= 1:
        oa = base + slot(new, k - 1, rows) * n
        ob = base + slot(new, max(k - 2, 0), rows) * n
        x, y = A[oa : oa + m], A[ob : ob + m]
        # a NaN is taken when it comes and never given up: no comparison with it is true
        if least:
            for j in range(m):
                v = x[j] if x[j] < best[j] or x[j] != x[j] else best[j]
                best[j] = y[j] if y[j] < v or y[j] != y[j] else v
        else:
            for j in range(m):
                v = x[j] if x[j] > best[j] or x[j] != x[j] else best[j]
                best[j] = y[j] if y[j] > v or y[j] != y[j] else v
        k -= 2
    z[:] = best


@kernel
def placed_extreme(A: F8, c: I8, n: int, new: int, j0: int, z: F8, S: F8) -> None:
    """Any mode of rolling_extreme on one row of assets, with counts of what is there."""
    m = len(z)
    mode, w = c[MODE], c[W]
    best, place, count = S[0, :m], S[1, :m], S[2, :m]
    best[:] = np.inf
    place[:] = 0.0
    count[:] = 0.0
    sign = 1.0 if mode % 2 == 0 else -1.0
    latest = mode >= 4
    for k in range(w - 1, -1, -1):
        o = c[I0] + j0 + slot(new, k, c[R0]) * n
        x = A[o : o + m]
        at = float(k)
        if latest:
            for j in range(m):
                v = sign * x[j]
                place[j] = at if v <= best[j] else place[j]
                best[j] = v if v <= best[j] else best[j]
                count[j] += 1.0 if v == v else 0.0
        else:
            for j in range(m):
                v = sign * x[j]
                place[j] = at if v < best[j] else place[j]
                best[j] = v if v < best[j] else best[j]
                count[j] += 1.0 if v == v else 0.0
    least = float(c[MINP])
    # place counts rows since; oldest_1 is w - since, oldest_0 one less, days_ago is since
    basis = c[P0]
    for j in range(m):
        if mode < 2:
            v = sign * best[j]
        elif latest or basis == 2:
            v = place[j]
        else:
            v = w - place[j] - basis
        z[j] = v if count[j] >= least else NAN


@kernel
def rolling_rank(A: F8, c: I8, F: F8, n: int, t0: int, t1: int, j0: int, j1: int, S: F8) -> None:
    """Rank of today in its window; mode: / count 0, (r-1)/(n-1) 1, the rank 2; P0: ties average 0, min 1, max 2."""
    m = j1 - j0
    w, rows = c[W], c[R0]
    for t in range(t0, t1):
        o = row_of(t, 0, c[OUTR], c[OUT], n) + j0
        z = A[o : o + m]
        new = (t - c[L0]) % rows
        base = c[I0] + j0
        o = base + new * n
        today = A[o : o + m]
        if c[MINP] < w or c[P0] != 0 or c[MODE] != 0:
            general_rank(A, c, n, new, base, today, z, S)
            continue
        acc = S[0, :m]
        acc[:] = 2.0
        k = w - 1
        while k >= 2:
            oa = base + slot(new, k, rows) * n
            ob = base + slot(new, k - 1, rows) * n
            xa, xb = A[oa : oa + m], A[ob : ob + m]
            for j in range(m):
                v, a, b = today[j], xa[j], xb[j]
                less = (1.0 if a < v else 0.0) + (1.0 if b < v else 0.0)
                same = (1.0 if a <= v else 0.0) + (1.0 if b <= v else 0.0)
                acc[j] += (less + same) + 0.0 * (a + b)
            k -= 2
        if k == 1:
            oa = base + slot(new, 1, rows) * n
            xa = A[oa : oa + m]
            for j in range(m):
                v, a = today[j], xa[j]
                acc[j] += (1.0 if a < v else 0.0) + (1.0 if a <= v else 0.0) + 0.0 * a
        twice = 2.0 * w
        for j in range(m):
            z[j] = acc[j] / twice + 0.0 * today[j]


@kernel
def general_rank(A: F8, c: I8, n: int, new: int, base: int, today: F8, z: F8, S: F8) -> None:
    """Rank under any setting on one row of assets."""
    m = len(z)
    less, same, count = S[0, :m], S[1, :m], S[2, :m]
    less[:] = 0.0
    same[:] = 0.0
    count[:] = 0.0
    for k in range(c[W] - 1, -1, -1):
        o = base + slot(new, k, c[R0]) * n
        x = A[o : o + m]
        for j in range(m):
            less[j] += 1.0 if x[j] < today[j] else 0.0
            same[j] += 1.0 if x[j] == today[j] else 0.0
            count[j] += 1.0 if x[j] == x[j] else 0.0
    least = float(c[MINP])
    for j in range(m):
        rank = less[j] + 0.5 * (same[j] + 1.0)
        if c[P0] == 1:
            rank = less[j] + 1.0
        elif c[P0] == 2:
            rank = less[j] + same[j]
        if c[MODE] == 0:
            rank = rank / count[j] if count[j] > 0.0 else NAN
        elif c[MODE] == 1:
            rank = (rank - 1.0) / (count[j] - 1.0) if count[j] > 1.0 else NAN
        z[j] = rank if today[j] == today[j] and count[j] >= least else NAN
