"""Takes ticks into the state of a provisional row, or says why not."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from factors.panel.quality.kernel import like_a_split, power_of_ten

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

KINDS = (
    "taken", "unknown_symbol", "not_finite", "not_positive", "negative_volume", "late", "range_contradicts",
    "unit_change", "split_unadjusted", "duplicate", "another_day",
)  # fmt: skip
"""Codes of what became of a tick. Those that are kinds of the intake (`factors.panel.quality.kinds`) mean the same."""
(TAKEN, UNKNOWN, NOT_FINITE, NOT_POSITIVE, NEGATIVE_VOLUME, LATE, RANGE, UNIT, SPLIT, DUPLICATE, ANOTHER_DAY) = range(
    len(KINDS)
)
# Rows of the state [len(STATE), n_assets]; NaN where there is nothing yet. `before` is the last close, `price` and
# `quote` the last trade and the last middle.
STATE = ("price", "quote", "open", "high", "low", "volume", "money", "before", "split_ratio", "dividend")
PRICE, QUOTE, OPEN, HIGH, LOW, VOLUME, MONEY, BEFORE, SPLIT_RATIO, DIVIDEND = range(len(STATE))
RANGE_TOLERANCE = 1e-4


@njit(cache=True, nogil=True)
def absurd(price: float, j: int, state: Array) -> int:
    """Say what is wrong with a price beside the last one of the day, or beside the last close carried over a split."""
    if not np.isfinite(price):
        return NOT_FINITE
    if price <= 0.0:
        return NOT_POSITIVE
    beside = state[PRICE, j]
    if beside != beside:
        beside = state[QUOTE, j]
    if beside != beside:
        split = state[SPLIT_RATIO, j]
        beside = state[BEFORE, j] / (split if split == split else 1.0)
    if not beside > 0.0:
        return TAKEN
    ratio = price / beside
    if power_of_ten(ratio):
        return UNIT
    return SPLIT if like_a_split(ratio) else TAKEN


@njit(cache=True, nogil=True)
def in_time(time: int, first: int, last: int, j: int, times: Ints) -> int:
    """Say whether a time is of the day, and not before the last one of the name; below 0 is no time."""
    if time < 0:
        return TAKEN
    if time < first or time >= last:
        return ANOTHER_DAY
    return LATE if time < times[j] else TAKEN


@njit(cache=True, nogil=True)
def take_trades(
    columns: Ints, price: Array, size: Array, time: Ints, first: int, last: int, state: Array, times: Ints,
    dirty: NDArray[np.bool_], codes: NDArray[np.int8],
) -> None:  # fmt: skip
    """Take trades in their order; a NaN size is an unknown one."""
    for i in range(len(columns)):
        j = columns[i]
        if codes[i] != TAKEN:
            continue
        if j < 0:
            codes[i] = UNKNOWN
            continue
        p, s = price[i], size[i]
        code = in_time(time[i], first, last, j, times)
        if code == TAKEN:
            code = absurd(p, j, state)
        if code == TAKEN and s < 0.0:
            code = NEGATIVE_VOLUME
        if code == TAKEN and np.isinf(s):
            code = NOT_FINITE
        codes[i] = code
        if code != TAKEN:
            continue
        times[j] = max(times[j], time[i])
        state[PRICE, j] = p
        if state[OPEN, j] != state[OPEN, j]:
            state[OPEN, j] = p
        state[HIGH, j] = p if not state[HIGH, j] >= p else state[HIGH, j]
        state[LOW, j] = p if not state[LOW, j] <= p else state[LOW, j]
        if s == s:
            # After a bar that told a volume alone the traded value is not known, and stays so.
            if not state[VOLUME, j] > 0.0:
                state[VOLUME, j], state[MONEY, j] = s, s * p
            else:
                state[VOLUME, j] += s
                state[MONEY, j] += s * p
        dirty[j] = True


@njit(cache=True, nogil=True)
def take_quotes(
    columns: Ints, bid: Array, ask: Array, time: Ints, first: int, last: int, state: Array, times: Ints,
    dirty: NDArray[np.bool_], codes: NDArray[np.int8],
) -> None:  # fmt: skip
    """Take quotes in their order; their middle is a price until the name has traded."""
    for i in range(len(columns)):
        j = columns[i]
        if codes[i] != TAKEN:
            continue
        if j < 0:
            codes[i] = UNKNOWN
            continue
        b, a = bid[i], ask[i]
        code = in_time(time[i], first, last, j, times)
        if code == TAKEN and not (np.isfinite(b) and np.isfinite(a)):
            code = NOT_FINITE
        if code == TAKEN and (b <= 0.0 or a <= 0.0):
            code = NOT_POSITIVE
        if code == TAKEN and b > a:
            code = RANGE
        if code == TAKEN:
            code = absurd(0.5 * (a + b), j, state)
        codes[i] = code
        if code == TAKEN:
            times[j] = max(times[j], time[i])
            state[QUOTE, j] = 0.5 * (a + b)
            dirty[j] = True


@njit(cache=True, nogil=True)
def take_bars(
    columns: Ints, bars: Array, time: Ints, first: int, last: int, state: Array, times: Ints,
    dirty: NDArray[np.bool_], codes: NDArray[np.int8],
) -> None:  # fmt: skip
    """Take the day so far of names: bars [5, n] open, high, low, close, volume, NaN where one is not given."""
    for i in range(len(columns)):
        j = columns[i]
        if codes[i] != TAKEN:
            continue
        if j < 0:
            codes[i] = UNKNOWN
            continue
        open_, high, low, close, volume = bars[0, i], bars[1, i], bars[2, i], bars[3, i], bars[4, i]
        code = in_time(time[i], first, last, j, times)
        if code == TAKEN and close == close:
            code = absurd(close, j, state)
        if code == TAKEN:
            for p in (open_, high, low):
                if np.isinf(p):
                    code = NOT_FINITE
                elif p <= 0.0:
                    code = NOT_POSITIVE
        up, down = 1.0 + RANGE_TOLERANCE, 1.0 - RANGE_TOLERANCE
        if code == TAKEN:
            for p in (open_, close):
                if p > high * up or p < low * down:
                    code = RANGE
            if low > high:
                code = RANGE
        if code == TAKEN and volume < 0.0:
            code = NEGATIVE_VOLUME
        if code == TAKEN and np.isinf(volume):
            code = NOT_FINITE
        if code == TAKEN and volume < state[VOLUME, j]:
            code = LATE  # a day's volume does not fall
        codes[i] = code
        if code != TAKEN:
            continue
        times[j] = max(times[j], time[i])
        for row, v in ((OPEN, open_), (HIGH, high), (LOW, low), (PRICE, close), (VOLUME, volume)):
            if v == v:
                state[row, j] = v
        # A range that was told before holds the close, as it holds a trade.
        if close == close and high != high and close > state[HIGH, j]:
            state[HIGH, j] = close
        if close == close and low != low and close < state[LOW, j]:
            state[LOW, j] = close
        if volume == volume:
            state[MONEY, j] = np.nan
        dirty[j] = True
