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
from factors.panel.splits import Splits

Array = NDArray[np.float64]
Arrays = dict[str, NDArray[Any]]
Days = NDArray[np.datetime64]

RANGE_TOLERANCE = 1e-4
"""Rounded and adjusted prices differ by so much."""
COUNTS_KEPT = 10
LEAST_COUNTS = 3
HALF, LEAST_NAMES, SHARE_OF_BIG = k.HALF_OF_NAMES, k.LEAST_NAMES, k.SHARE_OF_BIG
ENDED_ROWS = 5
MOST_DAYS_APART = 3.0
"""Daily dates are 1.4 calendar days apart, weekly ones 7."""
ROWS_OF_A_QUARTER, LEAST_COMPARED = 63, 40
"""Series are compared quarter by quarter, and over so many returns that are not zero at least."""
ROOTS = np.sqrt(np.arange(2.0, ROWS_OF_A_QUARTER + 2.0))
LOW = ("low", k.LOW_0)
PRICES = (("open", k.OPEN_0), ("high", k.HIGH_0), ("vwap", k.VWAP_0))
RANGES = (("open", k.RANGE_OPEN), ("close", k.RANGE_CLOSE), ("vwap", k.RANGE_VWAP))
NOTHING = np.empty((0, 0))
NO_ROWS = np.empty((0, 3), dtype=np.int32)
_OF_THREAD = threading.local()
EPOCH = dt.date(1970, 1, 1).toordinal()
NO_SPLITS = Splits(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0), np.empty(0, np.bool_))
TOLD = [code for code, (kind, _) in enumerate(k.CODES) if KINDS[kind].severity != "info"]
ERRORS = [code for code, (kind, _) in enumerate(k.CODES) if KINDS[kind].severity == "error"]


class Watch:
    """What has been seen of a panel and what looked wrong in it.

    A batch is the same look as one day after another: the same rows are found.
    """

    # What a watch of nothing has; a day makes a new watch, and none of these is changed.
    _carried = np.empty((len(k.CARRIED), 0))
    _counts: k.Counts = np.zeros(len(k.CODES), dtype=np.int64)
    _rows = NO_ROWS
    """Rows of (code, day since 1970, column or -1)."""
    _recent: k.Counts = np.zeros(0, dtype=np.int64)
    _span: k.Counts = np.zeros(3, dtype=np.int64)
    """First and last day, and rows."""
    _sums, _nonzero = np.zeros(0), np.zeros(0, dtype=np.int64)
    """Of the running quarter: sums of weighted returns, and the returns that are not zero."""
    _said: tuple[tuple[object, ...], tuple[str, ...]] = ((), ())
    unseen_splits = NO_SPLITS

    def after(self, dates: Days, fields: Mapping[str, Array], n_assets: int) -> Watch:
        """Look at the next days and give the watch after them; this one stays as it is.

        Parameters
        ----------
        dates : datetime64[D] [n_new]
        fields : mapping to float64 [n_new, n_assets]
            Columns of assets that are not known yet stand at the end.
        n_assets : int
        """
        seen = Watch()
        seen._carried = _widened(self._carried, n_assets)
        seen._said = self._said
        seen._counts = self._counts.copy()
        days = dates.astype("datetime64[D]").astype(np.int64)
        first = int(self._span[2])
        seen._span = np.array([self._span[0] if first else days[0], days[-1], first + len(days)])
        absent = [name for name in ("returns", "market_cap") if name not in fields]
        if absent:
            fields = {**fields, **{name: np.full((len(days), n_assets), np.nan) for name in absent}}
        found, counts = seen._scan(first, fields, len(days))
        rows = found[: counts[-1]]
        seen.unseen_splits = seen._splits(rows, fields, self)
        if seen.unseen_splits.raw_prices.any():
            rows = seen._told(rows)
        rows[:, 1] = days[rows[:, 1]]
        present, big, known = seen._present
        whole = seen._of_days(days, self._recent, present, big, known)
        alike = seen._alike(fields["returns"], days, first, self)
        whole = np.concatenate([whole, alike]) if len(alike) else whole
        seen._recent = np.concatenate([self._recent, present])[-COUNTS_KEPT:]
        seen._rows = self._rows
        if len(rows) or len(whole):
            new = np.concatenate([rows, whole])
            # In the order of days, so that a batch and single days agree.
            seen._rows = np.concatenate([self._rows, new[np.lexsort((new[:, 2], new[:, 0], new[:, 1]))]])
        return seen

    def _splits(self, rows: NDArray[np.int32], fields: Mapping[str, Array], before: Watch) -> Splits:
        """Give the splits that shares tell of, and whether closes jumped with them."""
        if not len(rows) or not (rows[:, 0] == k.INFERRED).any():
            return NO_SPLITS
        at = rows[rows[:, 0] == k.INFERRED].astype(np.int64)
        t, j = at[:, 1], at[:, 2]

        def step(name: str, carried: int) -> Array:
            if name not in fields or not len(t):
                return np.full(len(t), np.nan)
            held = before._carried[carried] if before._carried.size else np.empty(0)
            earlier = np.where(t > 0, fields[name][t - 1, j], np.append(held, np.nan)[np.minimum(j, len(held))])
            return np.asarray(fields[name][t, j] / earlier)

        ratios = step("shares", k.P_SHARES)
        moved = step("close", k.P_CLOSE_2) / (1.0 + fields["returns"][t, j]) * ratios
        return Splits(t, j, ratios, np.abs(moved - 1.0) <= k.PRICE_GAP)

    def _told(self, rows: NDArray[np.int32]) -> NDArray[np.int32]:
        """Leave out closes that moved in a split that the shares tell of."""
        if not len(rows):
            return rows
        cells = {(int(t), int(j)) for t, j, raw in zip(*self._where, strict=True) if raw}
        about = (rows[:, 0] == k.SPLIT) | (rows[:, 0] == k.PRICE)
        told = about & np.array([(int(t), int(j)) in cells for _, t, j in rows])
        for code in rows[told, 0]:
            self._counts[code] -= 1
        kept: NDArray[np.int32] = rows[~told]
        return kept

    @property
    def _where(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
        return self.unseen_splits.rows, self.unseen_splits.columns, self.unseen_splits.raw_prices

    def lines(self, symbols: tuple[str, ...], labels: Mapping[str, tuple[str, ...]]) -> list[str]:
        """Give a line for each thing found that is no mere information; costs little beside a day."""
        told, spacing = self._counts[TOLD], self._spacing()
        about = (told.tobytes(), symbols, *(labels[name] for name in CLASSIFICATIONS if name in labels))
        # On most days nothing is found and nobody joins: what was said the day before still stands.
        last, said = self._said
        same = len(last) == len(about) and all(a is b for a, b in zip(about[1:], last[1:], strict=True))
        if not spacing and same and about[0] == last[0]:
            return list(said)
        found = [variants("symbol_variants", symbols)]
        found += [variants("label_variants", labels[name], name) for name in CLASSIFICATIONS if name in labels]
        found += [self._finding(TOLD[at], symbols, ROWS_IN_A_LINE) for at in np.flatnonzero(told).tolist()]
        lines = QualityReport.of([*found, *spacing], "", "").lines
        self._said = (about, tuple(lines))
        return lines

    def since(self, before: Watch) -> bool:
        """Whether an error was found after another watch of the same panel."""
        return bool((self._counts[ERRORS] > before._counts[ERRORS]).any())

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
        kind, field = k.CODES[code]
        rows = self._rows[self._rows[:, 0] == code][:most]
        named = [(_day(day), symbols[column] if column >= 0 else None) for _, day, column in rows.tolist()]
        return Finding.of(kind, named, field=field, n_rows=int(self._counts[code]))

    def _spacing(self) -> list[Finding]:
        first, last, n_rows = (int(number) for number in self._span)
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
        if "sums" in state:  # a state of an earlier version has none
            watch._sums, watch._nonzero = np.array(state["sums"]), np.array(state["nonzero"])
        return watch

    def _scan(self, first: int, fields: Mapping[str, Array], n_new: int) -> tuple[k.Found, k.Counts]:
        """Run the kernels over the new rows; rows of `found` are numbers of the new ones."""
        counts = np.zeros(len(k.CODES) + 1, dtype=np.int64)
        counts[:-1] = self._counts
        found = _scratch()
        taken = {name: _plain(fields[name]) for name in k.LOOKED_AT if name in fields}
        returns, cap, close, volume = (
            taken.get(name, NOTHING) for name in ("returns", "market_cap", "close", "volume")
        )
        # The cap is of raw prices and shares.
        raw_close, raw_shares = (
            _plain(fields[f"raw_{name}"]) if f"raw_{name}" in fields else taken.get(name, NOTHING)
            for name in ("close", "shares")
        )
        given = "split_ratio" in fields or "adjustment_factor" in fields
        present, big, known = (np.zeros(n_new, np.int64) for _ in range(3))
        self._present = present, big, known
        most = MAX_ROWS
        k.scan_prices(first, returns, close, volume, self._carried, found, counts, most)
        k.scan_caps(
            first, returns, cap, raw_close, raw_shares, given, self._carried, present, big, known, found, counts, most
        )
        # Where low is above 0 the day's range tells of the other prices.
        for name, code in (LOW,) if "low" in taken else PRICES:
            if name in taken:
                k.scan_one(taken[name], code, 0.0, found, counts, most)
        for name, code in (("volume", k.VOLUME_0), ("shares", k.SHARES_0)):
            if name in taken:
                k.scan_one(taken[name], code, -np.finfo(np.float64).tiny, found, counts, most)
        if "high" in taken and "low" in taken:
            for name, code in RANGES:
                if name in taken:
                    k.scan_range(taken[name], taken["low"], taken["high"], code, RANGE_TOLERANCE, found, counts, most)
        self._counts = counts[:-1].copy()
        return found, counts

    def _of_days(
        self, days: NDArray[np.int64], recent: k.Counts, present: k.Counts, big: k.Counts, known: k.Counts
    ) -> NDArray[np.int32]:
        """Find days with half of the names, returns in percent, and days of a weekend."""
        counted = np.concatenate([recent, present])
        if not k.any_odd_day(days, counted, big, known):
            return NO_ROWS
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
        return self._counted(rows)

    def _alike(self, returns: Array, days: NDArray[np.int64], first: int, before: Watch) -> NDArray[np.int32]:
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
        return self._counted(found)

    def _counted(self, rows: list[tuple[int, int, int]]) -> NDArray[np.int32]:
        if not rows:
            return NO_ROWS
        kept = []
        for row in rows:
            if self._counts[row[0]] < MAX_ROWS:
                kept.append(row)
            self._counts[row[0]] += 1
        return np.array(kept, dtype=np.int32).reshape(-1, 3)

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


def _scratch() -> k.Found:
    """Give room for what is found, the same for each look of a thread: rows are copied out of it."""
    if not hasattr(_OF_THREAD, "found"):
        _OF_THREAD.found = np.empty((len(k.CODES) * MAX_ROWS, 3), dtype=np.int32)
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
