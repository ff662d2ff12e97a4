"""Ehlers' Hilbert transform indicators and MAMA, with TA-Lib's start and constants (Ehlers 2001).

State of an asset, STATE numbers in a row:
0 bars, 1 WMA part, 2 WMA sum, 3 trailing price, 4 index of the transform, 5 period, 6-7 I2 and Q2, 8-9 Re and Im,
10-11 I1 for odd bars two and three ago, 12-13 for even bars, 14 smoothed period, 15 phase, 16-17 sine and lead sine,
18-20 trend line, 21 days in trend, 22 MAMA phase, 23 MAMA, 24 FAMA, 25 Q1, 26 I1, then four transforms of ten numbers,
then the last fifty prices and the last fifty smoothed prices.
"""

from __future__ import annotations

import math

import numpy as np

from factors.library.kernels.layout import FC, I0, L0, MODE, OP, OUT, OUTR, R0, ST, Op
from factors.library.kernels.types import F8, I8, LARGEST, kernel, row_of

NAN = np.nan
BUFFER = 50
TRANSFORMS, PRICES = 27, 67
SMOOTH = PRICES + BUFFER
STATE = SMOOTH + BUFFER
DEGREES = 180.0 / math.pi
STILL = 1e-13
IS_MAMA = int(Op.MAMA)
_ANGLES = [[2.0 * math.pi * i / max(p, 1) for i in range(BUFFER + 1)] for p in range(BUFFER + 2)]
SINES = np.sin(np.array(_ANGLES))
COSINES = np.cos(np.array(_ANGLES))


@kernel
def transform(A: F8, s: int, which: int, x: float, odd: int, index: int, factor: float) -> float:
    """One step of one Hilbert transform; which: detrender 0, Q1 1, jI 2, jQ 3."""
    h = s + TRANSFORMS + 10 * which
    taps, before, entry = h + 3 * odd + index, h + 6 + odd, h + 8 + odd
    scaled = 0.0962 * x
    value = -A[taps] + scaled - A[before]
    A[taps] = scaled
    A[before] = 0.5769 * A[entry]
    A[entry] = x
    return (value + A[before]) * factor


@kernel
def smooth_price(A: F8, s: int, x: float, bar: int) -> float:
    """Four-bar weighted mean as TA-Lib carries it, from bar 3 on; NaN before."""
    if bar < 3:
        A[s + 1] += x
        A[s + 2] += x * (bar + 1.0)
        return NAN
    A[s + 1] += x
    A[s + 1] -= A[s + 3]
    A[s + 2] += x * 4.0
    A[s + 3] = A[s + PRICES + (bar - 3) % BUFFER]
    value = A[s + 2] * 0.1
    A[s + 2] -= A[s + 1]
    return value


@kernel
def quadrature(A: F8, s: int, bar: int, smoothed: float) -> None:
    """The transforms of one bar; leaves Q1, I1 and the smoothed I2, Q2 products and I1 delays in the state."""
    factor = 0.075 * A[s + 5] + 0.54
    odd = bar % 2
    index = int(A[s + 4])
    detrender = transform(A, s, 0, smoothed, odd, index, factor)
    # Of a price that stands still nothing is left but rounding, whose phase says nothing.
    detrender = detrender if abs(detrender) > STILL * abs(smoothed) else 0.0
    q1 = transform(A, s, 1, detrender, odd, index, factor)
    mine, other = (10, 12) if odd == 1 else (12, 10)
    i1 = A[s + mine + 1]
    ji = transform(A, s, 2, i1, odd, index, factor)
    jq = transform(A, s, 3, q1, odd, index, factor)
    if odd == 0:
        A[s + 4] = float((index + 1) % 3)
    A[s + 25], A[s + 26] = q1, i1
    q2 = 0.2 * (q1 + ji) + 0.8 * A[s + 7]
    i2 = 0.2 * (i1 - jq) + 0.8 * A[s + 6]
    A[s + other + 1] = A[s + other]
    A[s + other] = detrender
    A[s + 8] = 0.2 * (i2 * A[s + 6] + q2 * A[s + 7]) + 0.8 * A[s + 8]
    A[s + 9] = 0.2 * (i2 * A[s + 7] - q2 * A[s + 6]) + 0.8 * A[s + 9]
    A[s + 7], A[s + 6] = q2, i2
    before = A[s + 5]
    period = before
    if A[s + 9] != 0.0 and A[s + 8] != 0.0:
        period = 360.0 / (math.atan(A[s + 9] / A[s + 8]) * DEGREES)
    period = min(period, 1.5 * before)
    period = max(period, 0.67 * before)
    period = min(max(period, 6.0), 50.0)
    A[s + 5] = 0.2 * period + 0.8 * before
    A[s + 14] = 0.33 * A[s + 5] + 0.67 * A[s + 14]


@kernel
def phase(A: F8, s: int, bar: int) -> None:
    """Phase of the dominant cycle, and sine and lead sine."""
    length = int(A[s + 14] + 0.5)
    real, imaginary, size = 0.0, 0.0, 0.0
    for i in range(length):
        price = A[s + SMOOTH + (bar - i) % BUFFER]
        real += SINES[length, i] * price
        imaginary += COSINES[length, i] * price
        size += abs(price)
    real = real if abs(real) > STILL * size else 0.0
    imaginary = imaginary if abs(imaginary) > STILL * size else 0.0
    value = A[s + 15]
    if abs(imaginary) > 0.0:
        value = math.atan(real / imaginary) * DEGREES
    elif real < 0.0:
        value -= 90.0
    elif real > 0.0:
        value += 90.0
    value += 90.0
    if A[s + 14] != 0.0:
        value += 360.0 / A[s + 14]
    if imaginary < 0.0:
        value += 180.0
    if value > 315.0:
        value -= 360.0
    A[s + 15] = value
    A[s + 16] = math.sin(value / DEGREES)
    A[s + 17] = math.sin((value + 45.0) / DEGREES)


@kernel
def trend_line(A: F8, s: int, bar: int) -> float:
    """Mean price over the dominant cycle, smoothed."""
    length = int(A[s + 14] + 0.5)
    total = 0.0
    for i in range(length):
        total += A[s + PRICES + (bar - i) % BUFFER]
    if length > 0:
        total /= length
    value = (4.0 * total + 3.0 * A[s + 18] + 2.0 * A[s + 19] + A[s + 20]) / 10.0
    A[s + 20], A[s + 19], A[s + 18] = A[s + 19], A[s + 18], total
    return value


@kernel
def trend_mode(A: F8, s: int, bar: int) -> float:
    """1 in a trend, 0 in a cycle."""
    phase_before, sine_before, lead_before = A[s + 15], A[s + 16], A[s + 17]
    phase(A, s, bar)
    line = trend_line(A, s, bar)
    sine, lead, period = A[s + 16], A[s + 17], A[s + 14]
    trend = 1.0
    if (sine > lead and sine_before <= lead_before) or (sine < lead and sine_before >= lead_before):
        A[s + 21] = 0.0
        trend = 0.0
    A[s + 21] += 1.0
    if A[s + 21] < 0.5 * period:
        trend = 0.0
    turn = A[s + 15] - phase_before
    if period != 0.0 and 0.67 * 360.0 / period < turn < 1.5 * 360.0 / period:
        trend = 0.0
    if line != 0.0 and abs((A[s + SMOOTH + bar % BUFFER] - line) / line) >= 0.015:
        trend = 1.0
    return trend


@kernel
def mama_step(A: F8, s: int, x: float, fast: float, slow: float) -> None:
    """One step of MAMA and FAMA, after the transforms of the bar."""
    angle = math.atan(A[s + 25] / A[s + 26]) * DEGREES if A[s + 26] != 0.0 else 0.0
    turn = max(A[s + 22] - angle, 1.0)
    A[s + 22] = angle
    alpha = max(fast / turn, slow) if turn > 1.0 else fast
    A[s + 23] = alpha * x + (1.0 - alpha) * A[s + 23]
    A[s + 24] = 0.5 * alpha * A[s + 23] + (1.0 - 0.5 * alpha) * A[s + 24]


@kernel
def cycle_step(A: F8, s: int, x: float, mama: bool, mode: int, fast: float, slow: float) -> float:
    """One bar of one asset."""
    if x != x:
        return NAN
    bar = int(A[s])
    A[s] += 1.0
    A[s + PRICES + bar % BUFFER] = x
    smoothed = smooth_price(A, s, x, bar)
    long = (not mama) and mode >= 3
    if bar < (37 if long else 12):
        return NAN
    A[s + SMOOTH + bar % BUFFER] = smoothed
    quadrature(A, s, bar, smoothed)
    value = NAN
    if mama:
        mama_step(A, s, x, fast, slow)
        value = A[s + 23 + mode]
    elif mode == 0:
        value = A[s + 14]
    elif mode == 1:
        value = A[s + 26]
    elif mode == 2:
        value = A[s + 25]
    elif mode <= 5:
        phase(A, s, bar)
        value = A[s + 12 + mode]
    elif mode == 6:
        value = trend_line(A, s, bar)
    else:
        value = trend_mode(A, s, bar)
    ready = bar >= (63 if long else 32)
    return value if ready and abs(value) <= LARGEST else NAN


@kernel
def cycles(A: F8, c: I8, F: F8, n: int, t0: int, t1: int, j0: int, j1: int) -> None:
    """MAMA 0, FAMA 1; or period 0, in phase 1, quadrature 2, phase 3, sine 4, lead sine 5, trend line 6, mode 7."""
    mama = c[OP] == IS_MAMA
    fast, slow = (F[c[FC]], F[c[FC] + 1]) if mama else (0.0, 0.0)
    for t in range(t0, t1):
        out = row_of(t, 0, c[OUTR], c[OUT], n)
        o = row_of(t, c[L0], c[R0], c[I0], n)
        for j in range(j0, j1):
            A[out + j] = cycle_step(A, c[ST] + j * STATE, A[o + j], mama, c[MODE], fast, slow)
