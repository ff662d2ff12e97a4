"""Operations whose value depends on where the data begin: smoothing, running sums, Wilder's stop, last values.

State rows lie at ST, one row of assets after another, and start at zero. A NaN input gives NaN and leaves the state.
"""

from __future__ import annotations

import numpy as np

from factors.library.kernels.layout import (
    BY_ASSET,
    FC,
    FROM,
    I0,
    I1,
    I2,
    I3,
    KEEP,
    L0,
    L1,
    L2,
    L3,
    MODE,
    NX,
    OUT,
    OUTR,
    R0,
    R1,
    R2,
    R3,
    ST,
    W,
    X,
)
from factors.library.kernels.types import F8, I8, LARGEST, kernel, row_of

NAN = np.nan


@kernel
def keep_state(A: F8, c: I8, n: int, j0: int, j1: int) -> None:
    """Copy what the operation carries to where a peek may change it."""
    size, source, to = c[KEEP], c[FROM], c[ST]
    if c[BY_ASSET] == 1:
        A[to + j0 * size : to + j1 * size] = A[source + j0 * size : source + j1 * size]
        return
    for a in range(size):
        x, z = A[source + a * n + j0 : source + a * n + j1], A[to + a * n + j0 : to + a * n + j1]
        for j in range(j1 - j0):
            z[j] = x[j]


@kernel
def ema(A: F8, c: I8, F: F8, n: int, t0: int, t1: int, j0: int, j1: int) -> None:
    """Exponential smoothing with factor F[FC], seeded by the mean of the first W values."""
    m = j1 - j0
    s = c[ST] + j0
    count, level = A[s : s + m], A[s + n : s + n + m]
    alpha, rows = F[c[FC]], float(c[W])
    for t in range(t0, t1):
        o = row_of(t, 0, c[OUTR], c[OUT], n) + j0
        z = A[o : o + m]
        o = row_of(t, c[L0], c[R0], c[I0], n) + j0
        x = A[o : o + m]
        for j in range(m):
            v = x[j]
            seen = count[j]
            there = v == v
            grown = (v - level[j]) * alpha + level[j]
            summed = level[j] + v
            seed = summed / rows if seen + 1.0 == rows else summed
            value = grown if seen >= rows else seed
            level[j] = value if there else level[j]
            now = seen + 1.0 if there and seen < rows else seen
            count[j] = now
            z[j] = value if there and now >= rows else NAN


@kernel
def kama(A: F8, c: I8, F: F8, n: int, t0: int, t1: int, j0: int, j1: int) -> None:
    """Kaufman's adaptive average over W rows; F[FC], F[FC + 1] the fast and the slow factor."""
    s = c[ST]
    w, fast, slow = c[W], F[c[FC]], F[c[FC] + 1]
    for t in range(t0, t1):
        out = row_of(t, 0, c[OUTR], c[OUT], n)
        for j in range(j0, j1):
            today = A[row_of(t, c[L0], c[R0], c[I0], n) + j]
            later, path, before = today, 0.0, NAN
            for k in range(1, w + 1):
                x = A[row_of(t, c[L0] + k, c[R0], c[I0], n) + j]
                path += abs(later - x)
                later = x
                before = x if k == 1 else before
            A[out + j] = NAN
            if path == path:
                change = today - later
                ratio = 1.0 if path <= change or path == 0.0 else abs(change / path)
                pace = ratio * (fast - slow) + slow
                prior = A[s + n + j] if A[s + j] == 1.0 else before
                value = (today - prior) * (pace * pace) + prior
                A[s + j] = 1.0
                A[s + n + j] = value
                A[out + j] = value


@kernel
def sar(A: F8, c: I8, F: F8, n: int, t0: int, t1: int, j0: int, j1: int) -> None:
    """Wilder's parabolic stop of highs and lows; F[FC] step, F[FC + 1] its maximum.

    State: bars seen, long or not, stop, extreme, factor, yesterday's high and low.
    """
    for t in range(t0, t1):
        out = row_of(t, 0, c[OUTR], c[OUT], n)
        highs = row_of(t, c[L0], c[R0], c[I0], n)
        lows = row_of(t, c[L1], c[R1], c[I1], n)
        for j in range(j0, j1):
            A[out + j] = sar_step(A, c[ST] + j, n, A[highs + j], A[lows + j], F[c[FC]], F[c[FC] + 1])


@kernel
def sar_step(A: F8, s: int, n: int, high: float, low: float, step: float, most: float) -> float:
    """One bar of one asset."""
    if not (high == high and low == low):
        return NAN
    before_high, before_low = A[s + 5 * n], A[s + 6 * n]
    A[s + 5 * n], A[s + 6 * n] = high, low
    if A[s] == 0.0:
        A[s] = 1.0
        return NAN
    up, stop, extreme, factor = A[s + n], A[s + 2 * n], A[s + 3 * n], A[s + 4 * n]
    if A[s] == 1.0:
        A[s] = 2.0
        down_move, up_move = before_low - low, high - before_high
        up = 0.0 if down_move > 0.0 and up_move < down_move else 1.0
        extreme, stop = (high, before_low) if up == 1.0 else (low, before_high)
        factor = step
        before_high, before_low = high, low
    floor, roof = min(before_low, low), max(before_high, high)
    if up == 1.0 and low <= stop:
        up = 0.0
        value = max(extreme, roof)
        factor, extreme = step, low
        stop = max(value + factor * (extreme - value), roof)
    elif up == 0.0 and high >= stop:
        up = 1.0
        value = min(extreme, floor)
        factor, extreme = step, high
        stop = min(value + factor * (extreme - value), floor)
    else:
        value = stop
        if (up == 1.0 and high > extreme) or (up == 0.0 and low < extreme):
            extreme = high if up == 1.0 else low
            factor = min(factor + step, most)
        stop = stop + factor * (extreme - stop)
        stop = min(stop, floor) if up == 1.0 else max(stop, roof)
    A[s + n], A[s + 2 * n], A[s + 3 * n], A[s + 4 * n] = up, stop, extreme, factor
    return value


@kernel
def cumulate(A: F8, c: I8, periods: I8, n: int, t0: int, t1: int, j0: int, j1: int) -> None:
    """Running sum 0, product 1, maximum 2, minimum 3; W: never 0, by month 1, by year 2, by session 3.

    `periods[W, t - t0]` numbers the period of each row. State: begun, value, its period.
    """
    s = c[ST]
    mode = c[MODE]
    for t in range(t0, t1):
        out = row_of(t, 0, c[OUTR], c[OUT], n)
        o = row_of(t, c[L0], c[R0], c[I0], n)
        period = float(periods[c[W], t - t0])
        for j in range(j0, j1):
            v = A[o + j]
            A[out + j] = NAN
            if v != v:
                continue
            if A[s + j] == 1.0 and A[s + 2 * n + j] == period:
                so = A[s + n + j]
                if mode == 0:
                    v = so + v
                elif mode == 1:
                    v = so * v
                elif mode == 2:
                    v = max(so, v)
                else:
                    v = min(so, v)
            A[s + j], A[s + n + j], A[s + 2 * n + j] = 1.0, v, period
            A[out + j] = v if abs(v) <= LARGEST else NAN


@kernel
def ffill(A: F8, c: I8, n: int, t0: int, t1: int, j0: int, j1: int) -> None:
    """Last value that is there, not older than W rows."""
    for t in range(t0, t1):
        out = row_of(t, 0, c[OUTR], c[OUT], n)
        for j in range(j0, j1):
            v = NAN
            for k in range(c[W] + 1):
                v = A[row_of(t, c[L0] + k, c[R0], c[I0], n) + j]
                if v == v:
                    break
            A[out + j] = v


@kernel
def age(A: F8, c: I8, E: I8, n: int, t0: int, t1: int, j0: int, j1: int) -> None:
    """Rows since every operand has been there at least once on one row. State: rows + 1, 0 before."""
    s = c[ST]
    for t in range(t0, t1):
        out = row_of(t, 0, c[OUTR], c[OUT], n)
        for j in range(j0, j1):
            if A[s + j] == 0.0:
                x = A[row_of(t, c[L0], c[R0], c[I0], n) + j]
                there = x == x
                if c[R1] > 0:
                    x = A[row_of(t, c[L1], c[R1], c[I1], n) + j]
                    there = there and x == x
                if c[R2] > 0:
                    x = A[row_of(t, c[L2], c[R2], c[I2], n) + j]
                    there = there and x == x
                if c[R3] > 0:
                    x = A[row_of(t, c[L3], c[R3], c[I3], n) + j]
                    there = there and x == x
                for i in range(c[NX]):
                    e = c[X] + 3 * i
                    x = A[row_of(t, E[e + 2], E[e + 1], E[e], n) + j]
                    there = there and x == x
                A[s + j] = 1.0 if there else 0.0
            else:
                A[s + j] += 1.0
            A[out + j] = A[s + j] - 1.0 if A[s + j] > 0.0 else NAN
