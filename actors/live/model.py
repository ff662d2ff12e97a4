"""The running day of one model: ticks in, values of its watches out, the state of the last close beside.

A model is taken up in the background. Market data that comes meanwhile, or that is of a later day than the one that
runs, waits: the day that runs is committed first.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from concurrent.futures import Future

import numpy as np
from numpy.typing import NDArray

from actors.live.beginning import WITNESSES, Beginning
from actors.live.closing import Closing, day_of, whose_day_is_over
from actors.live.messages import Block, DayEnd, Item, RunningBar
from actors.live.watching import Moment, Watching
from actors.reading.features import features_panel
from actors.reading.quality import door_of
from actors.reading.slices import settings_of
from actors.reading.states import growing_model_of
from contracts.errors import EngineError
from contracts.frames import encode, from_json
from contracts.live_call import Told, WatchValue
from contracts.requests import AppendDay
from factors.errors import FactorError
from factors.factor_model.model import FactorModel
from factors.live import LiveDay, LiveFactors, LiveRow
from factors.live.day import MARKET
from factors.panel.identity import named_as
from factors.panel.meaning import ID
from store import Version
from store.watch_store import DayRules

WAITING_MOST = 50_000
"""Blocks of ticks that wait for a model, or for its day to be committed; the oldest go first, counted."""
DAY_US = 86_400_000_000
REPLAY = "replay"
"""The source of a player's ticks: what is made of them is named so."""
LATELY = 0.1
TICKED = frozenset(("price", "bid", "ask"))
"""What a tick may say that no model has a field for, beside what every market has."""


class LiveModel:
    """One model's running day.

    Everything but `prepared` is called under `lock`, which the live call holds while it feeds and computes.

    Attributes
    ----------
    watches : dict of str to Watching
    version : Version or None
        That it stands at; None until it is taken up.
    """

    def __init__(self, model_id: str, rules: DayRules, threads: int) -> None:
        self.lock = threading.Lock()
        self.model_id = model_id
        self.rules = rules
        self.closing = Closing(model_id)
        self.watches: dict[str, Watching] = {}
        self.version: Version | None = None
        self.plan: LiveFactors | None = None
        self.fault: str | None = None
        self.lacking: dict[str, str] = {}
        self.plan_ms: float | None = None
        self.counts: Counter[str] = Counter()
        self.rows = 0
        self.stale_plan = False
        self.replayed = False
        self.building: Future[None] | None = None
        self._threads = threads
        self._model: FactorModel | None = None
        self._row: LiveRow | None = None
        self._day: LiveDay | None = None
        self._awaited: NDArray[np.bool_] = np.empty(0, np.bool_)
        self._fresh_plan = True
        self._caught_up = False
        self._changed: NDArray[np.bool_] = np.empty(0, np.bool_)
        self._fields: frozenset[str] = frozenset()
        self._beginning = Beginning(0)
        self._numbered: LiveRow | None = None
        self._waiting: deque[Item] = deque(maxlen=WAITING_MOST)
        self._books: tuple[tuple[str, ...], NDArray[np.float64]] = ((), np.empty((0, 0)))

    # -- taking up

    def prepared(self, version: Version) -> FactorModel:
        """Rebuild what the next day needs of a version; takes a while, on any thread, and changes nothing here."""
        return growing_model_of(version)

    def stand_at(self, version: Version, model: FactorModel, plan: LiveFactors | None) -> None:
        """Go on from a version: the day that ran is over, and what waited for the next one is taken."""
        self.version, self._model, self.plan = version, model, plan
        self.closing.stood(self.committed)
        waiting, self._numbered = self._waiting, self._row or self._numbered
        self.forget_day()
        panel = model.panel_.last(1)
        before = panel.fields
        self._fields = TICKED | MARKET | before.keys() | panel.categories.keys()
        self._awaited = np.isfinite(before.get("market_cap", before["returns"])[0])
        for watching in self.watches.values():
            self.settle(watching)
        self._caught_up = len(waiting) > 0
        for item in waiting:
            self.feed(item)

    def forget_day(self) -> None:
        """Begin the running day anew: it is over, or the journal is read from its beginning."""
        self._row = self._day = None
        self._changed = np.empty(0, np.bool_)
        self._fresh_plan = True
        self._waiting = deque(maxlen=WAITING_MOST)
        self.rows = 0
        self.replayed = False

    def read_again(self) -> None:
        """Forget what the journal told: it is read from its beginning."""
        self.forget_day()
        self._numbered = None
        self.closing.forget()
        self.counts.clear()

    def take_plan(self, plan: LiveFactors | None) -> None:
        """Go on with another plan; the day that runs goes on."""
        self._caught_up = True
        self.plan = plan
        self._fresh_plan = True
        for watching in self.watches.values():
            self.settle(watching)

    def take_rules(self, rules: DayRules) -> None:
        """Let the day run by other rules from now on."""
        self.rules = rules
        for watching in self.watches.values():
            watching.dirty = self._day is not None

    def settle(self, watching: Watching) -> None:
        """Tell a watch where its values lie."""
        version, plan = self.version, self.plan
        if version is None:
            return
        at = {name: i for i, name in enumerate(plan.ids)} if plan is not None else {}
        lie = {name: at[identity] for name, identity in watching.names.items() if identity in at}
        watching.settle(lie, version.symbols, version.column)
        watching.dirty = self._day is not None

    def hold(self, names: tuple[str, ...], weights: NDArray[np.float64]) -> None:
        """Take the books of the watches, [n_books, n_assets], as at the last close."""
        self._books = names, weights

    @property
    def committed(self) -> int:
        """The last committed day, days since 1970."""
        assert self.version is not None
        return int(np.datetime64(self.version.dates[-1], "D").astype(np.int64))

    @property
    def date(self) -> np.datetime64 | None:
        """The running day."""
        return None if self._row is None else self._row.date

    # -- market data

    @property
    def behind(self) -> bool:
        """Whether values will change without further market data, when what is under way behind is in place."""
        under_way = self.building is not None and not self.building.done()
        return self._caught_up or (under_way and (len(self._waiting) > 0 or self._day is not None))

    def wants(self, item: Item) -> bool:
        """Say whether market data is this model's."""
        return item.market == self.rules.market if isinstance(item, Block) else item.model_id == self.model_id

    def feed(self, item: Item) -> None:
        """Take market data; what is of a later day than the one that runs waits."""
        if self.version is None:
            self._wait(item)
        elif isinstance(item, RunningBar):
            self._bar(item)
        elif isinstance(item, DayEnd):
            self._end(item)
        else:
            self._ticks(item)

    def _wait(self, item: Item) -> None:
        if len(self._waiting) == WAITING_MOST:
            self.counts["too_early"] += 1
        self._waiting.append(item)

    def _ticks(self, block: Block) -> None:
        times = np.asarray(block.times_us, dtype=np.int64)
        days = times // DAY_US
        days[times < 0] = self._today()
        past, running = self.committed, int(days.max())
        doubted = self._doubt(block, days, past)
        if self._row is not None:
            running = int(self._row.date.astype(np.int64))
        elif running > past:
            running = int(days[days > past].min())
        late, early = (days <= past) & ~doubted, (days > running) & ~doubted
        others, known = late | early | doubted, ~doubted
        if not block.values.keys() & self._fields:
            # A feed that calls its numbers otherwise is told so: nothing of them would move anything.
            self.counts["unknown_field"] += len(days)
            others = np.ones(len(days), np.bool_)
            late = early = known = ~others
        after = days == self.closing.day if self.closing.day is not None else np.zeros(len(days), np.bool_)
        if others.all() and self._row is None:
            codes = np.zeros(len(days), np.int8)
        else:
            self.replayed = self.replayed or (block.source == REPLAY and not others.all())
            row = self._begun(np.datetime64(running, "D"))
            try:
                # A source numbers its messages over all its days: those of another day leave no gap.
                codes = row.take(
                    block.symbols, block.values, time_us=times, sequence=block.numbers, source=block.source,
                    leave=others if others.any() else None,
                )  # fmt: skip
            except FactorError as error:
                self.counts[error.code] += len(block.symbols)
                return
            self.counts["another_day"] += self._beginning.take(block, (codes == 0) & ~others)
        # Also of the running day: its bar may be on the way, and the rows that came behind it are a correction.
        after &= known & (codes == 0)
        if after.any():
            self.closing.take_late(block.some(after, numbered=True), time.monotonic(), self.rules.late_s)
        self.counts["committed_day"] += int((late & ~after & (codes == 0)).sum())
        early &= codes == 0
        if early.any():
            self._wait(block.some(early))

    def _doubt(self, block: Block, days: NDArray[np.int64], past: int) -> NDArray[np.bool_]:
        """Say which ticks are of a day before the one that runs, and are held while that may change."""
        none, version = np.zeros(len(days), np.bool_), self.version
        if self._row is None or self._beginning.sure or version is None:
            return none
        earlier = (days > past) & (days < int(self._row.date.astype(np.int64)))
        earlier &= np.array([symbol in version.column for symbol in block.symbols])
        if not earlier.any():
            return none
        if self._beginning.hold(block, earlier):
            self._put_off()
        return earlier

    def _put_off(self) -> None:
        """Let an earlier day run than the one that began; what came of that one waits."""
        beginning, row, waiting = self._beginning, self._row, self._waiting
        replayed, rows = self.replayed, self.rows
        self.forget_day()
        self._numbered, self._waiting, self.replayed, self.rows = row, waiting, replayed, rows
        for block in beginning.earlier:
            self._ticks(block)
        for block in beginning.begun:
            self._wait(block)

    def _today(self) -> int:
        """The day of a tick that names no time: the one that runs, or today."""
        return int(time.time() // 86_400) if self._row is None else int(self._row.date.astype(np.int64))

    def _bar(self, bar: RunningBar) -> None:
        """Take a running bar: the day so far, in the columns that the model was made with."""
        assert self.version is not None
        try:
            request = AppendDay(model_id=self.model_id, feature_data=encode(from_json(bar.rows)))
            model = self._model
            assert model is not None
            panel = features_panel(request, settings_of(self.version).read_as, sectors=model.sector_names_)
        except EngineError:
            self.counts["unreadable_bar"] += 1
            return
        if panel.n_dates != 1:
            self.counts["bar_of_many_days"] += 1
            return
        day = int(np.datetime64(panel.dates[0], "D").astype(np.int64))
        if day <= self.committed:
            self.counts["committed_day"] += panel.n_assets
            return
        if self._row is not None and not self._beginning.sure and day < int(self._row.date.astype(np.int64)):
            self._put_off()  # a bar is of its day: nothing else says it so plainly
        if self._row is not None and day > int(self._row.date.astype(np.int64)):
            self._wait(bar)
        elif self._row is not None and day < int(self._row.date.astype(np.int64)):
            self.counts["another_day"] += panel.n_assets
        else:
            row = self._begun(np.datetime64(day, "D"))
            if ID in panel.categories:
                panel = named_as(panel, self.version.symbols, door_of(self.version).ids)
            row.take(panel.symbols, {name: values[0] for name, values in panel.fields.items()})
            self.counts["another_day"] += self._beginning.settle()

    # -- the end of the day

    def _end(self, item: DayEnd) -> None:
        """Take the end of a day, as the journal tells it: of the running day a bar is made, as it stands here."""
        assert self.version is not None
        day = day_of(item)
        if day is None:
            self.counts["unreadable"] += 1
        if day is None or day < self.committed:
            return
        running = None if self._row is None else int(self._row.date.astype(np.int64))
        if day != self.closing.day:
            self.closing.settle(self.version, time.monotonic())
        if item.rows is not None:
            self.closing.final(day, item.rows, self.committed)
        elif day == self.committed:
            self.closing.end(day)
        elif running is None or day < running:
            self.counts["nothing_to_close"] += 1
        elif day > running:
            self._wait(item)
        elif self.closing.day != day:
            assert self._day is not None
            self.moved()
            read_as = settings_of(self.version).read_as
            self.closing.end(day, self.closing.bar_of(self._day.close(), read_as, item.place))

    def over(self) -> Told | None:
        """Give the message that ends the running day, when it is over by the model's rules and nobody said so yet."""
        rules, row = self.rules, self._row
        if rules.closes_at is None or row is None or row.time_us is None:
            return None
        day = int(row.date.astype(np.int64))
        close = day * DAY_US + time_of_day_us(rules.closes_at)
        if self.closing.day == day or (row.time_us < close and not self._waiting):
            return None
        witnesses = min(WITNESSES, max(self.expected, 1))
        by_now = 0
        if rules.watermark_s is not None:
            late = row.passed(close + int(rules.watermark_s * 1e6))
            by_now = int(late.sum())
            if by_now < witnesses:
                names = {row.symbols[i] for i in np.flatnonzero(late)}
                for item in self._waiting:
                    names |= {*item.symbols} & self._known if isinstance(item, Block) else set()
                by_now = len(names)
        why = whose_day_is_over(row.passed(close), self._awaited, by_now, witnesses, rules)
        return None if why is None else self.closing.close_message(str(row.date), why)

    def told(self, now: float) -> list[Told]:
        """List what is to be put into the streams: the end of the day, its bar, what late rows change."""
        if self.version is None:
            return []
        return self.closing.told(self.over(), self.version, now)

    @property
    def _known(self) -> set[str]:
        return set() if self.version is None else {*self.version.symbols}

    def _begun(self, date: np.datetime64) -> LiveRow:
        """Give the running day's row, begun if there is none."""
        if self._row is None:
            assert self._model is not None
            self._row = LiveRow.after(self._model.door_.unsplit(self._model.panel_.last(1)), date)
            if self._numbered is not None:
                self._row.follow(self._numbered)
            self._day = LiveDay(self._model, date)
            self._beginning = Beginning(self.expected)
            self._fresh_plan = True
        return self._row

    def moved(self) -> bool:
        """Bring the day up to the ticks taken; says whether anything changed, for which every watch is then due."""
        self._caught_up = False
        if self._row is None or self._day is None:
            return False
        columns, values = self._row.changed()
        if not len(columns):
            return False
        # What is worked out of good ticks may still pass all bounds, a sum of sizes say: that name stands as it did.
        fit = ~np.any([np.isinf(row) for row in values.values()], axis=0)
        if not fit.all():
            self.counts["not_finite"] += int((~fit).sum())
            columns, values = columns[fit], {name: row[fit] for name, row in values.items()}
        self.rows += len(columns)
        try:
            self._day.tick(columns, values)
        except FactorError as error:
            self.counts[error.code] += len(columns)
            return False
        if len(self._changed) != len(self._day.symbols):
            self._changed = np.zeros(len(self._day.symbols), np.bool_)
        self._changed[columns] = True
        for watching in self.watches.values():
            watching.dirty = True
        return True

    # -- values

    def due(self, now: float) -> list[Watching]:
        """List the watches whose values may go out."""
        if self._day is None:
            return []
        return [w for w in self.watches.values() if w.dirty and w.due <= now and self.ready(w)]

    def ready(self, watching: Watching) -> bool:
        """Whether the plan has what a watch wants of it."""
        plan = self.plan
        if not watching.names:
            return True
        return plan is not None and all(i in plan.ids or i in plan.missing for i in watching.names.values())

    def next_due(self) -> float | None:
        """When the next values that wait for their watch's rate become due."""
        held = [w.due for w in self.watches.values() if w.dirty and self._day is not None and self.ready(w)]
        return min(held, default=None)

    def values(self, due: list[Watching], now: float, began: float) -> list[WatchValue]:
        """Compute what is due, once for all, and make the messages."""
        day, version = self._day, self.version
        assert day is not None
        assert version is not None
        plan = self._peek(day) if self.plan is not None and any(w.names for w in due) else None
        made = day.peek() if any(w.needs_day for w in due) else None
        names, weights = self._books
        books = day.portfolios(weights) if names and any(w.watch.portfolios for w in due) else None
        moment = Moment(
            self.model_id, version.manifest.version, str(day.date), made, self.seen, self._market_time(), began, books,
            {name: i for i, name in enumerate(names)}, self.replayed, self.withheld(),
        )  # fmt: skip
        found = (watching.message(now, moment, plan) for watching in due)
        return [value for value in found if value is not None]

    def _peek(self, day: LiveDay) -> NDArray[np.float64]:
        assert self.plan is not None
        began = time.perf_counter()
        changed = None if self._fresh_plan else np.flatnonzero(self._changed)
        values = self.plan.peek(day.adjusted(), day.categories, day.date, changed)
        self._changed[:] = False
        self._fresh_plan = False
        took = (time.perf_counter() - began) * 1e3
        self.plan_ms = took if self.plan_ms is None else (1 - LATELY) * self.plan_ms + LATELY * took
        return values

    @property
    def seen(self) -> float:
        """Share of the awaited names that have a return."""
        awaited = self._awaited
        if self._day is None or not awaited.any():
            return 0.0
        returns = self._day.fields["returns"][: len(awaited)]
        return float(np.isfinite(returns[awaited]).mean())

    @property
    def seen_weight(self) -> float | None:
        """Share of the regression's weight that has a return; None before the day's first row."""
        return None if self._day is None else self._day.share_of_weight

    def withheld(self) -> str | None:
        """Say why the returns of the factors are not told: a regression on a few names gives anything."""
        least, weight = self.rules.least_seen, self.seen_weight
        if weight is None or (self.seen >= least and not weight < least):
            return None
        return (
            f"{self.seen:.1%} of the names and {weight:.1%} of the regression's weight have a return; "
            f"the returns of the factors are told from {least:.0%} of both on"
        )

    @property
    def expected(self) -> int:
        """Names from which a return is awaited: those that had a cap at the last close."""
        return int(self._awaited.sum())

    def _market_time(self) -> int | None:
        return None if self._row is None else self._row.time_us

    def rejected(self) -> dict[str, int]:
        """Rows of today that were not computed with, by kind; and gaps of the sequence."""
        out = {name: n for name, n in self.counts.items() if n}
        if self._row is not None:
            for kind, n in self._row.rejections.counts.items():
                out[kind] = out.get(kind, 0) + n
            out |= {
                k: n for k, n in (("gaps", self._row.rejections.gaps), ("missed", self._row.rejections.missed)) if n
            }
        return out

    @property
    def seen_count(self) -> int:
        """Names with a return today."""
        return 0 if self._day is None else int(np.isfinite(self._day.fields["returns"]).sum())


def time_of_day_us(text: str) -> int:
    """Read a time of day, HH:MM or HH:MM:SS, as microseconds since midnight."""
    hours, minutes, *seconds = (int(part) for part in text.split(":"))
    return (hours * 3600 + minutes * 60 + sum(seconds)) * 1_000_000
