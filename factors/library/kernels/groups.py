"""Operations across the names of one group on one date. A name without a group is NaN."""

from __future__ import annotations

import math

import numpy as np

from factors.library.kernels.layout import I0, I1, I2, L0, L1, L2, MODE, OP, OUT, OUTR, R0, R1, R2, Op, W
from factors.library.kernels.moments import FLAT
from factors.library.kernels.order import ONE, index_bits, order
from factors.library.kernels.types import F8, I8, LARGEST, U4, U8, kernel, row_of

NAN = np.nan
GROUP, GROUP_WEIGHTED, GROUP_RANK = int(Op.GROUP), int(Op.GROUP_WEIGHTED), int(Op.GROUP_RANK)


@kernel
def group_sums(x: F8, g: F8, G: F8, groups: int) -> None:
    """Count, mean, sum of squares about it, minimum, maximum and sum of absolute values into G[0..5]."""
    G[:6, :groups] = 0.0
    G[3, :groups] = np.inf
    G[4, :groups] = -np.inf
    G[6, :groups] = NAN
    for j in range(len(x)):
        v = x[j]
        if v == v and g[j] >= 0.0:
            at = int(g[j])
            if G[0, at] == 0.0:
                G[6, at] = v
            G[0, at] += 1.0
            G[1, at] += v - G[6, at]
            G[3, at] = min(G[3, at], v)
            G[4, at] = max(G[4, at], v)
            G[5, at] += abs(v)
    for at in range(groups):
        G[1, at] = G[6, at] + G[1, at] / G[0, at]
    for j in range(len(x)):
        d = x[j]
        if d == d and g[j] >= 0.0:
            at = int(g[j])
            d -= G[1, at]
            G[2, at] += d * d


@kernel
def grouped(mode: int, x: F8, g: F8, z: F8, G: F8, groups: int) -> None:
    """Mean 0, sum 1, std 2, count 3, min 4, max 5, x - mean 6, z-score 7, x / sum of absolute values 8."""
    group_sums(x, g, G, groups)
    for j in range(len(x)):
        v = NAN
        if g[j] >= 0.0:
            at = int(g[j])
            count, mean = G[0, at], G[1, at]
            deviation = math.sqrt(G[2, at] / (count - 1.0)) if count > 1.0 else NAN
            if mode == 3:
                v = count
            elif count == 0.0:
                v = NAN
            elif mode == 0:
                v = mean
            elif mode == 1:
                v = mean * count
            elif mode == 2:
                v = deviation
            elif mode == 4:
                v = G[3, at]
            elif mode == 5:
                v = G[4, at]
            elif mode == 6:
                v = x[j] - mean
            elif mode == 7:
                v = (x[j] - mean) / deviation if deviation > FLAT * abs(mean) else NAN
            elif G[5, at] > 0.0:
                v = x[j] / G[5, at]
        z[j] = v if abs(v) <= LARGEST else NAN


@kernel
def group_weighted(x: F8, w: F8, g: F8, z: F8, G: F8, groups: int) -> None:
    """Weighted mean over members where both are there."""
    G[:2, :groups] = 0.0
    for j in range(len(x)):
        if x[j] == x[j] and w[j] == w[j] and g[j] >= 0.0:
            at = int(g[j])
            G[0, at] += w[j]
            G[1, at] += w[j] * x[j]
    for j in range(len(x)):
        v = NAN
        if g[j] >= 0.0 and G[0, int(g[j])] > 0.0:
            v = G[1, int(g[j])] / G[0, int(g[j])]
        z[j] = v if abs(v) <= LARGEST else NAN


@kernel
def group_rank(
    x: F8, bits: U8, g: F8, z: F8, scale: int, ties: int, G: F8, groups: int, K: U8, H: U4
) -> None:  # fmt: skip
    """Rank inside the group, from one sort of the date: walk it with a counter per group."""
    total = order(x, bits, K, H)
    mask = (ONE << np.uint64(index_bits(len(x)))) - ONE
    G[:3, :groups] = 0.0
    z[:] = NAN
    for j in range(len(x)):
        if x[j] == x[j] and g[j] >= 0.0:
            G[0, int(g[j])] += 1.0
    first = 0
    while first < total:
        last = first + 1
        v = x[K[0, first] & mask]
        while last < total and x[K[0, last] & mask] == v:
            last += 1
        for i in range(first, last):
            j = K[0, i] & mask
            if g[j] >= 0.0:
                G[2, int(g[j])] += 1.0
        for i in range(first, last):
            j = K[0, i] & mask
            if g[j] >= 0.0:
                at = int(g[j])
                rank = G[1, at] + 0.5 * (G[2, at] + 1.0)
                if ties == 1:
                    rank = G[1, at] + 1.0
                elif ties == 2:
                    rank = G[1, at] + G[2, at]
                elif ties == 3:
                    G[1, at] += 1.0
                    rank = G[1, at]
                count = G[0, at]
                if scale == 0:
                    rank /= count
                elif scale == 1:
                    rank = (rank - 1.0) / (count - 1.0) if count > 1.0 else NAN
                else:
                    rank -= 1.0
                z[j] = rank
        for i in range(first, last):
            j = K[0, i] & mask
            if g[j] >= 0.0:
                at = int(g[j])
                G[1, at] += G[2, at] if ties != 3 else 0.0
                G[2, at] = 0.0
        first = last


@kernel
def group_median(x: F8, bits: U8, g: F8, z: F8, G: F8, groups: int, K: U8, H: U4) -> None:
    """Median of the group, given to every member."""
    total = order(x, bits, K, H)
    mask = (ONE << np.uint64(index_bits(len(x)))) - ONE
    G[:4, :groups] = 0.0
    for j in range(len(x)):
        if x[j] == x[j] and g[j] >= 0.0:
            G[0, int(g[j])] += 1.0
    for i in range(total):
        j = K[0, i] & mask
        if g[j] >= 0.0:
            at = int(g[j])
            place, count = int(G[1, at]), int(G[0, at])
            if place == (count - 1) // 2:
                G[2, at] = x[j]
            if place == count // 2:
                G[3, at] = x[j]
            G[1, at] += 1.0
    for j in range(len(x)):
        v = NAN
        if g[j] >= 0.0 and G[0, int(g[j])] > 0.0:
            v = G[2, int(g[j])] + 0.5 * (G[3, int(g[j])] - G[2, int(g[j])])
        z[j] = v


@kernel
def group_step(A: F8, U: U8, c: I8, n: int, t: int, G: F8, K: U8, H: U4) -> None:
    """Run one instruction by group on row t; the last operand is the group's codes."""
    op = c[OP]
    o = row_of(t, 0, c[OUTR], c[OUT], n)
    z = A[o : o + n]
    o = row_of(t, c[L0], c[R0], c[I0], n)
    x, bits = A[o : o + n], U[o : o + n]
    o = row_of(t, c[L1], c[R1], c[I1], n)
    g = A[o : o + n]
    w = g
    if op == GROUP_WEIGHTED:
        o = row_of(t, c[L2], c[R2], c[I2], n)
        g = A[o : o + n]
    groups = 0
    for j in range(n):
        if g[j] >= 0.0:
            groups = max(groups, int(g[j]) + 1)
    if op == GROUP:
        grouped(c[MODE], x, g, z, G, groups)
    elif op == GROUP_WEIGHTED:
        group_weighted(x, w, g, z, G, groups)
    elif op == GROUP_RANK:
        group_rank(x, bits, g, z, c[MODE], c[W], G, groups, K, H)
    else:
        group_median(x, bits, g, z, G, groups, K, H)
