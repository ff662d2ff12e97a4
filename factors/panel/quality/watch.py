"""Looks at the days of a panel as they come, and keeps what it found and what the next day is compared with."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from factors.panel.meaning import CLASSIFICATIONS, IDENTITIES
from factors.panel.quality import kernel as k
from factors.panel.quality.kinds import KINDS
from factors.panel.quality.report import MAX_ROWS, ROWS_IN_A_LINE, Finding, QualityReport
from factors.panel.splits import NO_SPLITS, Splits, joined

Array = NDArray[np.float64]
T = TypeVar("T", bound=np.generic)
Arrays = dict[str, NDArray[Any]]
Days = NDArray[np.datetime64]

COUNTS_KEPT = 10
LEAST_COUNTS = 3
HALF, LEAST_NAMES, SHARE_OF_BIG = k.HALF_OF_NAMES, k.LEAST_NAMES, k.SHARE_OF_BIG
ENDED_ROWS = 5
MOST_DAYS_APART = 3.0
"""Daily dates are 1.4 calendar days apart, weekly ones 7."""
ROWS_OF_A_QUARTER, LEAST_COMPARED = k.ROWS_OF_A_QUARTER, 40
"""Series are compared over so many returns that are not zero at least."""
NOTHING = np.empty((0, 0))
NO_ROWS = np.empty((0, 3), dtype=np.int32)
DAY = np.dtype("datetime64[D]")
LABELLED = (*CLASSIFICATIONS, *IDENTITIES)
EPOCH = dt.date(1970, 1, 1).toordinal()
HAS_LINE = np.array([KINDS[kind].severity != "info" for kind, _ in k.CODES])
TOLD = np.flatnonzero(HAS_LINE)
ERRORS = [code for code, (kind, _) in enumerate(k.CODES) if KINDS[kind].severity == "error"]
NONE_COUNTED: k.Counts = np.zeros(len(k.CODES), dtype=np.int64)
CELLS_OF_A_LOOK = 262_144
NO_LIMIT = 2**62
SPLITTING = [k.INFERRED, k.SPLIT, k.PRICE]
"""What decides over prices and shares, every row of it."""
LEAST_ROOM = np.zeros(len(k.CODES), dtype=np.int64)
LEAST_ROOM[SPLITTING] = NO_LIMIT
"""How many rows of each kind a look writes down, however many there were before; else what is left of `MAX_ROWS`."""
LEAST_ROOM_OF_STRICT = LEAST_ROOM.copy()
LEAST_ROOM_OF_STRICT[ERRORS] = np.maximum(LEAST_ROOM_OF_STRICT[ERRORS], MAX_ROWS)
MOST_PARTS = 64
"""Rows found by so many looks are put together, when nobody asked for them before."""


class Watch:
    """What has been seen of a panel and what looked wrong in it.

    A batch is the same look as one day after another: the same rows are found.
    """

    # What a watch of nothing has; a day makes a new watch, and none of these is changed.
    _away = np.empty((len(k.AWAY), 0))
    """What is kept of names that are away; of those that are there `_last` tells."""
    _last: k.Last = NOTHING, NOTHING, NOTHING, NOTHING, NOTHING
    """The last row of what the next one is compared with: the arrays that came in, which nobody changes."""
    _run: k.Runs = np.zeros(0, dtype=np.uint8)
    """Rows for which the close has stood still."""
    _counts = NONE_COUNTED
    _loud = NONE_COUNTED[TOLD]
    """Of what has a line; the same array as that of the watch before while there is nothing new."""
    _parts: tuple[NDArray[np.int32], ...] = (NO_ROWS,)
    """What each look found: rows of (code, day since 1970, column or -1); of each code the first `MAX_ROWS`."""
    fresh, fresh_rows = NONE_COUNTED, NO_ROWS
    """What the last look found, whatever was found before it."""
    _recent: tuple[int, ...] = ()
    """Names of the last days."""
    _span = (0, 0, 0)
    """First and last day, and rows."""
    _sums, _nonzero = np.zeros(0), np.zeros(0, dtype=np.uint8)
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
        step, first, start = max(CELLS_OF_A_LOOK // n_assets, 1), self._span[2], 0
        if len(dates) <= min(step, ROWS_OF_A_QUARTER - first % ROWS_OF_A_QUARTER):
            return self._after(dates, fields, n_assets, strict)
        watch, parts = self, []
        while start < len(dates):  # a look ends where a quarter does
            some = slice(start, start + min(step, ROWS_OF_A_QUARTER - (first + start) % ROWS_OF_A_QUARTER))
            part = {name: values[some] for name, values in fields.items()}
            watch = watch._after(dates[some], part, n_assets, strict)
            parts.append((start, watch))
            start = some.stop
        watch.fresh = np.sum([part.fresh for _, part in parts], axis=0)
        watch.fresh_rows = np.concatenate([part.fresh_rows for _, part in parts])
        watch.unseen_splits = joined([(part.unseen_splits, start) for start, part in parts])
        return watch

    def _after(self, dates: Days, fields: Mapping[str, Array], n_assets: int, strict: bool) -> Watch:
        seen = Watch()
        seen._away = _widened(self._away, n_assets)
        seen._said, seen._loud = self._said, self._loud
        seen._counts, seen._parts = self._counts, self._parts
        days = (dates if dates.dtype == DAY else dates.astype(DAY)).view(np.int64)
        first = self._span[2]
        seen._span = (self._span[0] if first else int(days[0]), int(days[-1]), first + len(days))
        if "returns" not in fields or "market_cap" not in fields:
            nothing = np.full((len(days), n_assets), np.nan)
            fields = {"returns": nothing, "market_cap": nothing, **fields}
        flags, rows, counts, whole = seen._scan(first, days, fields, self, strict)
        if flags & k.DECIDED:
            seen.unseen_splits = _splits(rows, fields, self._last)
            if seen.unseen_splits.raw_prices.any():
                rows = seen._told(rows, counts)
            rows[:, 1] = days[rows[:, 1]]
        if seen._span[2] % ROWS_OF_A_QUARTER == 0:
            whole += seen._alike(int(days[-1]))
        if whole or flags & k.SOME:
            seen._take(rows, counts, whole, flags)
        return seen

    @property
    def _rows(self) -> NDArray[np.int32]:
        if len(self._parts) > 1:
            self._parts = (np.concatenate(self._parts),)
        return self._parts[0]

    def _take(self, rows: NDArray[np.int32], counts: k.Counts, whole: list[tuple[int, int, int]], flags: int) -> None:
        """Add what one look found, in the order of days, so that a batch and single days agree."""
        if whole:
            rows = np.concatenate([rows, np.array(whole, dtype=np.int32)])
            counts = counts + np.bincount([code for code, *_ in whole], minlength=len(k.CODES))
        before, self._counts = self._counts, self._counts + counts
        self.fresh = counts
        if whole or flags & k.LOUD:
            self._loud = self._counts[TOLD]
        if not len(rows):
            return  # of these kinds the rows are full: on most days that is all
        if whole or flags & (k.DECIDED | k.UNSORTED):
            rows = rows[np.lexsort((rows[:, 2], rows[:, 0], rows[:, 1]))]
        self.fresh_rows = rows
        if (whole or flags & (k.DECIDED | k.LOUD)) and self._counts.max() > MAX_ROWS:  # else there was room
            kept = np.ones(len(rows), dtype=np.bool_)
            for code in np.unique(rows[:, 0]).tolist():
                kept[np.flatnonzero(rows[:, 0] == code)[max(MAX_ROWS - int(before[code]), 0) :]] = False
            rows = rows[kept]
        parts = (*self._parts, rows)
        self._parts = parts if len(parts) <= MOST_PARTS else (np.concatenate(parts),)

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
        about = (self._loud, symbols, *[labels[name] for name in LABELLED if name in labels])
        # On most days nothing is found and nobody joins: what was said the day before still stands.
        last, said = self._said
        same = len(last) == len(about) and all(a is b for a, b in zip(about[1:], last[1:], strict=True))
        if not spacing and same and about[0] is last[0]:
            return list(said)
        found = [variants("symbol_variants", symbols)]
        found += [variants("label_variants", labels[name], name) for name in LABELLED if name in labels]
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
        found += [variants("label_variants", labels[name], name) for name in LABELLED if name in labels]
        found += [self._finding(code, symbols) for code in np.flatnonzero(self._counts).tolist()]
        first, last = (_day(day) for day in self._span[:2])
        return QualityReport.of([*found, *self._spacing()], first, last)

    def _finding(self, code: int, symbols: tuple[str, ...], most: int = MAX_ROWS) -> Finding:
        return _finding(code, int(self._counts[code]), self._rows, symbols, most)

    def _spacing(self) -> list[Finding]:
        first, last, n_rows = self._span
        apart = (last - first) / max(n_rows - 1, 1)
        if apart <= MOST_DAYS_APART:
            return []
        note = f"{n_rows} dates, {apart:.1f} calendar days apart: {365.25 / apart:.0f} a year"
        return [Finding.of("not_daily", [(_day(first), None)], note=note)]

    def state(self) -> Arrays:
        """Give everything as arrays."""
        return {
            "carried": self._carried(),
            "counts": self._counts,
            "rows": self._rows,
            "recent": np.array(self._recent, dtype=np.int64),
            "span": np.array(self._span, dtype=np.int64),
            "sums": self._sums,
            "nonzero": self._nonzero.astype(np.int64),
        }

    def _carried(self) -> Array:
        """Give what the next row is compared with, float64 [len(CARRIED), n_assets]: the form in which it is stored."""
        n, last_row = self._away.shape[1], float(self._span[2] - 1)
        nothing = np.full(n, np.nan)
        returns, cap, close, raw_close, shares = (_widened(row, n)[0] if len(row) else nothing for row in self._last)
        there = (close > 0.0, ~np.isnan(cap), ~np.isnan(returns))
        rows = (k.A_CLOSE_ROW, k.A_CAP_ROW, k.A_RETURN_ROW)
        close_row, cap_row, return_row = (
            np.where(some, last_row, self._away[row]) for some, row in zip(there, rows, strict=True)
        )
        run = np.zeros(n, dtype=np.uint8) if len(self._run) < n else self._run
        return np.stack([
            np.where(there[0], close, self._away[k.A_CLOSE]), close_row, np.where(run > 0, run, np.nan),
            np.where(run > 0, last_row, np.nan), cap, np.where(there[1], shares, np.nan),
            np.where(there[1], raw_close, np.nan), cap_row, return_row,
        ])  # fmt: skip

    @classmethod
    def restored(cls, state: Mapping[str, NDArray[Any]]) -> Watch:
        """Take up what `state` gave."""
        watch = cls()
        # A state of an earlier version counts fewer kinds.
        counts = np.array(state["counts"])
        watch._counts = np.pad(counts, (0, len(k.CODES) - len(counts)))
        watch._parts = (np.array(state["rows"]),)
        watch._recent = tuple(np.array(state["recent"]).tolist())
        first, last, n_rows = np.array(state["span"]).tolist()
        watch._span = first, last, n_rows
        close, close_row, run, run_row, cap, shares, raw_close, cap_row, return_row = np.array(state["carried"])
        watch._away = np.stack([close, close_row, cap_row, return_row])

        def of_last(values: Array | float, row: Array) -> Array:
            return np.where(row == n_rows - 1, values, np.nan)[None, :]

        watch._last = (
            of_last(0.0, return_row), of_last(cap, cap_row), of_last(close, close_row), raw_close[None, :],
            shares[None, :],
        )  # fmt: skip
        watch._run = np.nan_to_num(of_last(np.minimum(run, k.LONGEST_RUN + 1), run_row)[0]).astype(np.uint8)
        watch._loud = watch._counts[TOLD]
        if "sums" in state:  # a state of an earlier version has none
            watch._sums, watch._nonzero = np.array(state["sums"]), np.array(state["nonzero"]).astype(np.uint8)
        return watch

    def _scan(
        self, first: int, days: NDArray[np.int64], fields: Mapping[str, Array], before: Watch, strict: bool
    ) -> tuple[int, k.Found, k.Counts, list[tuple[int, int, int]]]:
        """Run the kernel over the new rows; give its bits, rows of names, counts, and odd days."""
        n_new, n = len(days), self._away.shape[1]
        room = _ROOM.of(n_new, n)
        tally, own, counts, found = room.tally, room.own, room.counts, room.found
        run, last, recent = before._run, before._last, before._recent
        if len(run) < n:
            run = _widened(run, n)
            last = tuple(_widened(row, n) if len(row) else row for row in last)  # type: ignore[assignment]
        self._run = np.empty(n, dtype=np.uint8)
        returns, cap, open_, high, low, close, vwap, volume, shares = [
            _plain(fields[name]) if name in fields else NOTHING for name in k.LOOKED_AT
        ]
        # The cap is of raw prices and shares.
        raw_close = _plain(fields["raw_close"]) if "raw_close" in fields else close
        raw_shares = _plain(fields["raw_shares"]) if "raw_shares" in fields else shares
        given = "split_ratio" in fields or "adjustment_factor" in fields
        sums, nonzero = before._sums, before._nonzero
        if len(sums) < n:
            sums, nonzero = (np.append(old, np.zeros(n - len(old), old.dtype)) for old in (sums, nonzero))
        self._sums, self._nonzero = np.empty(n), np.empty(n, dtype=np.uint8)
        flags = k.scan(
            first, days, max(recent, default=0), returns, cap, open_, high, low, close, vwap, volume, shares,
            raw_close, raw_shares, given, last, run, self._run, self._away, own, tally, found, counts, before._counts,
            LEAST_ROOM_OF_STRICT if strict else LEAST_ROOM, HAS_LINE, sums, nonzero, self._sums, self._nonzero,
        )  # fmt: skip
        self._last = returns, cap, close, raw_close, raw_shares
        if n_new > 1:  # copies, so that a row does not keep the others
            self._last = tuple(rows[-1:].copy() for rows in self._last)  # type: ignore[assignment]
        if counts[k.MADE]:
            self._away = own.copy()
        self._recent = (*recent, *tally[k.PRESENT].tolist())[-COUNTS_KEPT:]
        whole = _of_days(days, np.array(recent, dtype=np.int64), *tally) if flags & k.ODD else []
        if not flags & k.SOME:
            return flags, NO_ROWS, NONE_COUNTED, whole
        n_rows = counts.item(k.WRITTEN)
        return flags, found[:n_rows].copy() if n_rows else NO_ROWS, counts[: k.MADE].copy(), whole

    def _alike(self, day: int) -> list[tuple[int, int, int]]:
        """Find names whose returns were equal through the quarter that ends on a day, and begin the next one."""
        known = self._rows[self._rows[:, 0] == k.SAME, 2].tolist()
        new = {column for pair in equal_pairs(self._sums, self._nonzero) for column in pair}.difference(known)
        self._sums[:], self._nonzero[:] = 0.0, 0
        return [(k.SAME, day, column) for column in sorted(new)]

    def _ended(self, symbols: tuple[str, ...]) -> list[Finding]:
        """Find histories that end some rows before the last one."""
        *_, cap_row, return_row = self._carried()
        seen, n_rows = np.fmax(return_row, cap_row), self._span[2]
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


class _Room(threading.local):
    """Room for what a look finds, the same for each look of a thread: what stays is copied out of it."""

    def __init__(self) -> None:
        self.found = np.empty((0, 3), dtype=np.int32)
        self.counts = np.zeros(len(k.CODES) + 2, dtype=np.int64)
        self.tally = np.empty((3, 0), dtype=np.int64)
        self.own = np.empty((len(k.AWAY), 0))
        self.shape = (0, 0)

    def of(self, n_new: int, n_assets: int) -> _Room:
        """Give the room that so many rows of so many names need."""
        if self.shape == (n_new, n_assets):
            return self
        self.shape = n_new, n_assets
        self.tally = np.empty((3, n_new), dtype=np.int64)
        self.own = np.empty((len(k.AWAY), n_assets))
        needed = len(k.CODES) * MAX_ROWS + len(SPLITTING) * max(n_new * n_assets, CELLS_OF_A_LOOK)
        if len(self.found) < needed:
            self.found = np.empty((needed, 3), dtype=np.int32)
        return self


_ROOM = _Room()


def _plain(values: Array) -> Array:
    """Give an array that the kernels take without being compiled again."""
    return values if values.flags.carray else np.array(values, order="C")


def equal_pairs(sums: Array, nonzero: NDArray[np.integer[Any]]) -> list[tuple[int, int]]:
    """Give neighbours in the order of their sums that are equal, of columns with enough returns that are not zero."""
    enough = np.flatnonzero(nonzero >= LEAST_COMPARED)
    if (np.diff(np.sort(sums[enough])) != 0.0).all():
        return []  # as on nearly every day, and one sort is cheaper than two
    order = enough[np.lexsort((nonzero[enough], sums[enough]))]
    same = (np.diff(sums[order]) == 0.0) & (np.diff(nonzero[order]) == 0)
    return [(int(order[at]), int(order[at + 1])) for at in np.flatnonzero(same)]


def _widened(values: NDArray[T], n_assets: int) -> NDArray[T]:
    """Give values of names on a longer asset axis; themselves where they are as long."""
    n = values.shape[-1]
    if n == n_assets:
        return values
    wide = np.full((*values.shape[:-1], n_assets), np.nan if values.dtype.kind == "f" else 0, dtype=values.dtype)
    wide[..., :n] = values
    return wide


def _day(number: int) -> str:
    return dt.date.fromordinal(EPOCH + number).isoformat()


def _splits(rows: NDArray[np.int32], fields: Mapping[str, Array], last: k.Last) -> Splits:
    """Give the splits that shares tell of, and whether closes jumped with them; `last` is the row before these."""
    if not len(rows) or not (rows[:, 0] == k.INFERRED).any():
        return NO_SPLITS
    at = rows[rows[:, 0] == k.INFERRED].astype(np.int64)
    t, j = at[:, 1], at[:, 2]

    def step(name: str, row: Array) -> Array:
        if name not in fields or not len(t):
            return np.full(len(t), np.nan)
        held = row[0] if len(row) else np.empty(0)
        earlier = np.where(t > 0, fields[name][t - 1, j], np.append(held, np.nan)[np.minimum(j, len(held))])
        return np.asarray(fields[name][t, j] / earlier)

    ratios = step("shares", last[4])
    moved = step("close", last[3]) / (1.0 + fields["returns"][t, j]) * ratios
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
