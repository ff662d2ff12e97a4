"""Recursive indicators that follow one asset through its own bars: Kaufman's average, Wilder's parabolic, Ehlers' cycles.

State is `[slots, n]` at `c[ST]`; slot 0 counts the bars seen, so that fresh memory of zeros or NaN starts anew. A bar with
a missing input gives NaN and leaves the state alone: the recursion runs over the asset's own bars, and starts as TA-Lib's
does, at fixed numbers of bars after the first. Sources: Kaufman 1995, Smarter Trading; Wilder 1978, New Concepts in
Technical Trading Systems; Ehlers 2001, Rocket Science for Traders, and MESA Adaptive Moving Averages, Stocks and
Commodities 19(9).
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from factors.library.kernels.layout import FC, I0, I1, L0, L1, MODE, OUT, OUTR, R0, R1, ST, W
from factors.library.kernels.types import F8, I8, row_of

NAN = np.nan
DEGREES = 45.0 / math.atan(1.0)
# Hilbert transform of Ehlers: x0, x2, x4, x6 bars ago.
A0, A2 = 0.0962, 0.5769
RING = 50
_ANGLES = 2.0 * np.pi * np.arange(RING)[None, :] / np.maximum(np.arange(RING + 1), 1)[:, None]
SINES, COSINES = np.sin(_ANGLES), np.cos(_ANGLES)

# Outputs of the Hilbert kernel; MAMA and FAMA share its state.
DCPERIOD, INPHASE, QUADRATURE, DCPHASE, SINE, LEADSINE, TRENDLINE, TRENDMODE, MAMA, FAMA = range(10)

# Slots: scalars, then the rings.
COUNT, PERIOD, SMOOTH_PERIOD, I2, Q2, RE, IM = range(7)
PHASE, SINE_WAS, LEAD_WAS, TREND_1, TREND_2, TREND_3, DAYS = range(7, 14)
MAMA_WAS, FAMA_WAS, ANGLE = range(14, 17)
DETREND, Q1_RING, PRICE = 17, 27, 34
SMOOTH = PRICE + RING
HILBERT_SLOTS = SMOOTH + RING
SAR_SLOTS = 7


def kama_slots(d: int) -> int:
    """Slots of `kama` over `d` bars: count, value, and the last d + 1 prices."""
    return d + 3


@njit(cache=True, nogil=True)
def kama(A: F8, c: I8, F: F8, n: int, t0: int, t1: int, j0: int, j1: int, S: F8) -> None:
    """Average whose speed follows the efficiency ratio: net move over the sum of absolute moves of d bars."""
    d, state = c[W], c[ST]
    fast, slow = F[c[FC]], F[c[FC] + 1]
    for t in range(t0, t1):
        x = row_of(t, c[L0], c[R0], c[I0], n)
        z = row_of(t, 0, c[OUTR], c[OUT], n)
        for j in range(j0, j1):
            A[z + j] = NAN
            price = A[x + j]
            if not abs(price) < np.inf:
                continue
            seen = A[state + j]
            k = int(seen) if seen > 0.0 else 0
            if k == 0:
                A[state + n + j] = NAN
            A[state + j] = k + 1.0
            ring = state + 2 * n + j
            A[ring + (k % (d + 1)) * n] = price
            if k < d:
                continue
            oldest = A[ring + ((k - d) % (d + 1)) * n]
            before = oldest
            path = 0.0
            for i in range(d - 1, -1, -1):
                p = A[ring + ((k - i) % (d + 1)) * n]
                path += abs(p - before)
                before = p
            net = abs(price - oldest)
            ratio = 1.0 if path <= net else net / path
            speed = ratio * (fast - slow) + slow
            speed *= speed
            was = A[state + n + j] if k > d else A[ring + ((k - 1) % (d + 1)) * n]
            value = (price - was) * speed + was
            A[state + n + j] = value
            A[z + j] = value


@njit(cache=True, nogil=True, inline="always")
def _above(x: float, a: float, b: float) -> float:
    return max(x, a, b)


@njit(cache=True, nogil=True)
def sar(A: F8, c: I8, F: F8, n: int, t0: int, t1: int, j0: int, j1: int, S: F8) -> None:
    """Parabolic stop and reverse of highs and lows.

    Slots: bars, 1 long or -1 short, next stop, extreme, acceleration, last high, last low. The short side is the long
    one upside down.
    """
    state = c[ST]
    step, most = F[c[FC]], F[c[FC] + 1]
    for t in range(t0, t1):
        h = row_of(t, c[L0], c[R0], c[I0], n)
        lo = row_of(t, c[L1], c[R1], c[I1], n)
        z = row_of(t, 0, c[OUTR], c[OUT], n)
        for j in range(j0, j1):
            A[z + j] = NAN
            high, low = A[h + j], A[lo + j]
            if not (abs(high) < np.inf and abs(low) < np.inf):
                continue
            s = state + j
            bars = A[s]
            if not bars > 0.0:
                A[s] = 1.0
                A[s + 5 * n], A[s + 6 * n] = high, low
                continue
            high_was, low_was = A[s + 5 * n], A[s + 6 * n]
            if bars == 1.0:
                down = low_was - low
                side = -1.0 if down > 0.0 and down > high - high_was else 1.0
                A[s + n] = side
                A[s + 2 * n] = low_was if side > 0.0 else high_was
                A[s + 3 * n] = high if side > 0.0 else low
                A[s + 4 * n] = min(step, most)
                high_was, low_was = high, low
            A[s] = bars + 1.0
            A[s + 5 * n], A[s + 6 * n] = high, low
            side, stop, extreme, pace = A[s + n], A[s + 2 * n], A[s + 3 * n], A[s + 4 * n]
            # Upside down for a short: the near bound is the low of a long, minus the high of a short.
            near = low if side > 0.0 else -high
            near_was = low_was if side > 0.0 else -high_was
            far = high if side > 0.0 else -low
            far_was = high_was if side > 0.0 else -low_was
            stop, extreme = side * stop, side * extreme
            if near <= stop:
                stop = _above(extreme, far_was, far)
                A[z + j] = side * stop
                pace, extreme = min(step, most), near
                stop = _above(stop + pace * (extreme - stop), far_was, far)
                A[s + n] = -side
            else:
                A[z + j] = side * stop
                if far > extreme:
                    extreme = far
                    pace = min(pace + step, most)
                stop = min(stop + pace * (extreme - stop), near_was, near)
            A[s + 2 * n], A[s + 3 * n], A[s + 4 * n] = side * stop, side * extreme, pace


@njit(cache=True, nogil=True, inline="always")
def _transform(A: F8, ring: int, rows: int, k: int, lag: int, n: int) -> float:
    """Hilbert transform of a ring's values `lag`, lag + 2, lag + 4 and lag + 6 bars before bar k."""
    x0 = A[ring + ((k - lag) % rows) * n]
    x2 = A[ring + ((k - lag - 2) % rows) * n]
    x4 = A[ring + ((k - lag - 4) % rows) * n]
    x6 = A[ring + ((k - lag - 6) % rows) * n]
    return A0 * x0 - A0 * x6 - A2 * x4 + A2 * x2


@njit(cache=True, nogil=True)
def hilbert(A: F8, c: I8, F: F8, n: int, t0: int, t1: int, j0: int, j1: int, S: F8) -> None:
    """Ehlers' dominant cycle of a price by the Hilbert transform; `MODE` picks the output."""
    mode, state = c[MODE], c[ST]
    start, speak = (37, 63) if DCPHASE <= mode <= TRENDMODE else (12, 32)
    fast, slow = (F[c[FC]], F[c[FC] + 1]) if mode >= MAMA else (0.0, 0.0)
    for t in range(t0, t1):
        x = row_of(t, c[L0], c[R0], c[I0], n)
        z = row_of(t, 0, c[OUTR], c[OUT], n)
        for j in range(j0, j1):
            A[z + j] = NAN
            price = A[x + j]
            if not abs(price) < np.inf:
                continue
            s = state + j
            seen = A[s]
            k = int(seen) if seen > 0.0 else 0
            if k == 0:
                for i in range(HILBERT_SLOTS):
                    A[s + i * n] = 0.0
            A[s] = k + 1.0
            A[s + (PRICE + k % RING) * n] = price
            if k < start:
                continue
            value = _cycle(A, s, n, k, price, mode, fast, slow)
            if k >= speak:
                A[z + j] = value


@njit(cache=True, nogil=True)
def _cycle(A: F8, s: int, n: int, k: int, price: float, mode: int, fast: float, slow: float) -> float:
    """One bar: smooth, detrend, transform, update the period, and give the output."""
    prices, smooths = s + PRICE * n, s + SMOOTH * n
    p1, p2, p3 = A[prices + ((k - 1) % RING) * n], A[prices + ((k - 2) % RING) * n], A[prices + ((k - 3) % RING) * n]
    smooth = (4.0 * price + 3.0 * p1 + 2.0 * p2 + p3) * 0.1
    A[smooths + (k % RING) * n] = smooth
    gain = 0.075 * A[s + PERIOD * n] + 0.54
    detrends, quadratures = s + DETREND * n, s + Q1_RING * n
    detrended = _transform(A, smooths, RING, k, 0, n) * gain
    in_phase = A[detrends + ((k - 3) % 10) * n]
    advanced_i = _transform(A, detrends, 10, k, 3, n) * gain
    A[detrends + (k % 10) * n] = detrended
    q1 = _transform(A, detrends, 10, k, 0, n) * gain
    A[quadratures + (k % 7) * n] = q1
    advanced_q = _transform(A, quadratures, 7, k, 0, n) * gain
    average = 0.0
    if mode >= MAMA:
        average = _adaptive(A, s, n, price, in_phase, q1, mode, fast, slow)
    _period(A, s, n, in_phase - advanced_q, q1 + advanced_i)
    if mode >= MAMA:
        return average
    if mode == DCPERIOD:
        return A[s + SMOOTH_PERIOD * n]
    if mode == INPHASE:
        return in_phase
    if mode == QUADRATURE:
        return q1
    if mode == TRENDLINE:
        return _trend_line(A, s, n, k)
    phase_was = A[s + PHASE * n]
    phase = _phase(A, s, n, k)
    if mode == DCPHASE:
        return phase
    sine, lead = math.sin(phase / DEGREES), math.sin((phase + 45.0) / DEGREES)
    if mode == SINE:
        return sine
    if mode == LEADSINE:
        return lead
    return _trend_mode(A, s, n, smooth, _trend_line(A, s, n, k), phase - phase_was, sine, lead)


@njit(cache=True, nogil=True)
def _period(A: F8, s: int, n: int, i_new: float, q_new: float) -> None:
    """Dominant period from the angle between successive phasors, kept within 6 and 50 bars and slow to change."""
    i_was, q_was = A[s + I2 * n], A[s + Q2 * n]
    i2, q2 = 0.2 * i_new + 0.8 * i_was, 0.2 * q_new + 0.8 * q_was
    re = 0.2 * (i2 * i_was + q2 * q_was) + 0.8 * A[s + RE * n]
    im = 0.2 * (i2 * q_was - q2 * i_was) + 0.8 * A[s + IM * n]
    was = A[s + PERIOD * n]
    period = was
    if im != 0.0 and re != 0.0:
        period = 360.0 / (math.atan(im / re) * DEGREES)
    period = max(min(period, 1.5 * was), 0.67 * was)
    period = 0.2 * min(max(period, 6.0), 50.0) + 0.8 * was
    A[s + I2 * n], A[s + Q2 * n], A[s + RE * n], A[s + IM * n] = i2, q2, re, im
    A[s + PERIOD * n] = period
    A[s + SMOOTH_PERIOD * n] = 0.33 * period + 0.67 * A[s + SMOOTH_PERIOD * n]


@njit(cache=True, nogil=True)
def _adaptive(
    A: F8, s: int, n: int, price: float, in_phase: float, q1: float, mode: int, fast: float, slow: float
) -> float:  # fmt: skip
    """Average whose weight is the fast limit over the change of phase in degrees, not below the slow limit."""
    angle = math.atan(q1 / in_phase) * DEGREES if in_phase != 0.0 else 0.0
    change = max(A[s + ANGLE * n] - angle, 1.0)
    weight = max(fast / change, slow) if change > 1.0 else fast
    mama = weight * price + (1.0 - weight) * A[s + MAMA_WAS * n]
    fama = 0.5 * weight * mama + (1.0 - 0.5 * weight) * A[s + FAMA_WAS * n]
    A[s + ANGLE * n], A[s + MAMA_WAS * n], A[s + FAMA_WAS * n] = angle, mama, fama
    return mama if mode == MAMA else fama


@njit(cache=True, nogil=True)
def _phase(A: F8, s: int, n: int, k: int) -> float:
    """Phase in degrees of the smoothed price within its dominant cycle."""
    smooth_period = A[s + SMOOTH_PERIOD * n]
    bars = int(smooth_period + 0.5)
    real, imaginary = 0.0, 0.0
    for i in range(bars):
        v = A[s + (SMOOTH + (k - i) % RING) * n]
        real += SINES[bars, i] * v
        imaginary += COSINES[bars, i] * v
    phase = A[s + PHASE * n]
    if abs(imaginary) > 0.0:
        phase = math.atan(real / imaginary) * DEGREES
    elif real < 0.0:
        phase -= 90.0
    elif real > 0.0:
        phase += 90.0
    # One bar of lag of the four-bar average is made good.
    phase += 90.0 + 360.0 / smooth_period
    if imaginary < 0.0:
        phase += 180.0
    if phase > 315.0:
        phase -= 360.0
    A[s + PHASE * n] = phase
    return phase


@njit(cache=True, nogil=True)
def _trend_line(A: F8, s: int, n: int, k: int) -> float:
    """Price averaged over the dominant cycle, then over four bars with weights 4, 3, 2, 1."""
    bars = int(A[s + SMOOTH_PERIOD * n] + 0.5)
    total = 0.0
    for i in range(bars):
        total += A[s + (PRICE + (k - i) % RING) * n]
    if bars > 0:
        total /= bars
    t1, t2, t3 = A[s + TREND_1 * n], A[s + TREND_2 * n], A[s + TREND_3 * n]
    A[s + TREND_1 * n], A[s + TREND_2 * n], A[s + TREND_3 * n] = total, t1, t2
    return (4.0 * total + 3.0 * t1 + 2.0 * t2 + t3) / 10.0


@njit(cache=True, nogil=True)
def _trend_mode(A: F8, s: int, n: int, smooth: float, line: float, turn: float, sine: float, lead: float) -> float:
    """Give 1 in a trend and 0 in a cycle: the sine wave crossed lately, or the phase turns at the cycle's own rate."""
    sine_was, lead_was = A[s + SINE_WAS * n], A[s + LEAD_WAS * n]
    smooth_period = A[s + SMOOTH_PERIOD * n]
    trend = 1.0
    days = A[s + DAYS * n]
    if (sine > lead and sine_was <= lead_was) or (sine < lead and sine_was >= lead_was):
        days = 0.0
        trend = 0.0
    days += 1.0
    if days < 0.5 * smooth_period:
        trend = 0.0
    if smooth_period != 0.0 and 0.67 * 360.0 / smooth_period < turn < 1.5 * 360.0 / smooth_period:
        trend = 0.0
    if line != 0.0 and abs((smooth - line) / line) >= 0.015:
        trend = 1.0
    A[s + SINE_WAS * n], A[s + LEAD_WAS * n], A[s + DAYS * n] = sine, lead, days
    return trend
