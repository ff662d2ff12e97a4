"""The pass over a panel's rows that finds what looks wrong: the same for a batch and for a day."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from factors.panel.quality.report import MAX_ROWS

Array = NDArray[np.float64]
Found = NDArray[np.int32]
Counts = NDArray[np.int64]
Tally = NDArray[np.int64]
Runs = NDArray[np.uint8]
Last = tuple[Array, Array, Array, Array, Array]
"""The row before the first one, [1, n_assets]: returns, caps, closes, closes of the cap, shares; else of no rows."""

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
    ("missing_cap", "market_cap"),
)
(PRICE, SPLIT, UNIT_CLOSE, UNIT_CAP, CAP, CAP_SHARES, INFERRED, COMPANY, STALE, MOVED, OPEN_0, HIGH_0, LOW_0, CLOSE_0,
 VWAP_0, VOLUME_0, SHARES_0, RANGE_OPEN, RANGE_CLOSE, RANGE_VWAP, NO_RETURN, NO_ROW, NO_PRICE, SAME, HALF, PERCENT,
 WEEKEND, NO_CAP) = range(len(CODES))  # fmt: skip

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
LONGEST_RUN = STALE_ROWS
"""Rows of one close are counted so far and one more."""
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
# What is kept of names that are away, [len(AWAY), n_assets]; NaN is never. Rows are numbers of the whole history: of
# the last one that had the value. Of names that are there the last day's own arrays tell, so that a day copies nothing.
AWAY = ("close", "close_row", "cap_row", "return_row")
A_CLOSE, A_CLOSE_ROW, A_CAP_ROW, A_RETURN_ROW = range(len(AWAY))
SOME, ODD, LOUD, UNSORTED, DECIDED = 1, 2, 4, 8, 16
"""What a look over rows gives: whether anything was found, a day as a whole may be odd, something found has a line,
the rows written down are not in the order of days, kinds and names, and splits are among them."""
MADE, WRITTEN = -2, -1
"""Behind the counts by code: whether a copy of what is kept was made, and how many rows are written down."""
ROWS_OF_A_QUARTER = 63
"""Series are compared quarter by quarter."""
ROOTS = np.sqrt(np.arange(2.0, ROWS_OF_A_QUARTER + 2.0))
CELLS_OF_A_BLOCK = 8_192
"""Rows of so many cells are looked at together: of five fields they fit into the second cache."""
PRESENT, BIG, KNOWN = range(3)
"""What is counted of each day: names that are there, returns that are big, returns that are known."""
LOOKED_AT = ("returns", "market_cap", "open", "high", "low", "close", "vwap", "volume", "shares")


@njit(cache=True, nogil=True)
def note(code: int, row: int, name: int, found: Found, counts: Counts, most: Counts) -> None:
    """Write down a row of a kind; beyond its `most` it is only counted."""
    if counts[code] < most[code]:
        at = counts[WRITTEN]
        found[at, 0] = code
        found[at, 1] = row
        found[at, 2] = name
        counts[WRITTEN] += 1
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
def keep(at: int, name: int, value: float, away: Array, own: Array, counts: Counts) -> None:
    """Keep something of a name that is away, in a copy that is made when it is needed first."""
    if counts[MADE] == 0:
        own[:] = away
        counts[MADE] = 1
    own[at, name] = value


@njit(cache=True, nogil=True)
def kept(at: int, name: int, away: Array, own: Array, counts: Counts) -> float:
    """Give what was kept of a name."""
    value: float = own[at, name] if counts[MADE] else away[at, name]
    return value


@njit(cache=True, nogil=True)
def or_missing(last: Array, n: int) -> Array:
    """Give the row before the first one, which of a field that was not there is missing."""
    row: Array = last[0] if last.shape[0] else np.full(n, np.nan)
    return row


@njit(cache=True, nogil=True, error_model="numpy")
def scan_prices(
    begin: int, end: int, first: int, returns: Array, close: Array, volume: Array, last: Array, run: Runs, away: Array,
    own: Array, found: Found, counts: Counts, most: Counts,
) -> None:  # fmt: skip
    """Look at closes beside returns and volumes; `first` is the number of the first row in the whole history.

    What is as it should be is passed over by comparisons alone, so that the look costs little more than reading.
    """
    if close.shape[0] == 0:
        return
    n = close.shape[1]
    has_volume = volume.shape[0] > 0
    start = or_missing(last, n)
    odd, older = np.empty(n, dtype=np.bool_), np.empty(n, dtype=np.uint8)
    for t in range(begin, end):
        row = first + t
        before = start if t == 0 else close[t - 1]
        now, r = close[t], returns[t]
        for j in range(n):
            fair = before[j] * (1.0 + r[j])
            fine = (abs(now[j] - fair) <= PRICE_GAP * fair) & (now[j] > 0.0) & (now[j] != before[j])
            odd[j] = (fine | ((now[j] != now[j]) & (before[j] != before[j]))) ^ True
        if row == 0:  # nothing was there before: what is to be seen of a close alone, without three thousand calls
            for j in range(n):
                odd[j] = now[j] <= 0.0
        older[:] = run
        run[:] = 0
        if has_volume:
            v = volume[t]
            for j in range(n):
                odd[j] |= v[j] == 0.0
        for j in range(n):
            if odd[j]:
                if now[j] == before[j] and now[j] > 0.0:  # a close that stands still is odd, so none is passed over
                    run[j] = np.uint8(min(older[j], LONGEST_RUN) + 1)
                    if run[j] != STALE_ROWS and not abs(now[j] / (before[j] * (1.0 + r[j])) - 1.0) > PRICE_GAP:
                        continue  # on most days these are nearly all, and a call costs as much as fifty names
                silent = has_volume and volume[t, j] == 0.0
                price_at(t, j, row, now[j], before[j], r[j], silent, run[j], away, own, found, counts, most)


@njit(cache=True, nogil=True, error_model="numpy")
def price_at(
    t: int, j: int, row: int, c: float, before: float, r: float, silent: bool, run: int, away: Array, own: Array,
    found: Found, counts: Counts, most: Counts,
) -> None:  # fmt: skip
    """Say what is odd about one close."""
    if before > 0.0 and not c > 0.0:
        keep(A_CLOSE, j, before, away, own, counts)
        keep(A_CLOSE_ROW, j, row - 1, away, own, counts)
    if c <= 0.0:
        note(CLOSE_0, t, j, found, counts, most)
    if not c > 0.0:
        return
    if not before > 0.0:
        gone, price = row - kept(A_CLOSE_ROW, j, away, own, counts), kept(A_CLOSE, j, away, own, counts)
        if gone > AWAY_ROWS and (c > OTHER_PRICE * price or OTHER_PRICE * c < price):
            note(COMPANY, t, j, found, counts, most)
        return
    if c == before:
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
    begin: int, end: int, first: int, returns: Array, cap: Array, close: Array, shares: Array, given: bool,
    last_returns: Array, last_cap: Array, last_close: Array, last_shares: Array, away: Array, own: Array, tally: Tally,
    found: Found, counts: Counts, most: Counts,
) -> None:  # fmt: skip
    """Look at caps and shares beside returns, at returns that are missing, and count the names of each row.

    Where splits are `given` by a column, none is inferred.
    """
    n = cap.shape[1]
    has_shares, has_close = shares.shape[0] > 0, close.shape[0] > 0
    start, start_r = or_missing(last_cap, n), or_missing(last_returns, n)
    nothing = np.empty(0)
    if not (has_shares and has_close and last_shares.shape[0] and last_close.shape[0]):
        nothing = np.full(n, np.nan)
    odd = np.empty(n, dtype=np.bool_)
    for t in range(begin, end):
        row = first + t
        m, r = cap[t], returns[t]
        before, r_before = (start, start_r) if t == 0 else (cap[t - 1], returns[t - 1])
        s, s_before, c, c_before = nothing, nothing, nothing, nothing
        if has_shares:
            s = shares[t]
            if t > 0 or last_shares.shape[0]:
                s_before = shares[t - 1] if t > 0 else last_shares[0]
        if has_close:
            c = close[t]
            if t > 0 or last_close.shape[0]:
                c_before = close[t - 1] if t > 0 else last_close[0]
        n_present, n_known, n_big = np.int32(0), np.int32(0), np.int32(0)
        for j in range(n):
            fair = before[j] * (1.0 + r[j])
            fine = (abs(m[j] - fair) <= CAP_GAP * fair) & (r_before[j] == r_before[j])
            gone = (m[j] != m[j]) & (before[j] != before[j]) & (r[j] != r[j]) & (r_before[j] != r_before[j])
            odd[j] = (fine | gone) ^ True
        for j in range(n):
            n_present += np.int32((m[j] == m[j]) | (r[j] == r[j]))
            n_known += np.int32(r[j] == r[j])
            n_big += np.int32(abs(r[j]) > BIG_RETURN)
        if row == 0:
            odd[:] = False
        tally[PRESENT, t], tally[BIG, t], tally[KNOWN, t] = n_present, n_big, n_known
        if has_shares:
            for j in range(n):
                odd[j] |= (s[j] > LEAST_SPLIT * s_before[j]) | (s_before[j] > LEAST_SPLIT * s[j])
        if has_shares and has_close:
            for j in range(n):
                odd[j] |= abs(m[j] - c[j] * s[j]) > SHARES_GAP * m[j]
        for j in range(n):
            if odd[j]:
                if r[j] != r[j] or r_before[j] != r_before[j]:
                    returned_at(t, j, row, m[j], r[j], before[j], r_before[j], away, own, found, counts, most)
                cap_at(t, j, row, m[j], r[j], before[j], s[j], s_before[j], c[j], c_before[j], given, away, own,
                       found, counts, most)  # fmt: skip


@njit(cache=True, nogil=True, error_model="numpy")
def returned_at(
    t: int, j: int, row: int, m: float, r: float, before: float, r_before: float, away: Array, own: Array,
    found: Found, counts: Counts, most: Counts,
) -> None:  # fmt: skip
    """Say whether a return is missing, or a name is back after a few rows without any."""
    if r != r:
        if r_before == r_before:
            keep(A_RETURN_ROW, j, row - 1, away, own, counts)
        if m == m and before == before:
            note(NO_RETURN, t, j, found, counts, most)
    elif r_before != r_before:
        gone = row - kept(A_RETURN_ROW, j, away, own, counts)
        if 1.0 < gone <= 1.0 + SHORT_GAP and before != before:
            note(NO_ROW, t, j, found, counts, most)


@njit(cache=True, nogil=True, error_model="numpy")
def cap_at(
    t: int, j: int, row: int, m: float, r: float, before: float, s: float, s_before: float, c: float, c_before: float,
    given: bool, away: Array, own: Array, found: Found, counts: Counts, most: Counts,
) -> None:  # fmt: skip
    """Say what is odd about one cap, or its shares."""
    if m != m:
        if before == before:
            keep(A_CAP_ROW, j, row - 1, away, own, counts)
        # A name that trades on and had a cap is left out of everything for want of it.
        if r == r and (before == before or kept(A_CAP_ROW, j, away, own, counts) >= 0.0):
            note(NO_CAP, t, j, found, counts, most)
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
    first: int, days: Counts, usual: int, returns: Array, cap: Array, open_: Array, high: Array, low: Array,
    close: Array, vwap: Array, volume: Array, shares: Array, raw_close: Array, raw_shares: Array, given: bool,
    last: Last, run_before: Runs, run: Runs, away: Array, own: Array, tally: Tally, found: Found, counts: Counts,
    counted: Counts, least: Counts, told: NDArray[np.bool_], sums_before: Array, nonzero_before: Runs, sums: Array,
    nonzero: Runs,
) -> int:  # fmt: skip
    """Run every look over some rows; give what came of it in bits: `SOME`, `ODD`, `LOUD`, `UNSORTED`, `DECIDED`.

    A field without rows is not there. It is one call, since of a day the calls cost as much as the looks. `own` is what
    is kept of names that are away afterwards, where `counts[MADE]` says so; `usual` are the most names of a day so far,
    and `told` says which kinds have a line. Of what was found the rows are days since 1970, except where splits are
    among it. Of a kind so many are written down as `MAX_ROWS` leaves behind those that were `counted`, and at `least`
    so many. `sums` and `nonzero` are what `fingerprints` gives; the rows are of one quarter.
    """
    counts[:] = 0
    most = np.empty(len(counted), dtype=np.int64)
    for code in range(len(counted)):
        most[code] = max(MAX_ROWS - counted[code], least[code])
    run[:] = run_before
    last_returns, last_cap, last_close, last_raw_close, last_shares = last
    n_rows, step = returns.shape[0], max(CELLS_OF_A_BLOCK // max(returns.shape[1], 1), 1)
    for begin in range(0, n_rows, step):  # all looks at some rows while the cache has them
        end = min(begin + step, n_rows)
        scan_prices(begin, end, first, returns, close, volume, last_close, run, away, own, found, counts, most)
        scan_caps(
            begin, end, first, returns, cap, raw_close, raw_shares, given, last_returns, last_cap, last_raw_close,
            last_shares, away, own, tally, found, counts, most,
        )  # fmt: skip
        # Where low is above 0 the day's range tells of the other prices.
        if low.shape[0] > 0:
            scan_one(begin, end, low, LOW_0, 0.0, found, counts, most)
        else:
            scan_one(begin, end, open_, OPEN_0, 0.0, found, counts, most)
            scan_one(begin, end, high, HIGH_0, 0.0, found, counts, most)
            scan_one(begin, end, vwap, VWAP_0, 0.0, found, counts, most)
        scan_one(begin, end, volume, VOLUME_0, -SMALLEST, found, counts, most)
        scan_one(begin, end, shares, SHARES_0, -SMALLEST, found, counts, most)
        if low.shape[0] > 0 and high.shape[0] > 0:
            scan_range(begin, end, open_, low, high, RANGE_OPEN, RANGE_TOLERANCE, found, counts, most)
            scan_range(begin, end, close, low, high, RANGE_CLOSE, RANGE_TOLERANCE, found, counts, most)
            scan_range(begin, end, vwap, low, high, RANGE_VWAP, RANGE_TOLERANCE, found, counts, most)
        fingerprints(begin, end, returns, first % ROWS_OF_A_QUARTER, sums_before, nonzero_before, sums, nonzero)
    flags = ODD if any_odd_day(days, usual, tally) else 0
    return flags | said_of(found, days, counts, told)


@njit(cache=True, nogil=True)
def said_of(found: Found, days: Counts, counts: Counts, told: NDArray[np.bool_]) -> int:
    """Give the bits about what was found, and put the days into its rows."""
    flags = 0
    for code in range(len(counts) + MADE):
        if counts[code]:
            flags |= SOME | (LOUD if told[code] else 0)
    if counts[INFERRED]:
        return flags | DECIDED
    for at in range(counts[WRITTEN]):
        found[at, 1] = days[found[at, 1]]
        if at and not in_order(found[at - 1], found[at]):
            flags |= UNSORTED
    return flags


@njit(cache=True, nogil=True)
def in_order(one: NDArray[np.int32], other: NDArray[np.int32]) -> bool:
    """Whether a row found stands before another in the order of days, kinds and names."""
    if one[1] != other[1]:
        return bool(one[1] < other[1])
    return bool(one[0] < other[0] or (one[0] == other[0] and one[2] <= other[2]))


@njit(cache=True, nogil=True)
def any_odd_day(days: Counts, usual: int, tally: Tally) -> bool:
    """Whether a new day may have half of the names, returns in percent, or lies in a weekend."""
    present, big, known, most = tally[PRESENT], tally[BIG], tally[KNOWN], np.int64(usual)
    for t in range(len(days)):
        most = max(most, present[t])
        if present[t] < HALF_OF_NAMES * most or (days[t] + 3) % 7 >= 5:
            return True
        if known[t] >= LEAST_NAMES and big[t] > SHARE_OF_BIG * known[t]:
            return True
    return False


@njit(cache=True, nogil=True)
def fingerprints(
    begin: int, end: int, returns: Array, place: int, before: Array, nonzero_before: Runs, sums: Array, nonzero: Runs
) -> None:
    """Sum returns times weights over rows from a place of the quarter on, and count those that are not zero.

    Equal series have equal sums. `before` are those of the rows before; it may be `sums` itself.
    """
    for t in range(begin, end):
        weight = ROOTS[place + t]
        so_far, n_so_far = (before, nonzero_before) if t == 0 else (sums, nonzero)
        for j in range(returns.shape[1]):
            r = returns[t, j]
            sums[j] = so_far[j] + (weight * r if r == r else 0.0)
        for j in range(returns.shape[1]):
            r = returns[t, j]
            nonzero[j] = n_so_far[j] + np.uint8((r == r) & (r != 0.0))


@njit(cache=True, nogil=True)
def scan_one(
    begin: int, end: int, values: Array, code: int, least: float, found: Found, counts: Counts, most: Counts
) -> None:
    """Look for values at or below a least one."""
    if values.shape[0] == 0:
        return
    for t in range(begin, end):
        some = False
        for j in range(values.shape[1]):
            some |= values[t, j] <= least
        if some:
            for j in range(values.shape[1]):
                if values[t, j] <= least:
                    note(code, t, j, found, counts, most)


@njit(cache=True, nogil=True)
def scan_range(
    begin: int, end: int, price: Array, low: Array, high: Array, code: int, tolerance: float, found: Found,
    counts: Counts, most: Counts,
) -> None:  # fmt: skip
    """Look for prices outside low to high."""
    if price.shape[0] == 0:
        return
    up, down = 1.0 + tolerance, 1.0 - tolerance
    for t in range(begin, end):
        some = False
        for j in range(price.shape[1]):
            some |= (price[t, j] > high[t, j] * up) | (price[t, j] < low[t, j] * down)
        if some:
            for j in range(price.shape[1]):
                if price[t, j] > high[t, j] * up or price[t, j] < low[t, j] * down:
                    note(code, t, j, found, counts, most)
