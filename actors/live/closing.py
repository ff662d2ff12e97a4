"""The end of a model's running day: when it has come, the bar that is made of it, and the rows that come after it.

The journal says where a day ends: a bar of the feed, or a message on ``market_data.close.*``, which the feed or this
module puts there. What stands before that message is in the bar, what stands behind it is late; so whoever reads the
journal again makes the same bar, and finds the same rows late.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterable
from typing import Any

import numpy as np
import orjson
import polars as pl
from numpy.typing import NDArray

from actors.live.messages import Block, DayEnd
from actors.reading.features import features_panel
from actors.reading.panels import whole_panel
from actors.reading.quality import door_of
from actors.reading.slices import settings_of
from contracts.errors import EngineError, first_line
from contracts.events import token
from contracts.frames import encode, from_json
from contracts.live_call import Told
from contracts.requests import AppendDay
from factors.errors import FactorError
from factors.live import ClosedRow
from factors.panel.intake import Intake
from factors.panel.panel import Panel
from store import Version
from store.watch_store import DayRules

CLOSE, BAR, CORRECT = "market_data.close.", "market_data.bar.", "factor.in.toraniko.model_request.correct"
CLOSED_AT, REQUEST_ID = "factor-closed-at", "factor-request-id"
AGAIN_S = 5.0
"""What was told and did not come to pass is told again after so long."""
LATE_MOST = 50_000
"""Blocks of late ticks that wait for their day's commit; the oldest go first, counted."""
NAMED = 100
DAY_US = 86_400_000_000


class Closing:
    """What ends the day of one model, and what comes late.

    Attributes
    ----------
    day : int or None
        The last day that was ended, days since 1970.
    late_rows, corrections, lost : int
        Late ticks that were taken into corrections, corrections that were asked for, and late ticks that could not be
        taken.
    fault : str or None
        Why late rows were not corrected.
    """

    def __init__(self, model_id: str) -> None:
        self._model_id = model_id
        self.late_rows = self.corrections = self.lost = 0
        self.fault: str | None = None
        self._named: dict[str, None] = {}
        self._kept: list[Told] = []
        self.forget()

    def forget(self) -> None:
        """Begin anew: the journal is read again."""
        self.day: int | None = None
        self._rows: Any = None
        self._bar: Told | None = None
        self._row: ClosedRow | None = None
        self._late: deque[Block] = deque(maxlen=LATE_MOST)
        self._check_at: float | None = None
        self._told: dict[str, float] = {}

    # -- the end of a day

    def end(self, day: int, bar: Told | None = None) -> None:
        """Take the end of a day that the journal tells, with the bar that was made of it here."""
        self.forget()
        self.day, self._bar = day, bar

    def final(self, day: int, rows: Any, committed: int) -> None:
        """Take a final bar as it stands in the journal."""
        if self.day != day:
            self.end(day)
        if self._rows is None or committed < day:  # of a committed day the first one stands
            self._rows, self._row = rows, None
        self._bar = None

    def settle(self, version: Version, now: float) -> None:
        """Have late rows that are still gathered corrected: another day is being ended."""
        if self._check_at is not None:
            told = self._looked(version, now)
            self._kept += [] if told is None else [told]

    def stood(self, committed: int) -> None:
        """Take notice that a version stands: a day before it is past correcting here."""
        if self.day is not None and committed > self.day:
            self.forget()
        elif self.day == committed:
            self._bar = None

    def close_message(self, date: str, why: str) -> Told:
        """Give the message that ends a day."""
        body = orjson.dumps({"model_id": self._model_id, "date": date, "why": why})
        return Told(CLOSE + token(self._model_id), f"close-{self._model_id}-{date}", {}, body)

    def bar_of(self, day: Panel, intake: Intake, place: int) -> Told:
        """Make the final bar of a day that ended at a place of the journal."""
        date = str(day.dates[0])
        rows = _table(day.to_frame(names={}), intake)
        body = orjson.dumps({"model_id": self._model_id, "rows": rows, "final": True}, default=str)
        name = f"closed-{self._model_id}-{date}-{place}"
        return Told(BAR + token(self._model_id), name, {CLOSED_AT: str(place), REQUEST_ID: name}, body)

    # -- late rows

    def take_late(self, block: Block, now: float, gather_s: float) -> None:
        """Take ticks of the day that was ended."""
        self.lost += len(self._late) == LATE_MOST
        self._late.append(block)
        if self._check_at is None:
            self._check_at = now + gather_s

    def _looked(self, version: Version, now: float) -> Told | None:
        try:
            return self._correction(version, now)
        except (EngineError, FactorError) as error:
            self.fault = first_line(error)
            return None

    def _correction(self, version: Version, now: float) -> Told | None:
        """Ask for what late rows change of the committed day; None when nothing does, or when it is not committed."""
        self._check_at = None
        if self.day is None or _day_of(version) != self.day or self._rows is None:
            if self.day is not None and _day_of(version) <= self.day:
                self._check_at = now + 1.0  # the commit is under way
            return None
        last = door_of(version).as_it_came(whole_panel(version, min(2, version.manifest.n_dates)))
        if self._row is None:
            self._row = ClosedRow(version.symbols, self._as_closed(version), _row_of(last, 0))
        self._absorb(self._row)
        committed = {name: values[-1] for name, values in last.fields.items()}
        columns, fields = self._row.differing(committed)
        if not len(columns):
            return None
        self._check_at = now + AGAIN_S
        self.corrections += 1
        symbols = [version.symbols[i] for i in columns]
        table = pl.DataFrame({"date": [str(version.dates[-1])] * len(symbols), "symbol": symbols, **fields})
        rows = _table(table.with_columns(pl.col("date").str.to_date(), pl.selectors.float().fill_nan(None)),
                      settings_of(version).read_as)  # fmt: skip
        body = orjson.dumps({"model_id": self._model_id, "feature_data": rows}, default=str)
        digest = hashlib.blake2b(body, digest_size=8).hexdigest()
        name = f"late-{self._model_id}-{version.dates[-1]}-{version.manifest.version}-{digest}"
        return Told(CORRECT, name, {REQUEST_ID: name}, body)

    def _as_closed(self, version: Version) -> Panel:
        request = AppendDay(model_id=self._model_id, feature_data=encode(from_json(self._rows)))
        sectors = tuple(version.manifest.meta.get("sector_names", ()))
        panel = features_panel(request, settings_of(version).read_as, sectors=sectors)
        return _row_of(panel, -1)

    def _absorb(self, row: ClosedRow) -> None:
        while self._late:
            block = self._late.popleft()
            try:
                codes = row.take(
                    block.symbols, block.values, time_us=np.asarray(block.times_us, np.int64), sequence=block.numbers,
                    source=block.source,
                )  # fmt: skip
            except FactorError:
                self.lost += len(block.symbols)
                continue
            taken = np.flatnonzero(codes == 0)
            self.late_rows += len(taken)
            self._named |= {block.symbols[i]: None for i in taken[:NAMED].tolist()}
        while len(self._named) > NAMED:
            del self._named[next(iter(self._named))]

    # -- what is told

    def told(self, over: Told | None, version: Version, now: float) -> list[Told]:
        """List what is to be put into the streams now; a message that was told a moment ago is not told again yet."""
        found: list[Told | None] = [over, self._bar, *self._kept]
        self._kept = []
        if self._check_at is not None and now >= self._check_at:
            found.append(self._looked(version, now))
        out = [told for told in found if told is not None and now >= self._told.get(told.message_id, -np.inf)]
        self._told |= {told.message_id: now + AGAIN_S for told in out}
        return out

    def next_at(self) -> float | None:
        """When something is to be told or looked at, without further market data."""
        times = [] if self._check_at is None else [self._check_at]
        if self._bar is not None:
            times.append(self._told.get(self._bar.message_id, 0.0))
        return min(times, default=None)

    def status(self) -> dict[str, Any]:
        """Count and name what came late."""
        refused = {} if self._row is None else dict(self._row.row.rejections.counts)
        return {
            "rows": self.late_rows, "symbols": [*self._named], "corrections": self.corrections,
            "waiting": sum(len(block.symbols) for block in self._late), "lost": self.lost, "rejected": refused,
            "reason": self.fault,
        }  # fmt: skip


def day_of(item: DayEnd) -> int | None:
    """Give the day that a message ends, days since 1970; None where it names none."""
    try:
        dates: Iterable[Any] = [item.date] if item.rows is None else item.rows["date"]
        return int(max(np.datetime64(str(date)[:10], "D") for date in dates).astype(np.int64))
    except (KeyError, TypeError, ValueError):
        return None


def whose_day_is_over(
    passed: NDArray[np.bool_], awaited: NDArray[np.bool_], by_now: int, witnesses: int, rules: DayRules
) -> str | None:
    """Say why a day is over, or None.

    Parameters
    ----------
    passed : bool [n_assets]
        Names seen after the close.
    awaited : bool [n_awaited]
        Names that are active, the first of them all.
    by_now : int
        Names seen after the watermark.
    witnesses : int
        So many names must have been: one with a wrong clock ends no day.
    """
    if awaited.any() and passed[: len(awaited)][awaited].all():
        return "seen"
    return "watermark" if rules.watermark_s is not None and by_now >= witnesses else None


def _day_of(version: Version) -> int:
    return int(np.datetime64(version.dates[-1], "D").astype(np.int64))


def _row_of(panel: Panel, t: int) -> Panel:
    return panel.select(dates=panel.dates[[t]])


def _table(frame: pl.DataFrame, intake: Intake) -> dict[str, list[Any]]:
    """Write a table of the engine's own names as the model's tables are: columns by name, dates as it reads them."""
    own = {canonical: name for name, canonical in intake.names.items()}
    if intake.date_format is not None:
        frame = frame.with_columns(pl.col("date").dt.to_string(intake.date_format))
    return frame.rename({name: own[name] for name in frame.columns if name in own}).to_dict(as_series=False)
