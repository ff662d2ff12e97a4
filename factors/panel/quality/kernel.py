"""The pass over a panel's rows that finds what looks wrong: the same for a batch and for a day."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[np.float64]
Found = NDArray[np.int32]
Counts = NDArray[np.int64]

# What the pass can find, by number: the kind and the column that it is about.
CODES: tuple[tuple[str, str | None], ...] = (
    ("price_without_return", "close"),
    ("split_unadjusted", "close"),
    ("unit_change", "close"),
    ("unit_change", "market_cap"),
    ("cap_without_return", "market_cap"),
    ("cap_is_not_close_times_shares", "market_cap"),
    ("split_inferred", "shares"),
    ("another_company", "close"),
    ("stale_price", "close"),
    ("moved_without_volume", "volume"),
    ("not_positive", "open"),
    ("not_positive", "high"),
    ("not_positive", "low"),
    ("not_positive", "close"),
    ("not_positive", "vwap"),
    ("negative_volume", "volume"),
    ("negative_volume", "shares"),
    ("range_contradicts", "open"),
    ("range_contradicts", "close"),
    ("range_contradicts", "vwap"),
    ("missing_return", "returns"),
    ("missing_row", None),
    ("another_company", "returns"),
    ("same_series", "returns"),
    ("half_missing", None),
    ("returns_in_percent", "returns"),
    ("weekend", None),
)
(PRICE, SPLIT, UNIT_CLOSE, UNIT_CAP, CAP, CAP_SHARES, INFERRED, COMPANY, STALE, MOVED, OPEN_0, HIGH_0, LOW_0, CLOSE_0,
 VWAP_0, VOLUME_0, SHARES_0, RANGE_OPEN, RANGE_CLOSE, RANGE_VWAP, NO_RETURN, NO_ROW, NO_PRICE, SAME, HALF, PERCENT,
 WEEKEND) = range(len(CODES))  # fmt: skip

PRICE_GAP = 0.045
"""Close against return: ordinary dividends of a day reach 3.9 % in 593,915 rows of large companies, special ones begin
at 4.8 %."""
CAP_GAP = 0.25
SHARES_GAP = 0.2
SPLIT_TOLERANCE = 0.004
SPLITS = np.array([1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 10.0, 15.0, 20.0, 25.0, 30.0, 40.0, 50.0])
LEAST_SPLIT = 1.2
UNIT_TOLERANCE = 0.05
STALE_ROWS = 10
AWAY_ROWS = 60
"""After so many rows without a price a name that comes back at another price may be another company."""
OTHER_PRICE = 2.0
SHORT_GAP = 5
BIG_RETURN = 0.3
TINY = 1e-9
RANGE_TOLERANCE = 1e-4
"""Rounded and adjusted prices differ by so much."""
SMALLEST = float(np.finfo(np.float64).tiny)
HALF_OF_NAMES = 0.5
LEAST_NAMES, SHARE_OF_BIG = 10, 0.5
# What is carried of each name from one row to the next, [len(CARRIED), n_assets]; NaN is never. Rows are numbers of the
# whole history, of the last row that had the value.
CARRIED = ("close", "close_row", "same", "same_row", "cap", "shares", "close_of_cap", "cap_row", "return_row")
P_CLOSE, P_CLOSE_ROW, P_SAME, P_SAME_ROW, P_CAP, P_SHARES, P_CLOSE_2, P_CAP_ROW, P_RETURN_ROW = range(len(CARRIED))
LOOKED_AT = ("returns", "market_cap", "open", "high", "low", "close", "vwap", "volume", "shares")


@njit(cache=True, nogil=True)
def note(code: int, row: int, name: int, found: Found, counts: Counts, most: Counts) -> None:
    """Write down a row of a kind; beyond its `most` it is only counted. The last of `counts` are all written."""
    if counts[code] < most[code]:
        at = counts[-1]
        found[at, 0] = code
        found[at, 1] = row
        found[at, 2] = name
        counts[-1] += 1
    counts[code] += 1


@njit(cache=True, nogil=True)
def power_of_ten(ratio: float) -> bool:
    """Whether a ratio is 100, 1000 or 10,000, or one over that, about."""
    big = ratio if ratio > 1.0 else 1.0 / ratio
    nearest = 1.0
    for power in (100.0, 1000.0, 10000.0, 1e6):
        nearest = min(nearest, abs(big / power - 1.0))
    return nearest < UNIT_TOLERANCE


@njit(cache=True, nogil=True)
def like_a_split(ratio: float) -> bool:
    """Whether a ratio of prices is that of a split or of a reverse split."""
    big = ratio if ratio > 1.0 else 1.0 / ratio
    nearest = 1.0
    for split in SPLITS:
        nearest = min(nearest, abs(big / split - 1.0))
    return nearest < SPLIT_TOLERANCE


@njit(cache=True, nogil=True)
def last_of(carried: Array, value: int, at: int, first: int, out: Array) -> None:
    """Give what the row before `first` had; NaN where it had none."""
    for j in range(carried.shape[1]):
        out[j] = carried[value, j] if carried[at, j] == first - 1 else np.nan


@njit(cache=True, nogil=True, error_model="numpy")
def scan_prices(
    first: int, returns: Array, close: Array, volume: Array, carried: Array, found: Found, counts: Counts, most: Counts
) -> None:
    """Look at closes beside returns and volumes; `first` is the number of the first row in the whole history.

    What is as it should be is passed over by comparisons alone, so that the look costs little more than reading.
    """
    if close.shape[0] == 0:
        return
    n = close.shape[1]
    has_volume = volume.shape[0] > 0
    start = np.empty(n)
    last_of(carried, P_CLOSE, P_CLOSE_ROW, first, start)
    odd = np.empty(n, dtype=np.bool_)
    for t in range(close.shape[0]):
        row = first + t
        before = start if t == 0 else close[t - 1]
        now, r = close[t], returns[t]
        for j in range(n):
            fair = before[j] * (1.0 + r[j])
            fine = (abs(now[j] - fair) <= PRICE_GAP * fair) & (now[j] > 0.0) & (now[j] != before[j])
            odd[j] = (fine | ((now[j] != now[j]) & (before[j] != before[j]))) ^ True
        if has_volume:
            v = volume[t]
            for j in range(n):
                odd[j] |= v[j] == 0.0
        for j in range(n):
            if odd[j]:
                price_at(t, j, row, now[j], before[j], r[j], has_volume and volume[t, j] == 0.0, carried, found,
                         counts, most)  # fmt: skip
    for j in range(n):
        if close[-1, j] > 0.0:
            carried[P_CLOSE, j] = close[-1, j]
            carried[P_CLOSE_ROW, j] = first + close.shape[0] - 1


@njit(cache=True, nogil=True, error_model="numpy")
def price_at(
    t: int, j: int, row: int, c: float, before: float, r: float, silent: bool, carried: Array, found: Found,
    counts: Counts, most: Counts,
) -> None:  # fmt: skip
    """Say what is odd about one close."""
    if before > 0.0 and not c > 0.0:
        carried[P_CLOSE, j] = before
        carried[P_CLOSE_ROW, j] = row - 1
    if c <= 0.0:
        note(CLOSE_0, t, j, found, counts, most)
    if not c > 0.0:
        return
    if not before > 0.0:
        away = row - carried[P_CLOSE_ROW, j] > AWAY_ROWS
        if away and (c > OTHER_PRICE * carried[P_CLOSE, j] or OTHER_PRICE * c < carried[P_CLOSE, j]):
            note(COMPANY, t, j, found, counts, most)
        return
    if c == before:
        run = carried[P_SAME, j] + 1.0 if carried[P_SAME_ROW, j] == row - 1 else 1.0
        carried[P_SAME, j] = run
        carried[P_SAME_ROW, j] = row
        if run == STALE_ROWS:
            note(STALE, t, j, found, counts, most)
    elif silent and abs(c - before) > TINY * before:
        note(MOVED, t, j, found, counts, most)
    if r != r:
        if c > OTHER_PRICE * before or OTHER_PRICE * c < before:
            note(NO_PRICE, t, j, found, counts, most)
        return
    ratio = c / (before * (1.0 + r))
    if abs(ratio - 1.0) <= PRICE_GAP:
        return
    if power_of_ten(ratio):
        note(UNIT_CLOSE, t, j, found, counts, most)
    elif like_a_split(ratio):
        note(SPLIT, t, j, found, counts, most)
    else:
        note(PRICE, t, j, found, counts, most)


@njit(cache=True, nogil=True, error_model="numpy")
def scan_caps(
    first: int, returns: Array, cap: Array, close: Array, shares: Array, given: bool, carried: Array,
    present: Counts, big: Counts, known: Counts, found: Found, counts: Counts, most: Counts,
) -> None:  # fmt: skip
    """Look at caps and shares beside returns, at returns that are missing, and count the names of each row.

    Where splits are `given` by a column, none is inferred.
    """
    n = cap.shape[1]
    has_shares, has_close = shares.shape[0] > 0, close.shape[0] > 0
    start, start_r, start_s, start_c = np.empty(n), np.empty(n), np.empty(n), np.empty(n)
    last_of(carried, P_CAP, P_CAP_ROW, first, start)
    last_of(carried, P_SHARES, P_CAP_ROW, first, start_s)
    last_of(carried, P_CLOSE_2, P_CAP_ROW, first, start_c)
    for j in range(n):
        start_r[j] = 0.0 if carried[P_RETURN_ROW, j] == first - 1 else np.nan
    nothing = np.full(n, np.nan)
    odd = np.empty(n, dtype=np.bool_)
    for t in range(cap.shape[0]):
        row = first + t
        m, r = cap[t], returns[t]
        before, r_before = (start, start_r) if t == 0 else (cap[t - 1], returns[t - 1])
        s, s_before, c, c_before = nothing, nothing, nothing, nothing
        if has_shares:
            s, s_before = shares[t], (start_s if t == 0 else shares[t - 1])
        if has_close:
            c, c_before = close[t], (start_c if t == 0 else close[t - 1])
        n_present, n_known, n_big = np.int32(0), np.int32(0), np.int32(0)
        for j in range(n):
            fair = before[j] * (1.0 + r[j])
            fine = (abs(m[j] - fair) <= CAP_GAP * fair) & (r_before[j] == r_before[j])
            away = (m[j] != m[j]) & (before[j] != before[j]) & (r[j] != r[j]) & (r_before[j] != r_before[j])
            odd[j] = (fine | away) ^ True
        for j in range(n):
            n_present += np.int32((m[j] == m[j]) | (r[j] == r[j]))
            n_known += np.int32(r[j] == r[j])
            n_big += np.int32(abs(r[j]) > BIG_RETURN)
        present[t], known[t], big[t] = n_present, n_known, n_big
        if has_shares:
            for j in range(n):
                odd[j] |= s[j] > LEAST_SPLIT * s_before[j] or s_before[j] > LEAST_SPLIT * s[j]
        if has_shares and has_close:
            for j in range(n):
                odd[j] |= abs(m[j] - c[j] * s[j]) > SHARES_GAP * m[j]
        for j in range(n):
            if odd[j]:
                returned_at(t, j, row, m[j], r[j], before[j], r_before[j], carried, found, counts, most)
                cap_at(t, j, row, m[j], r[j], before[j], s[j], s_before[j], c[j], c_before[j], given, carried, found,
                       counts, most)  # fmt: skip
    last = cap.shape[0] - 1
    for j in range(n):
        if cap[last, j] == cap[last, j]:
            carried[P_CAP, j] = cap[last, j]
            carried[P_CAP_ROW, j] = first + last
        # Of a name that is away they say nothing about the day on which it comes back.
        there = cap[last, j] == cap[last, j]
        carried[P_SHARES, j] = shares[last, j] if there and has_shares else np.nan
        carried[P_CLOSE_2, j] = close[last, j] if there and has_close else np.nan
        if returns[last, j] == returns[last, j]:
            carried[P_RETURN_ROW, j] = first + last


@njit(cache=True, nogil=True, error_model="numpy")
def returned_at(
    t: int, j: int, row: int, m: float, r: float, before: float, r_before: float, carried: Array, found: Found,
    counts: Counts, most: Counts,
) -> None:  # fmt: skip
    """Say whether a return is missing, or a name is back after a few rows without any."""
    if r != r:
        if r_before == r_before:
            carried[P_RETURN_ROW, j] = row - 1
        if m == m and before == before:
            note(NO_RETURN, t, j, found, counts, most)
    elif r_before != r_before:
        away = row - carried[P_RETURN_ROW, j]
        if 1.0 < away <= 1.0 + SHORT_GAP and before != before:
            note(NO_ROW, t, j, found, counts, most)


@njit(cache=True, nogil=True, error_model="numpy")
def cap_at(
    t: int, j: int, row: int, m: float, r: float, before: float, s: float, s_before: float, c: float, c_before: float,
    given: bool, carried: Array, found: Found, counts: Counts, most: Counts,
) -> None:  # fmt: skip
    """Say what is odd about one cap, or its shares."""
    if m != m:
        if before == before:
            carried[P_CAP, j] = before
            carried[P_CAP_ROW, j] = row - 1
        return
    if abs(m - c * s) > SHARES_GAP * m:
        note(CAP_SHARES, t, j, found, counts, most)
    fair = before * (1.0 + r)
    if not fair > 0.0:
        return
    growth = s / s_before
    if abs(m - fair) > CAP_GAP * fair:
        # Shares that were issued change the cap and no return; a close that moved alone was told above.
        issued = abs(m / fair - growth) < CAP_GAP * growth
        with_close = abs(m / before - c / c_before) < PRICE_GAP * m / before
        if power_of_ten(m / fair) and not with_close:
            note(UNIT_CAP, t, j, found, counts, most)
        elif not (issued or with_close):
            note(CAP, t, j, found, counts, most)
    elif not given and (growth > LEAST_SPLIT or growth < 1.0 / LEAST_SPLIT):
        # Of an issue the cap grows with the shares; of a split it does not.
        moved = m / fair
        if (growth > 1.0 and moved * moved < growth) or (growth < 1.0 and moved * moved > growth):
            note(INFERRED, t, j, found, counts, most)


@njit(cache=True, nogil=True, error_model="numpy")
def scan(
    first: int, days: Counts, recent: Counts, returns: Array, cap: Array, open_: Array, high: Array, low: Array,
    close: Array, vwap: Array, volume: Array, shares: Array, raw_close: Array, raw_shares: Array, given: bool,
    carried: Array, present: Counts, big: Counts, known: Counts, found: Found, counts: Counts, most: Counts,
) -> bool:  # fmt: skip
    """Run every look over some rows and give whether one of the days as a whole may be odd.

    A field without rows is not there. It is one call, since of a day the calls cost as much as the looks.
    """
    scan_prices(first, returns, close, volume, carried, found, counts, most)
    scan_caps(first, returns, cap, raw_close, raw_shares, given, carried, present, big, known, found, counts, most)
    # Where low is above 0 the day's range tells of the other prices.
    if low.shape[0] > 0:
        scan_one(low, LOW_0, 0.0, found, counts, most)
    else:
        scan_one(open_, OPEN_0, 0.0, found, counts, most)
        scan_one(high, HIGH_0, 0.0, found, counts, most)
        scan_one(vwap, VWAP_0, 0.0, found, counts, most)
    scan_one(volume, VOLUME_0, -SMALLEST, found, counts, most)
    scan_one(shares, SHARES_0, -SMALLEST, found, counts, most)
    if low.shape[0] > 0 and high.shape[0] > 0:
        scan_range(open_, low, high, RANGE_OPEN, RANGE_TOLERANCE, found, counts, most)
        scan_range(close, low, high, RANGE_CLOSE, RANGE_TOLERANCE, found, counts, most)
        scan_range(vwap, low, high, RANGE_VWAP, RANGE_TOLERANCE, found, counts, most)
    return any_odd_day(days, recent, present, big, known)


@njit(cache=True, nogil=True)
def any_odd_day(days: Counts, recent: Counts, present: Counts, big: Counts, known: Counts) -> bool:
    """Whether a new day may have half of the names, returns in percent, or lies in a weekend.

    `recent` are the names of some days before.
    """
    most = np.int64(0)
    for t in range(len(recent)):
        most = max(most, recent[t])
    for t in range(len(days)):
        most = max(most, present[t])
        if present[t] < HALF_OF_NAMES * most or (days[t] + 3) % 7 >= 5:
            return True
        if known[t] >= LEAST_NAMES and big[t] > SHARE_OF_BIG * known[t]:
            return True
    return False


@njit(cache=True, nogil=True)
def fingerprints(returns: Array, weights: Array, sums: Array, nonzero: Counts) -> None:
    """Sum returns times weights over some rows, and count those that are not zero: equal series have equal sums."""
    for t in range(returns.shape[0]):
        for j in range(returns.shape[1]):
            r = returns[t, j]
            if r == r and r != 0.0:
                sums[j] += weights[t] * r
                nonzero[j] += 1


@njit(cache=True, nogil=True)
def scan_one(values: Array, code: int, least: float, found: Found, counts: Counts, most: Counts) -> None:
    """Look for values at or below a least one."""
    for t in range(values.shape[0]):
        some = False
        for j in range(values.shape[1]):
            some |= values[t, j] <= least
        if some:
            for j in range(values.shape[1]):
                if values[t, j] <= least:
                    note(code, t, j, found, counts, most)


@njit(cache=True, nogil=True)
def scan_range(
    price: Array, low: Array, high: Array, code: int, tolerance: float, found: Found, counts: Counts, most: Counts
) -> None:
    """Look for prices outside low to high."""
    up, down = 1.0 + tolerance, 1.0 - tolerance
    for t in range(price.shape[0]):
        some = False
        for j in range(price.shape[1]):
            some |= (price[t, j] > high[t, j] * up) | (price[t, j] < low[t, j] * down)
        if some:
            for j in range(price.shape[1]):
                if price[t, j] > high[t, j] * up or price[t, j] < low[t, j] * down:
                    note(code, t, j, found, counts, most)
