"""Looks at the days of a panel as they come, and keeps what it found and what the next day is compared with."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from factors.panel.meaning import CLASSIFICATIONS
from factors.panel.quality import kernel as k
from factors.panel.quality.kinds import KINDS
from factors.panel.quality.report import MAX_ROWS, ROWS_IN_A_LINE, Finding, QualityReport
from factors.panel.splits import Splits, joined

Array = NDArray[np.float64]
Arrays = dict[str, NDArray[Any]]
Days = NDArray[np.datetime64]

COUNTS_KEPT = 10
LEAST_COUNTS = 3
HALF, LEAST_NAMES, SHARE_OF_BIG = k.HALF_OF_NAMES, k.LEAST_NAMES, k.SHARE_OF_BIG
ENDED_ROWS = 5
MOST_DAYS_APART = 3.0
"""Daily dates are 1.4 calendar days apart, weekly ones 7."""
ROWS_OF_A_QUARTER, LEAST_COMPARED = 63, 40
"""Series are compared quarter by quarter, and over so many returns that are not zero at least."""
ROOTS = np.sqrt(np.arange(2.0, ROWS_OF_A_QUARTER + 2.0))
NOTHING = np.empty((0, 0))
NO_ROWS = np.empty((0, 3), dtype=np.int32)
_OF_THREAD = threading.local()
EPOCH = dt.date(1970, 1, 1).toordinal()
NO_SPLITS = Splits(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0), np.empty(0, np.bool_))
TOLD = np.array([code for code, (kind, _) in enumerate(k.CODES) if KINDS[kind].severity != "info"])
ERRORS = [code for code, (kind, _) in enumerate(k.CODES) if KINDS[kind].severity == "error"]
NONE_COUNTED: k.Counts = np.zeros(len(k.CODES), dtype=np.int64)
CELLS_OF_A_LOOK = 32_768
NO_LIMIT = 2**62
SPLITTING = [k.INFERRED, k.SPLIT, k.PRICE]
"""What decides over prices and shares, every row of it."""


def _room(counts: k.Counts) -> k.Counts:
    room = np.maximum(MAX_ROWS - counts, 0)
    room[SPLITTING] = NO_LIMIT
    return room


MOST_OF_NOTHING = _room(NONE_COUNTED)


class Watch:
    """What has been seen of a panel and what looked wrong in it.

    A batch is the same look as one day after another: the same rows are found.
    """

    # What a watch of nothing has; a day makes a new watch, and none of these is changed.
    _carried = np.empty((len(k.CARRIED), 0))
    _counts = NONE_COUNTED
    _room = MOST_OF_NOTHING
    _loud = NONE_COUNTED[TOLD]
    """Of what has a line; the same array as that of the watch before while there is nothing new."""
    _rows = NO_ROWS
    """Rows of (code, day since 1970, column or -1); of each code the first `MAX_ROWS`."""
    fresh, fresh_rows = NONE_COUNTED, NO_ROWS
    """What the last look found, whatever was found before it."""
    _recent: k.Counts = np.zeros(0, dtype=np.int64)
    _span: k.Counts = np.zeros(3, dtype=np.int64)
    """First and last day, and rows."""
    _sums, _nonzero = np.zeros(0), np.zeros(0, dtype=np.int64)
    """Of the running quarter: sums of weighted returns, and the returns that are not zero."""
    _said: tuple[tuple[Any, ...], tuple[str, ...]] = ((), ())
    unseen_splits = NO_SPLITS

    def after(self, dates: Days, fields: Mapping[str, Array], n_assets: int, *, strict: bool = False) -> Watch:
        """Look at the next days and give the watch after them; this one stays as it is.

        Parameters
        ----------
        dates : datetime64[D] [n_new]
        fields : mapping to float64 [n_new, n_assets]
            Columns of assets that are not known yet stand at the end.
        n_assets : int
        strict : bool
            Every kind of error gets rows of these days too, however many of it were found before.
        """
        step = max(CELLS_OF_A_LOOK // n_assets, 1)
        if len(dates) <= step:
            return self._after(dates, fields, n_assets, strict)
        watch, parts = self, []
        for start in range(0, len(dates), step):
            some = slice(start, start + step)
            part = {name: values[some] for name, values in fields.items()}
            watch = watch._after(dates[some], part, n_assets, strict)
            parts.append((start, watch))
        watch.fresh = np.sum([part.fresh for _, part in parts], axis=0)
        watch.fresh_rows = np.concatenate([part.fresh_rows for _, part in parts])
        watch.unseen_splits = joined([(part.unseen_splits, start) for start, part in parts])
        return watch

    def _after(self, dates: Days, fields: Mapping[str, Array], n_assets: int, strict: bool) -> Watch:
        seen = Watch()
        seen._carried = _widened(self._carried, n_assets)
        seen._said, seen._loud, seen._room = self._said, self._loud, self._room
        seen._counts, seen._rows = self._counts, self._rows
        days = dates.astype("datetime64[D]").astype(np.int64)
        first = int(self._span[2])
        seen._span = np.array([self._span[0] if first else days[0], days[-1], first + len(days)])
        if "returns" not in fields or "market_cap" not in fields:
            nothing = np.full((len(days), n_assets), np.nan)
            fields = {"returns": nothing, "market_cap": nothing, **fields}
        rows, counts, whole = seen._scan(first, days, fields, self._recent, self._most(strict))
        if len(rows):
            seen.unseen_splits = _splits(rows, fields, self._carried)
            if seen.unseen_splits.raw_prices.any():
                rows = seen._told(rows, counts)
            rows[:, 1] = days[rows[:, 1]]
        whole += seen._alike(fields["returns"], days, first, self)
        if whole or counts.any():
            seen._take(rows, counts, whole)
        return seen

    def _most(self, strict: bool) -> k.Counts:
        """Give how many rows of each kind the next look writes down: what `_rows` has room for, and what is decided by.

        The same array while nothing is found.
        """
        if strict:
            most = self._room.copy()
            most[ERRORS] = np.maximum(most[ERRORS], MAX_ROWS)
            return most
        return self._room

    def _take(self, rows: NDArray[np.int32], counts: k.Counts, whole: list[tuple[int, int, int]]) -> None:
        """Add what one look found, in the order of days, so that a batch and single days agree."""
        if whole:
            rows = np.concatenate([rows, np.array(whole, dtype=np.int32)])
            counts += np.bincount([code for code, *_ in whole], minlength=len(k.CODES))
        before, self._counts = self._counts, self._counts + counts
        self.fresh = counts
        if counts[TOLD].any():
            self._loud = self._counts[TOLD]
        if not len(rows):
            return  # of these kinds the rows are full: on most days that is all
        self.fresh_rows = rows = rows[np.lexsort((rows[:, 2], rows[:, 0], rows[:, 1]))]
        self._room = _room(self._counts)
        if (self._counts > MAX_ROWS).any():
            kept = np.ones(len(rows), dtype=np.bool_)
            for code in np.unique(rows[:, 0]).tolist():
                kept[np.flatnonzero(rows[:, 0] == code)[max(MAX_ROWS - int(before[code]), 0) :]] = False
            rows = rows[kept]
        self._rows = np.concatenate([self._rows, rows])

    def _told(self, rows: NDArray[np.int32], counts: k.Counts) -> NDArray[np.int32]:
        """Leave out closes that moved in a split that the shares tell of."""
        cells = {(int(t), int(j)) for t, j, raw in zip(*self._where, strict=True) if raw}
        about = (rows[:, 0] == k.SPLIT) | (rows[:, 0] == k.PRICE)
        told = about & np.array([(int(t), int(j)) in cells for _, t, j in rows])
        for code in rows[told, 0]:
            counts[code] -= 1
        kept: NDArray[np.int32] = rows[~told]
        return kept

    @property
    def _where(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
        return self.unseen_splits.rows, self.unseen_splits.columns, self.unseen_splits.raw_prices

    def lines(self, symbols: tuple[str, ...], labels: Mapping[str, tuple[str, ...]]) -> list[str]:
        """Give a line for each thing found that is no mere information; costs little beside a day."""
        spacing = self._spacing()
        about = (self._loud, symbols, *[labels[name] for name in CLASSIFICATIONS if name in labels])
        # On most days nothing is found and nobody joins: what was said the day before still stands.
        last, said = self._said
        same = len(last) == len(about) and all(a is b for a, b in zip(about[1:], last[1:], strict=True))
        if not spacing and same and about[0] is last[0]:
            return list(said)
        found = [variants("symbol_variants", symbols)]
        found += [variants("label_variants", labels[name], name) for name in CLASSIFICATIONS if name in labels]
        found += [self._finding(int(TOLD[at]), symbols, ROWS_IN_A_LINE) for at in np.flatnonzero(self._loud).tolist()]
        lines = QualityReport.of([*found, *spacing], "", "").lines
        self._said = (about, tuple(lines))
        return lines

    def refuse_new_errors(self, symbols: tuple[str, ...]) -> None:
        """Raise the first error that the last look found, however many of its kind were found before.

        Raises
        ------
        QualityError
        """
        codes = [code for code in ERRORS if self.fresh[code]]
        found = [_finding(code, int(self.fresh[code]), self.fresh_rows, symbols) for code in codes]
        QualityReport.of(found, "", "").refuse_errors()

    def report(
        self, symbols: tuple[str, ...], labels: Mapping[str, tuple[str, ...]], read: tuple[Finding, ...] = ()
    ) -> QualityReport:
        """Give what was found, with what was found in names, and while the table was read."""
        found = [*read, variants("symbol_variants", symbols), *self._ended(symbols)]
        found += [variants("label_variants", labels[name], name) for name in CLASSIFICATIONS if name in labels]
        found += [self._finding(code, symbols) for code in np.flatnonzero(self._counts).tolist()]
        first, last = (_day(int(day)) for day in self._span[:2])
        return QualityReport.of([*found, *self._spacing()], first, last)

    def _finding(self, code: int, symbols: tuple[str, ...], most: int = MAX_ROWS) -> Finding:
        return _finding(code, int(self._counts[code]), self._rows, symbols, most)

    def _spacing(self) -> list[Finding]:
        first, last, n_rows = self._span.tolist()
        apart = (last - first) / max(n_rows - 1, 1)
        if apart <= MOST_DAYS_APART:
            return []
        note = f"{n_rows} dates, {apart:.1f} calendar days apart: {365.25 / apart:.0f} a year"
        return [Finding.of("not_daily", [(_day(first), None)], note=note)]

    def state(self) -> Arrays:
        """Give everything as arrays."""
        return {
            "carried": self._carried,
            "counts": self._counts,
            "rows": self._rows,
            "recent": self._recent,
            "span": self._span,
            "sums": self._sums,
            "nonzero": self._nonzero,
        }

    @classmethod
    def restored(cls, state: Mapping[str, NDArray[Any]]) -> Watch:
        """Take up what `state` gave."""
        watch = cls()
        watch._carried, watch._counts, watch._rows, watch._recent, watch._span = (
            np.array(state[name]) for name in ("carried", "counts", "rows", "recent", "span")
        )
        watch._loud, watch._room = watch._counts[TOLD], _room(watch._counts)
        if "sums" in state:  # a state of an earlier version has none
            watch._sums, watch._nonzero = np.array(state["sums"]), np.array(state["nonzero"])
        return watch

    def _scan(
        self, first: int, days: NDArray[np.int64], fields: Mapping[str, Array], recent: k.Counts, most: k.Counts
    ) -> tuple[k.Found, k.Counts, list[tuple[int, int, int]]]:
        """Run the kernels over the new rows; give rows of names (by number of the new ones), counts, and odd days."""
        n_new = len(days)
        counts, tally = np.zeros(len(k.CODES) + 1, dtype=np.int64), np.zeros((3, n_new), np.int64)
        found = _scratch(n_new * self._carried.shape[1])
        returns, cap, open_, high, low, close, vwap, volume, shares = (
            _plain(fields[name]) if name in fields else NOTHING for name in k.LOOKED_AT
        )
        # The cap is of raw prices and shares.
        raw_close = _plain(fields["raw_close"]) if "raw_close" in fields else close
        raw_shares = _plain(fields["raw_shares"]) if "raw_shares" in fields else shares
        given = "split_ratio" in fields or "adjustment_factor" in fields
        odd = k.scan(
            first, days, recent, returns, cap, open_, high, low, close, vwap, volume, shares, raw_close, raw_shares,
            given, self._carried, tally[0], tally[1], tally[2], found, counts, most,
        )  # fmt: skip
        self._recent = np.concatenate([recent, tally[0]])[-COUNTS_KEPT:]
        whole = _of_days(days, recent, *tally) if odd else []
        return found[: counts[-1]], counts[:-1], whole

    def _alike(self, returns: Array, days: NDArray[np.int64], first: int, before: Watch) -> list[tuple[int, int, int]]:
        """Find names whose returns are equal through a quarter, by sums that are carried; rows count from the first."""
        n_new = returns.shape[1] - len(before._sums)
        self._sums = np.append(before._sums, np.zeros(n_new)) if n_new else before._sums.copy()
        self._nonzero = np.append(before._nonzero, np.zeros(n_new, np.int64)) if n_new else before._nonzero.copy()
        found, at, returns = list[tuple[int, int, int]](), 0, _plain(returns)
        while at < len(returns):
            place = (first + at) % ROWS_OF_A_QUARTER
            n = min(ROWS_OF_A_QUARTER - place, len(returns) - at)
            k.fingerprints(returns[at : at + n], ROOTS[place : place + n], self._sums, self._nonzero)
            at += n
            if place + n == ROWS_OF_A_QUARTER:
                pairs = equal_pairs(self._sums, self._nonzero)
                known = {*before._rows[before._rows[:, 0] == k.SAME, 2].tolist(), *(column for *_, column in found)}
                new = sorted({column for pair in pairs for column in pair} - known)
                found += [(k.SAME, int(days[at - 1]), column) for column in new]
                self._sums[:], self._nonzero[:] = 0.0, 0
        return found

    def _ended(self, symbols: tuple[str, ...]) -> list[Finding]:
        """Find histories that end some rows before the last one."""
        seen = np.fmax(self._carried[k.P_RETURN_ROW], self._carried[k.P_CAP_ROW])
        n_rows = int(self._span[2])
        gone = np.flatnonzero(seen < n_rows - 1 - ENDED_ROWS)
        return [Finding.of("history_ends", [(None, symbols[column]) for column in gone.tolist()])]


_LOOKED_AT: dict[tuple[str, str | None], tuple[tuple[str, ...], Finding]] = {}
"""What was found last of a kind: mostly the very same names are asked about again, a day later."""


def variants(kind: str, names: tuple[str, ...], field: str | None = None) -> Finding:
    """Find names that differ only by case or blanks, or that begin or end with a blank."""
    last = _LOOKED_AT.get((kind, field))
    if last is None or last[0] is not names:
        last = _LOOKED_AT[kind, field] = (names, _variants(kind, names, field))
    return last[1]


@lru_cache(maxsize=32)
def _variants(kind: str, names: tuple[str, ...], field: str | None) -> Finding:
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault("".join(name.split()).casefold(), []).append(name)
    several = [group for group in groups.values() if len(group) > 1]
    found = {name for group in several for name in group} | {name for name in names if name != name.strip()}
    note = "; ".join(" = ".join(map(repr, group)) for group in several)
    return Finding.of(kind, [(None, name) for name in found], field=field, note=note[:200])


def _scratch(cells: int) -> k.Found:
    """Give room for what is found in so many values, the same for each look of a thread: rows are copied out of it."""
    needed = len(k.CODES) * MAX_ROWS + len(SPLITTING) * max(cells, CELLS_OF_A_LOOK)
    if not hasattr(_OF_THREAD, "found") or len(_OF_THREAD.found) < needed:
        _OF_THREAD.found = np.empty((needed, 3), dtype=np.int32)
    found: k.Found = _OF_THREAD.found
    return found


def _plain(values: Array) -> Array:
    """Give an array that the kernels take without being compiled again."""
    return values if values.flags.carray else np.array(values, order="C")


def equal_pairs(sums: Array, nonzero: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Give neighbours in the order of their sums that are equal, of columns with enough returns that are not zero."""
    order = np.lexsort((nonzero, sums))
    same = (np.diff(sums[order]) == 0.0) & (np.diff(nonzero[order]) == 0) & (nonzero[order][1:] >= LEAST_COMPARED)
    return [(int(order[at]), int(order[at + 1])) for at in np.flatnonzero(same)]


def _widened(values: Array, n_assets: int) -> Array:
    """Copy what is carried onto a longer asset axis."""
    if values.shape[1] == n_assets:
        return values.copy()
    wide = np.full((len(values), n_assets), np.nan)
    wide[:, : values.shape[1]] = values
    return wide


def _day(number: int) -> str:
    return dt.date.fromordinal(EPOCH + number).isoformat()


def _splits(rows: NDArray[np.int32], fields: Mapping[str, Array], before: Array) -> Splits:
    """Give the splits that shares tell of, and whether closes jumped with them; `before` is what was carried."""
    if not len(rows) or not (rows[:, 0] == k.INFERRED).any():
        return NO_SPLITS
    at = rows[rows[:, 0] == k.INFERRED].astype(np.int64)
    t, j = at[:, 1], at[:, 2]

    def step(name: str, carried: int) -> Array:
        if name not in fields or not len(t):
            return np.full(len(t), np.nan)
        held = before[carried] if before.size else np.empty(0)
        earlier = np.where(t > 0, fields[name][t - 1, j], np.append(held, np.nan)[np.minimum(j, len(held))])
        return np.asarray(fields[name][t, j] / earlier)

    ratios = step("shares", k.P_SHARES)
    moved = step("close", k.P_CLOSE_2) / (1.0 + fields["returns"][t, j]) * ratios
    return Splits(t, j, ratios, np.abs(moved - 1.0) <= k.PRICE_GAP)


def _of_days(
    days: NDArray[np.int64], recent: k.Counts, present: k.Counts, big: k.Counts, known: k.Counts
) -> list[tuple[int, int, int]]:
    """Find days with half of the names, returns in percent, and days of a weekend."""
    counted = np.concatenate([recent, present])
    # Few days have half of the most names so far; of those the median of the days before decides.
    most = np.maximum.accumulate(counted)[len(recent) :]
    percent = (known >= LEAST_NAMES) & (big > SHARE_OF_BIG * known)
    weekend = (days + 3) % 7 >= 5  # 1970-01-01 was a Thursday
    few = present < HALF * most
    rows: list[tuple[int, int, int]] = []
    for number in np.flatnonzero(few).tolist():
        at = len(recent) + number
        usual = counted[max(at - COUNTS_KEPT, 0) : at]
        if len(usual) >= LEAST_COUNTS and present[number] < HALF * np.median(usual):
            rows.append((k.HALF, int(days[number]), -1))
    rows += [(k.PERCENT, day, -1) for day in days[percent].tolist()]
    rows += [(k.WEEKEND, day, -1) for day in days[weekend].tolist()]
    return rows


def _finding(
    code: int, n_rows: int, rows: NDArray[np.int32], symbols: tuple[str, ...], most: int = MAX_ROWS
) -> Finding:
    kind, field = k.CODES[code]
    named = [(_day(day), symbols[at] if at >= 0 else None) for _, day, at in rows[rows[:, 0] == code][:most].tolist()]
    return Finding.of(kind, named, field=field, n_rows=n_rows)
