"""Operations across the names of one date. Missing names are left out; a broadcast goes to every name."""

from __future__ import annotations

import math

import numpy as np

from factors.library.kernels import found
from factors.library.kernels.layout import FC, I0, I1, L0, L1, MODE, NX, OP, OUT, OUTR, R0, R1, Op, W
from factors.library.kernels.moments import FLAT, pair_value
from factors.library.kernels.order import ONE, index_bits, order, rank_row
from factors.library.kernels.regression import column, solve
from factors.library.kernels.types import F8, I8, LARGEST, U4, U8, kernel, row_of

NAN = np.nan
RANK, STANDARDIZE, WINSORIZE = int(Op.RANK), int(Op.STANDARDIZE), int(Op.WINSORIZE)
GAUSS_RANK, BUCKET, CS_AGGREGATE, CS_QUANTILE = (
    int(Op.GAUSS_RANK), int(Op.BUCKET), int(Op.CS_AGGREGATE), int(Op.CS_QUANTILE),
)  # fmt: skip
CS_WEIGHTED, CS_PAIR, FOUND_ACROSS = int(Op.CS_WEIGHTED), int(Op.CS_PAIR), int(Op.FOUND_ACROSS)
run_found = found.chain(found.kernels(found.ACROSS))


@kernel
def mean_std(x: F8) -> tuple[float, float, float]:
    """Count, mean and standard deviation (ddof 1) of what is there; two passes, exact for a constant."""
    count, total, first = 0.0, 0.0, NAN
    for j in range(len(x)):
        if x[j] == x[j]:
            if count == 0.0:
                first = x[j]
            count += 1.0
            total += x[j] - first
    mean = first + total / count
    square = 0.0
    for j in range(len(x)):
        d = x[j] - mean
        square += d * d if d == d else 0.0
    return count, mean, (math.sqrt(square / (count - 1.0)) if count > 1.0 else NAN)


@kernel
def weighted_mean(x: F8, w: F8) -> tuple[float, float]:
    """Weighted mean and sum over names where both are there; NaN where the weights do not sum to more than 0."""
    mass, total = 0.0, 0.0
    for j in range(len(x)):
        if x[j] == x[j] and w[j] == w[j]:
            mass += w[j]
            total += w[j] * x[j]
    return (total / mass, total) if mass > 0.0 else (NAN, NAN)


@kernel
def sorted_quantile(x: F8, K: U8, count: int, q: float) -> float:
    """Linear quantile of an ordered cross-section."""
    if count == 0:
        return NAN
    mask = (ONE << np.uint64(index_bits(len(x)))) - ONE
    place = q * (count - 1)
    low = int(math.floor(place))
    high = min(low + 1, count - 1)
    a, b = x[K[0, low] & mask], x[K[0, high] & mask]
    return float(a + (b - a) * (place - low))


@kernel
def inverse_normal(p: float) -> float:
    """Quantile of the standard normal: Acklam's approximation, one step of Halley on erfc."""
    if p < 0.02425 or p > 1.0 - 0.02425:
        q = math.sqrt(-2.0 * math.log(min(p, 1.0 - p)))
        top = ((((-7.784894002430293e-03 * q - 3.223964580411365e-01) * q - 2.400758277161838) * q
                - 2.549732539343734) * q + 4.374664141464968) * q + 2.938163982698783  # fmt: skip
        bottom = (((7.784695709041462e-03 * q + 3.224671290700398e-01) * q + 2.445134137142996) * q
                  + 3.754408661907416) * q + 1.0  # fmt: skip
        x = top / bottom
        x = x if p < 0.5 else -x
    else:
        q = p - 0.5
        r = q * q
        top = (((((-3.969683028665376e01 * r + 2.209460984245205e02) * r - 2.759285104469687e02) * r
                 + 1.383577518672690e02) * r - 3.066479806614716e01) * r + 2.506628277459239) * q  # fmt: skip
        bottom = ((((-5.447609879822406e01 * r + 1.615858368580409e02) * r - 1.556989798598866e02) * r
                   + 6.680131188771972e01) * r - 1.328068155288572e01) * r + 1.0  # fmt: skip
        x = top / bottom
    error = 0.5 * math.erfc(-x / math.sqrt(2.0)) - p
    step = error * math.sqrt(2.0 * math.pi) * math.exp(0.5 * x * x)
    return x - step / (1.0 + 0.5 * x * step)


@kernel
def ranked(op: int, x: F8, bits: U8, z: F8, groups: float, K: U8, H: U4) -> None:
    """Gaussian ranks and quantile buckets."""
    count = rank_row(x, bits, z, 2, 0, K, H)
    for j in range(len(z)):
        if z[j] == z[j]:
            part = (z[j] + 0.5) / count
            z[j] = inverse_normal(part) if op == GAUSS_RANK else np.floor(groups * part)


@kernel
def standardized(mode: int, x: F8, w: F8, z: F8) -> None:
    """Deviations from the mean 0, in standard deviations 1, from the weighted mean in standard deviations 2."""
    count, mean, deviation = mean_std(x)
    if mode == 2:
        mean, _ = weighted_mean(x, w)
    scale = 1.0
    if mode > 0:
        scale = 1.0 / deviation if deviation > FLAT * abs(mean) and count > 1.0 else NAN
    for j in range(len(x)):
        v = (x[j] - mean) * scale
        z[j] = v if abs(v) <= LARGEST else NAN


@kernel
def winsorized(mode: int, x: F8, bits: U8, z: F8, p: float, K: U8, H: U4) -> None:
    """Clip at quantiles 0, or at mean +- p standard deviations 1."""
    if mode == 0:
        count = order(x, bits, K, H)
        low, high = sorted_quantile(x, K, count, p), sorted_quantile(x, K, count, 1.0 - p)
    else:
        _, mean, deviation = mean_std(x)
        deviation = deviation if deviation == deviation else 0.0
        low, high = mean - p * deviation, mean + p * deviation
    for j in range(len(x)):
        v = x[j]
        z[j] = low if v < low else (high if v > high else v)


@kernel
def aggregate(mode: int, x: F8) -> float:
    """Mean 0, sum 1, standard deviation 2, minimum 3, maximum 4, count 5."""
    count, total, low, high = 0.0, 0.0, np.inf, -np.inf
    for j in range(len(x)):
        v = x[j]
        if v == v:
            count += 1.0
            total += v
            low = min(low, v)
            high = max(high, v)
    if mode == 5:
        return count
    if count == 0.0:
        return NAN
    if mode == 0:
        return total / count
    if mode == 1:
        return total
    if mode == 2:
        return mean_std(x)[2]
    return low if mode == 3 else high


@kernel
def across_pair(mode: int, y: F8, x: F8) -> float:
    """Correlation 0 or slope of y on x 1 over names where both are there."""
    n, sx, sy, sxx, syy, sxy, rx, ry = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for j in range(len(x)):
        if x[j] == x[j] and y[j] == y[j]:
            if n == 0.0:
                rx, ry = x[j], y[j]
            n += 1.0
            dx, dy = x[j] - rx, y[j] - ry
            sx += dx
            sy += dy
            sxx += dx * dx
            syy += dy * dy
            sxy += dx * dy
    if n < 2.0:
        return NAN
    return float(pair_value(2 * mode, n, sx, sy, sxx, syy, sxy, rx, ry, 0.0, 0.0, 0.0, NAN, 0.0))


@kernel
def residual(A: F8, c: I8, E: I8, n: int, t: int, z: F8) -> None:
    """Residual of the first operand on the later ones; mode 1: the second operand weighs; mode 1 + k: slope k."""
    p = c[NX] + 2
    weighted = c[MODE] == 1
    q = p - 1 if weighted else p
    place = np.empty(q, np.int64)
    for i in range(q):
        place[i] = column(c, E, i + 1 if weighted and i > 0 else i, n, t)
    weights = column(c, E, 1, n, t)
    mean, row, beta = np.zeros(q), np.empty(q), np.zeros(q)
    gram, work = np.zeros((q, q)), np.zeros((q, q))
    count, mass = 0, 0.0
    for step in range(2):
        for j in range(n):
            w = A[weights + j] if weighted else 1.0
            there = w >= 0.0
            for i in range(q):
                row[i] = A[place[i] + j]
                there = there and row[i] == row[i]
            if not there:
                continue
            if step == 0:
                count += 1
                mass += w
                for i in range(q):
                    mean[i] += w * row[i]
            else:
                for i in range(q):
                    row[i] -= mean[i]
                    for h in range(i + 1):
                        gram[i, h] += w * row[i] * row[h]
        if step == 0:
            for i in range(q):
                mean[i] = mean[i] / mass
    solved = count > q and mass > 0.0 and solve(gram, work, beta, q, mean, count)
    if c[MODE] > 1:
        z[:] = beta[c[MODE] - 1] if solved else NAN
        return
    for j in range(n):
        v = A[place[0] + j] - mean[0]
        for i in range(1, q):
            v -= beta[i] * (A[place[i] + j] - mean[i])
        z[j] = v if solved and abs(v) <= LARGEST else NAN


@kernel
def across(A: F8, U: U8, c: I8, F: F8, E: I8, n: int, t: int, K: U8, H: U4) -> None:
    """Run one cross-sectional instruction that needs no groups on row t."""
    op, mode = c[OP], c[MODE]
    o = row_of(t, 0, c[OUTR], c[OUT], n)
    z = A[o : o + n]
    o = row_of(t, c[L0], c[R0], c[I0], n)
    x, bits = A[o : o + n], U[o : o + n]
    y = x
    if c[R1] > 0:
        o = row_of(t, c[L1], c[R1], c[I1], n)
        y = A[o : o + n]
    if op == RANK:
        rank_row(x, bits, z, mode, c[W], K, H)
    elif op == FOUND_ACROSS:
        run_found(x, c, y, z, F)
    elif op == STANDARDIZE:
        standardized(mode, x, y, z)
    elif op == WINSORIZE:
        winsorized(mode, x, bits, z, F[c[FC]], K, H)
    elif op == GAUSS_RANK or op == BUCKET:
        ranked(op, x, bits, z, F[c[FC]], K, H)
    else:
        v = NAN
        if op == CS_AGGREGATE:
            v = aggregate(mode, x)
        elif op == CS_QUANTILE:
            v = sorted_quantile(x, K, order(x, bits, K, H), F[c[FC]])
        elif op == CS_WEIGHTED:
            v = weighted_mean(x, y)[mode]
        elif op == CS_PAIR:
            v = across_pair(mode, x, y)
        z[:] = v if abs(v) <= LARGEST else NAN
