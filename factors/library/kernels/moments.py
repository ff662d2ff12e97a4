"""Operations on the moments of a window, read directly: variance to kurtosis, pairs, trends, residuals.

Sums are taken of differences from the window's oldest row, so that a constant window has a variance of exactly zero
and a level far from zero costs no digits.
"""

from __future__ import annotations

import math

import numpy as np

from factors.library.kernels.layout import FC, I0, I1, L0, L1, MINP, MODE, OUT, OUTR, P0, P1, R0, R1, W
from factors.library.kernels.types import F8, I8, LARGEST, kernel, row_of, slot

NAN = np.nan
# A window whose standard deviation is below this part of its level is constant: what is left is rounding.
FLAT = 1e-14


@kernel
def pair_value(
    mode: int, n: float, sx: float, sy: float, sxx: float, syy: float, sxy: float, rx: float, ry: float,
    x: float, y: float, ddof: float, zero: float, tolerance: float,
) -> float:  # fmt: skip
    """Value of a PAIR mode from the sums of x - rx and y - ry; `x`, `y` are today's."""
    cxx, cyy, cxy = sxx - sx * sx / n, syy - sy * sy / n, sxy - sx * sy / n
    if not (cxx == cxx and cyy == cyy and cxy == cxy):
        return NAN
    if mode == 1:
        return cxy / (n - ddof) if n > ddof else NAN
    slack = tolerance * tolerance * (n - 1.0)
    flat_x = cxx <= max(n * (FLAT * rx) ** 2, slack)
    flat_y = cyy <= max(n * (FLAT * ry) ** 2, slack)
    if mode == 0:
        if flat_x or flat_y:
            return zero
        return min(max(cxy / (math.sqrt(cxx) * math.sqrt(cyy)), -1.0), 1.0)
    if flat_x:
        return NAN
    slope = cxy / cxx
    if mode == 2:
        return slope
    if mode == 4:
        return NAN if flat_y else min(max(slope * cxy / cyy, 0.0), 1.0)
    if mode == 6:
        rest = max(cyy - slope * cxy, 0.0)
        return math.sqrt(rest / (n - ddof)) if n > ddof else NAN
    intercept = (ry + sy / n) - slope * (rx + sx / n)
    return intercept if mode == 3 else y - (intercept + slope * x)


@kernel
def rolling_pair(A: F8, c: I8, F: F8, n: int, t0: int, t1: int, j0: int, j1: int, S: F8) -> None:
    """Correlation, covariance or a figure of the regression of the first operand on the second."""
    m = j1 - j0
    w = c[W]
    for t in range(t0, t1):
        o = row_of(t, 0, c[OUTR], c[OUT], n) + j0
        z = A[o : o + m]
        newy, newx = (t - c[L0]) % c[R0], (t - c[L1]) % c[R1]
        if c[MINP] < w:
            masked_pair(A, c, F, n, newy, newx, j0, z, S)
            continue
        sum_pair(A, c, n, newy, newx, j0, m, S)
        o = c[I0] + j0 + slot(newy, w - 1, c[R0]) * n
        ry = A[o : o + m]
        o = c[I1] + j0 + slot(newx, w - 1, c[R1]) * n
        rx = A[o : o + m]
        if c[MODE] == 0 and c[P1] == 0 and F[c[FC]] == 0.0:
            strict_correlation(float(w), rx, ry, z, S)
            continue
        o = c[I0] + j0 + newy * n
        y = A[o : o + m]
        o = c[I1] + j0 + newx * n
        x = A[o : o + m]
        zero = 0.0 if c[P1] == 1 else NAN
        for j in range(m):
            v = pair_value(
                c[MODE], float(w), S[0, j], S[1, j], S[2, j], S[3, j], S[4, j], rx[j], ry[j], x[j], y[j],
                float(c[P0]), zero, F[c[FC]],
            )  # fmt: skip
            z[j] = v if abs(v) <= LARGEST else NAN


@kernel
def sum_pair(A: F8, c: I8, n: int, newy: int, newx: int, j0: int, m: int, S: F8) -> None:
    """Sums of x, y, xx, yy, xy from the oldest row, into S[0..4]."""
    sx, sy, sxx, syy, sxy = S[0, :m], S[1, :m], S[2, :m], S[3, :m], S[4, :m]
    for a in range(5):
        S[a, :m] = 0.0
    by, bx, rowsy, rowsx = c[I0] + j0, c[I1] + j0, c[R0], c[R1]
    k = c[W] - 1
    o = by + slot(newy, k, rowsy) * n
    ry = A[o : o + m]
    o = bx + slot(newx, k, rowsx) * n
    rx = A[o : o + m]
    if k % 2 == 1:
        oy, ox = by + slot(newy, k - 1, rowsy) * n, bx + slot(newx, k - 1, rowsx) * n
        ya, xa = A[oy : oy + m], A[ox : ox + m]
        for j in range(m):
            dx, dy = xa[j] - rx[j], ya[j] - ry[j]
            sx[j] = dx
            sy[j] = dy
            sxx[j] = dx * dx
            syy[j] = dy * dy
            sxy[j] = dx * dy
        k -= 1
    while k >= 2:
        oy, ox = by + slot(newy, k - 1, rowsy) * n, bx + slot(newx, k - 1, rowsx) * n
        ya, xa = A[oy : oy + m], A[ox : ox + m]
        oy, ox = by + slot(newy, k - 2, rowsy) * n, bx + slot(newx, k - 2, rowsx) * n
        yb, xb = A[oy : oy + m], A[ox : ox + m]
        for j in range(m):
            dx, dy, ex, ey = xa[j] - rx[j], ya[j] - ry[j], xb[j] - rx[j], yb[j] - ry[j]
            sx[j] = (sx[j] + dx) + ex
            sy[j] = (sy[j] + dy) + ey
            sxx[j] = (sxx[j] + dx * dx) + ex * ex
            syy[j] = (syy[j] + dy * dy) + ey * ey
            sxy[j] = (sxy[j] + dx * dy) + ex * ey
        k -= 2


@kernel
def strict_correlation(n: float, rx: F8, ry: F8, z: F8, S: F8) -> None:
    """Correlation of a row of assets from the sums in S."""
    m = len(z)
    sx, sy, sxx, syy, sxy = S[0, :m], S[1, :m], S[2, :m], S[3, :m], S[4, :m]
    for j in range(m):
        cxx, cyy = sxx[j] - sx[j] * sx[j] / n, syy[j] - sy[j] * sy[j] / n
        cxy = sxy[j] - sx[j] * sy[j] / n
        fx, fy = FLAT * rx[j], FLAT * ry[j]
        v = cxy / (math.sqrt(cxx) * math.sqrt(cyy)) if cxx > n * (fx * fx) and cyy > n * (fy * fy) else NAN
        v = 1.0 if v > 1.0 else v
        z[j] = -1.0 if v < -1.0 else v


@kernel
def masked_pair(A: F8, c: I8, F: F8, n: int, newy: int, newx: int, j0: int, z: F8, S: F8) -> None:
    """Any PAIR mode over the rows where both are there."""
    m = len(z)
    for a in range(6):
        S[a, :m] = 0.0
    S[6, :m] = NAN
    S[7, :m] = NAN
    for k in range(c[W] - 1, -1, -1):
        o = c[I0] + j0 + slot(newy, k, c[R0]) * n
        y = A[o : o + m]
        o = c[I1] + j0 + slot(newx, k, c[R1]) * n
        x = A[o : o + m]
        for j in range(m):
            if x[j] == x[j] and y[j] == y[j]:
                if S[5, j] == 0.0:
                    S[6, j] = x[j]
                    S[7, j] = y[j]
                dx, dy = x[j] - S[6, j], y[j] - S[7, j]
                S[0, j] += dx
                S[1, j] += dy
                S[2, j] += dx * dx
                S[3, j] += dy * dy
                S[4, j] += dx * dy
                S[5, j] += 1.0
    oy, ox = c[I0] + j0 + newy * n, c[I1] + j0 + newx * n
    least = float(max(c[MINP], 2))
    zero = 0.0 if c[P1] == 1 else NAN
    for j in range(m):
        z[j] = NAN
        if S[5, j] >= least:
            v = pair_value(
                c[MODE], S[5, j], S[0, j], S[1, j], S[2, j], S[3, j], S[4, j], S[6, j], S[7, j], A[ox + j], A[oy + j],
                float(c[P0]), zero, F[c[FC]],
            )  # fmt: skip
            z[j] = v if abs(v) <= LARGEST else NAN


@kernel
def window_mean(A: F8, base: int, rows: int, n: int, new: int, w: int, S: F8, m: int) -> None:
    """Mean of the rows that are there into S[0], their number into S[1]; exact for a constant window."""
    mean, count, first = S[0, :m], S[1, :m], S[2, :m]
    mean[:] = 0.0
    count[:] = 0.0
    first[:] = NAN
    for k in range(w - 1, -1, -1):
        o = base + slot(new, k, rows) * n
        x = A[o : o + m]
        for j in range(m):
            first[j] = first[j] if first[j] == first[j] else x[j]
            there = x[j] == x[j]
            mean[j] += x[j] - first[j] if there else 0.0
            count[j] += 1.0 if there else 0.0
    for j in range(m):
        mean[j] = first[j] + mean[j] / max(count[j], 1.0)


@kernel
def rolling_moment(A: F8, c: I8, F: F8, n: int, t0: int, t1: int, j0: int, j1: int, S: F8) -> None:
    """Variance 0, standard deviation 1, skewness 2, biased 3, kurtosis 4, biased 5, z-score of today 6."""
    m = j1 - j0
    mode, base = c[MODE], c[I0] + j0
    least = float(max(c[MINP], c[P1]))
    s2, s3, s4 = S[3, :m], S[4, :m], S[5, :m]
    for t in range(t0, t1):
        o = row_of(t, 0, c[OUTR], c[OUT], n) + j0
        z = A[o : o + m]
        new = (t - c[L0]) % c[R0]
        window_mean(A, base, c[R0], n, new, c[W], S, m)
        mean, count = S[0, :m], S[1, :m]
        for a in range(3, 6):
            S[a, :m] = 0.0
        for k in range(c[W] - 1, -1, -1):
            o = base + slot(new, k, c[R0]) * n
            x = A[o : o + m]
            if mode < 2 or mode == 6:
                for j in range(m):
                    d = x[j] - mean[j]
                    s2[j] += d * d if d == d else 0.0
            else:
                for j in range(m):
                    d = x[j] - mean[j]
                    d = d if d == d else 0.0
                    s2[j] += d * d
                    s3[j] += d * d * d
                    s4[j] += (d * d) * (d * d)
        o = base + new * n
        x = A[o : o + m]
        for j in range(m):
            z[j] = NAN
            if count[j] >= least:
                v = moment_value(mode, count[j], mean[j], s2[j], s3[j], s4[j], x[j], float(c[P0]))
                z[j] = v if abs(v) <= LARGEST else NAN


@kernel
def moment_value(
    mode: int, n: float, mean: float, s2: float, s3: float, s4: float, x: float, ddof: float
) -> float:  # fmt: skip
    """Value of a MOMENT mode from the central sums."""
    if mode < 2 or mode == 6:
        if n <= ddof:
            return NAN
        variance = s2 / (n - ddof)
        if mode == 0:
            return variance
        deviation = math.sqrt(variance)
        if mode == 1:
            return deviation
        return (x - mean) / deviation if deviation > FLAT * abs(mean) else NAN
    m2 = s2 / n
    if m2 <= (FLAT * mean) ** 2:
        return NAN
    if mode <= 3:
        skewness = (s3 / n) / (m2 * math.sqrt(m2))
        if mode == 3:
            return skewness
        return skewness * math.sqrt(n * (n - 1.0)) / (n - 2.0) if n > 2.0 else NAN
    kurtosis = (s4 / n) / (m2 * m2) - 3.0
    if mode == 5:
        return kurtosis
    return ((n + 1.0) * kurtosis + 6.0) * (n - 1.0) / ((n - 2.0) * (n - 3.0)) if n > 3.0 else NAN


@kernel
def rolling_trend(A: F8, c: I8, F: F8, n: int, t0: int, t1: int, j0: int, j1: int, S: F8) -> None:
    """Regression on time 1..w: slope 0, intercept 1, R2 2, today's residual 3, value at w+1 4, at w 5."""
    m = j1 - j0
    w, mode, base = c[W], c[MODE], c[I0] + j0
    for t in range(t0, t1):
        o = row_of(t, 0, c[OUTR], c[OUT], n) + j0
        z = A[o : o + m]
        new = (t - c[L0]) % c[R0]
        for a in range(6):
            S[a, :m] = 0.0
        S[6, :m] = NAN
        for k in range(w - 1, -1, -1):
            o = base + slot(new, k, c[R0]) * n
            x = A[o : o + m]
            at = float(-k)
            for j in range(m):
                S[6, j] = S[6, j] if S[6, j] == S[6, j] else x[j]
                there = x[j] == x[j]
                d = x[j] - S[6, j] if there else 0.0
                p = at if there else 0.0
                S[0, j] += p
                S[1, j] += d
                S[2, j] += p * p
                S[3, j] += d * d
                S[4, j] += p * d
                S[5, j] += 1.0 if there else 0.0
        o = base + new * n
        least = float(max(c[MINP], 2))
        tolerance = F[c[FC]] if mode == 2 else 0.0
        # time runs from 1 - w (oldest) to 0 (today) here, so that the intercept is the value at today
        for j in range(m):
            z[j] = NAN
            if S[5, j] < least:
                continue
            slope = trend_pair(2, S, j, A[o + j], tolerance)
            if mode == 0:
                v = slope
            elif mode == 2 or mode == 3:
                v = trend_pair(mode + 2, S, j, A[o + j], tolerance)
            else:
                step = -float(w) if mode == 1 else (1.0 if mode == 4 else 0.0)
                v = trend_pair(3, S, j, A[o + j], tolerance) + step * slope
            z[j] = v if abs(v) <= LARGEST else NAN


@kernel
def trend_pair(which: int, S: F8, j: int, today: float, tolerance: float) -> float:
    """One figure of the regression on time from the sums of rolling_trend."""
    return float(
        pair_value(
            which, S[5, j], S[0, j], S[1, j], S[2, j], S[3, j], S[4, j], 0.0, S[6, j], 0.0, today, 0.0, NAN, tolerance
        )
    )


@kernel
def rolling_residual_shape(A: F8, c: I8, F: F8, n: int, t0: int, t1: int, j0: int, j1: int, S: F8) -> None:
    """Skewness of the residuals of y on x (0), or coskewness (1), over the rows where both are there."""
    m = j1 - j0
    least = float(max(c[MINP], 3))
    for t in range(t0, t1):
        o = row_of(t, 0, c[OUTR], c[OUT], n) + j0
        z = A[o : o + m]
        newy, newx = (t - c[L0]) % c[R0], (t - c[L1]) % c[R1]
        # its value is overwritten below; it leaves the sums, the count and the reference in S
        masked_pair(A, c, F, n, newy, newx, j0, z, S)
        for a in range(8, 11):
            S[a, :m] = 0.0
        for k in range(c[W] - 1, -1, -1):
            oy = c[I0] + j0 + slot(newy, k, c[R0]) * n
            ox = c[I1] + j0 + slot(newx, k, c[R1]) * n
            for j in range(m):
                x, y = A[ox + j], A[oy + j]
                if x == x and y == y and S[5, j] >= least:
                    count = S[5, j]
                    cxx = S[2, j] - S[0, j] * S[0, j] / count
                    d = (x - S[6, j]) - S[0, j] / count
                    e = (y - S[7, j]) - S[1, j] / count - (S[4, j] - S[0, j] * S[1, j] / count) / cxx * d
                    S[8, j] += e * e
                    S[9, j] += e * e * e if c[MODE] == 0 else e * d * d
                    S[10, j] += d * d
        for j in range(m):
            z[j] = NAN
            count = S[5, j]
            if count >= least and S[10, j] > count * (FLAT * S[6, j]) ** 2:
                square = S[8, j] / count
                if square > (FLAT * S[7, j]) ** 2:
                    bottom = square * math.sqrt(square) if c[MODE] == 0 else math.sqrt(square) * S[10, j] / count
                    v = S[9, j] / count / bottom
                    z[j] = v if abs(v) <= LARGEST else NAN
