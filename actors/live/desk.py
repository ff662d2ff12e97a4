"""The live desk: every model's running day and every watch, behind one call.

The live call holds a model's lock while it feeds and computes. What takes long (a model taken up, a plan compiled and
warmed) runs on one thread behind it, and takes the lock for as long as it puts the result in place.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from typing import Any, Literal

import numpy as np

from actors.library.formulas import Formulas
from actors.live.catching_up import catch_up
from actors.live.messages import Item, Unread, read
from actors.live.model import LiveModel
from actors.live.watching import Watching
from actors.reading.books import Book, Books
from actors.reading.panels import whole_panel
from actors.reading.slices import Slices
from actors.runtime.memory import give_back
from actors.runtime.niceness import step_back
from contracts.errors import EngineError, UnknownModel, first_line
from contracts.live_call import Answered, MarketData, Told, WatchValue
from contracts.live_requests import EVERYTHING
from factors.errors import FactorError
from factors.library import Expression, FormulaError, parse
from factors.library.language.conventions import PAPER
from factors.live import LiveFactors
from store import PortfolioStore, Version
from store.watch_store import DayRules, Watch, WatchStore

LOOK_EVERY_S = 1.0
"""How often the store is looked at for versions that nobody told of."""
BEHIND_S = 0.02
"""How soon to call again for a model that is being taken up while market data waits for it."""

_log = logging.getLogger(__name__)


class LiveDesk:
    """Feeds models, answers watches.

    Parameters
    ----------
    slices : Slices
    store : WatchStore
    portfolios : PortfolioStore
    formulas : callable
        Gives the formulas as they are now.
    threads : int
        Of the plans' kernels.
    continues : callable of (version, number)
        Whether a version goes on from another by days alone.
    news : callable, optional
        Called when something changed without market data: a watch was put, a plan is in place.
    """

    def __init__(
        self,
        slices: Slices,
        store: WatchStore,
        portfolios: PortfolioStore,
        formulas: Callable[[], Formulas],
        threads: int,
        continues: Callable[[Version, int], bool],
        news: Callable[[], None] | None = None,
    ) -> None:
        self.store = store
        self._slices = slices
        self._portfolios = portfolios
        self._formulas = formulas
        self._threads = threads
        self._continues = continues
        self._news = news or (lambda: None)
        self._lock = threading.Lock()
        self._models: dict[str, LiveModel] = {}
        self._stream = ""
        self._taken = 0
        self._again = False
        self._looked = 0.0
        self._idle_s: dict[str, float] = {}
        self.unread = Unread()
        self.calls = 0
        self.messages = 0
        self._background = ThreadPoolExecutor(1, thread_name_prefix="live plans", initializer=step_back)
        for watch in store.all():
            self._add(watch)
        for model_id, rules in store.all_rules().items():
            if rules.closes_at is not None:
                self._attend(model_id)

    # -- watches

    def put(self, watch: Watch) -> None:
        """Take up a watch, or its new form."""
        self.drop(watch.watch_id)
        self._add(watch)
        self._news()

    def _add(self, watch: Watch) -> None:
        with self._lock:
            model = self._attended(watch.model_id)
            self._idle_s = {**self._idle_s, watch.watch_id: watch.idle_s}
        model.fault = None
        with model.lock:
            made = self._watching(watch, model.version)
            model.settle(made)  # the plan may have all that it wants already, so that a value is due at once
            model.watches = {**model.watches, watch.watch_id: made}
        self._rebuild(model, fresh_plan=True)

    def _attended(self, model_id: str) -> LiveModel:
        model = self._models.get(model_id)
        if model is None:
            model = self._models[model_id] = LiveModel(model_id, self.store.rules_of(model_id), self._threads)
            self._again = True  # its day may have begun before anybody watched it
        return model

    def _attend(self, model_id: str) -> None:
        """Follow a model's days though nobody watches it: its rules are to end them."""
        with self._lock:
            model = self._attended(model_id)
        self._rebuild(model)

    def _watching(self, watch: Watch, version: Version | None) -> Watching:
        # What speaks from a window's first value on is another series in the plan that all watches share.
        kind = "" if watch.min_periods == "strict" else f"{watch.min_periods}:"
        ids = {name: f"{kind}{name}" for name in self._chosen(watch, version)}
        ids |= {name: f"{kind}{watch.watch_id}/{name}" for name in watch.formulas}
        styles = watch.styles
        known = () if version is None else tuple(version.manifest.meta["style_names"])
        # A model that was made anew under its name may have others.
        styles = known if styles == (EVERYTHING,) else tuple(name for name in dict.fromkeys(styles) if name in known)
        return Watching(watch, ids, styles)

    def _chosen(self, watch: Watch, version: Version | None) -> tuple[str, ...]:
        formulas = self._formulas()
        if watch.factors == (EVERYTHING,):
            return formulas.library.ids if version is not None else ()
        return formulas.resolve(list(watch.factors)) if watch.factors else ()

    def drop(self, watch_id: str) -> None:
        """Let go of a watch, and of a model that nobody watches and that its rules do not close."""
        with self._lock:
            self._idle_s = {name: s for name, s in self._idle_s.items() if name != watch_id}
            for model in [*self._models.values()]:
                if watch_id in model.watches:
                    with model.lock:
                        model.watches = {name: w for name, w in model.watches.items() if name != watch_id}
                    self._let_go(model)
        self._news()

    def _let_go(self, model: LiveModel) -> None:
        if not model.watches and model.rules.closes_at is None:
            del self._models[model.model_id]

    def follow(self, model_id: str, rules: DayRules) -> None:
        """Let a model's days run by other rules from now on."""
        model = self._models.get(model_id)
        if model is not None:
            self._again |= model.rules.market != rules.market
            with model.lock:
                model.take_rules(rules)
            with self._lock:
                self._let_go(model)
        elif rules.closes_at is not None:
            self._attend(model_id)
        self._news()

    # -- the live call

    def take(self, data: MarketData) -> Answered:
        """Take market data and give the values that are due."""
        began = time.perf_counter()
        self.calls += 1
        again_from = self._place(data)
        if again_from is None:
            self._feed(data)
        now = time.monotonic()
        if now - self._looked > LOOK_EVERY_S:
            self._looked = now
            for model in [*self._models.values()]:
                self._look(model)
        values: list[WatchValue] = []
        told: list[Told] = []
        waits: list[float] = []
        if not data.replayed:
            for model in [*self._models.values()]:
                values += self._values(model, now, began)
                with model.lock:
                    told += model.told(now)
                due = (model.next_due(), model.closing.next_at())
                waits += [max(at - now, 0.0) for at in due if at is not None]
                if model.behind:
                    waits.append(BEHIND_S)
        taken = 0 if data.stream != self._stream else self._taken
        busy_s = time.perf_counter() - began
        return Answered(
            taken,
            again_from,
            values,
            min(waits, default=None),
            self._idle_s,
            busy_s,
            tuple(self._models),
            tuple(told),
            self._hold_s(),
        )

    def _hold_s(self) -> float:
        """How long no watch may send anything, by its rate."""
        due = [watching.due for model in [*self._models.values()] for watching in [*model.watches.values()]]
        return max(min(due, default=float("inf")) - time.monotonic(), 0.0)

    def _place(self, data: MarketData) -> int | None:
        """Compare where the messages begin with what was taken; gives from where they are missed."""
        if data.first < 0:  # a question
            return None
        if data.first == 0:
            self._stream, self._taken = data.stream, data.last
            self._again = False
            for model in [*self._models.values()]:
                with model.lock:
                    model.read_again()
            return None
        if data.stream != self._stream or self._again:
            self._stream = ""  # until it is read from its beginning
            return 0
        if data.first > self._taken + 1 and data.messages:
            return self._taken + 1
        self._taken = max(data.last, self._taken)
        return None

    def _feed(self, data: MarketData) -> None:
        self.messages += len(data.messages)
        models = [*self._models.values()]
        for item in read(data.messages, self.unread):
            for model in models:
                if model.wants(item):
                    with model.lock:
                        self._fed(model, item)

    def _fed(self, model: LiveModel, item: Item) -> None:
        try:
            model.feed(item)
        except Exception as error:  # noqa: BLE001  what stands behind it in the journal, and the other models, go on
            _log.exception("market data of %s could not be taken", model.model_id)
            model.counts["not_taken"] += 1
            model.fault = first_line(error)

    def _values(self, model: LiveModel, now: float, began: float) -> list[WatchValue]:
        with model.lock:
            try:
                model.moved()
                due = model.due(now)
                return model.values(due, now, began) if due else []
            except (FactorError, EngineError) as error:
                model.fault = first_line(error)
                model.counts["not_computed"] += 1
                return []
            except Exception:  # noqa: BLE001  the other models' values go out
                _log.exception("the values of %s could not be made", model.model_id)
                model.fault = "a defect: see the log of the actor"
                model.counts["not_computed"] += 1
                return []

    # -- versions

    def committed(self, model_id: str) -> None:
        """Take notice that a model may have a new version."""
        model = self._models.get(model_id)
        if model is not None:
            self._look(model)

    def _look(self, model: LiveModel) -> None:
        try:
            number = self._slices.store.head(model.model_id).manifest.version
        except EngineError as error:
            model.fault = first_line(error)
            return
        if model.version is None or model.version.manifest.version != number:
            self._rebuild(model)

    def _rebuild(self, model: LiveModel, fresh_plan: bool = False) -> None:
        """Bring a model to the newest version behind the live call, with a plan of its watches' formulas."""
        if fresh_plan:
            model.stale_plan = True
        if fresh_plan or model.building is None or model.building.done():
            model.building = self._background.submit(self._build, model)

    def _build(self, model: LiveModel) -> None:
        try:
            while self._build_once(model):
                pass
        except (EngineError, FactorError, FormulaError) as error:
            model.fault = first_line(error)
        except Exception:  # noqa: BLE001  the watch says so, and the next look tries again
            _log.exception("the running day of %s could not be taken up", model.model_id)
            model.fault = "a defect: see the log of the actor"
        finally:
            self._news()

    def _build_once(self, model: LiveModel) -> bool:
        """Take up what is new; True when something was, so that one looks again."""
        version = self._slices.store.head(model.model_id)
        held = model.version
        moved = held is None or held.manifest.version != version.manifest.version
        if not moved and not model.stale_plan:
            return False
        model.stale_plan = False
        prepared = model.prepared(version) if moved else None
        # A plan goes on where the new version only added days to the one that it stands at.
        goes_on = held is not None and self._continues(version, held.manifest.version)
        watchings = {name: self._watching(w.watch, version) for name, w in model.watches.items()}
        wanted = self._wanted(watchings)
        plan = model.plan
        fresh = plan is None or not goes_on or wanted.keys() != {*plan.ids, *plan.missing} or not moved
        if fresh:
            plan = LiveFactors(wanted, whole_panel(version), threads=self._threads) if wanted else None
        books = self._books(model, version)
        with model.lock:
            if not fresh and plan is not None:
                catch_up(plan, version)
            for name, made in watchings.items():
                if name in model.watches:
                    made.sequence = model.watches[name].sequence
                    made.due = model.watches[name].due
                    model.watches[name] = made
            model.hold(*books)
            if prepared is not None:
                # A correction of the days before, or a day put in before the running one: that one goes on, from the
                # journal, beside other closes.
                self._again |= bool(model.date is not None and model.date > np.datetime64(version.dates[-1], "D"))
                model.stand_at(version, prepared, plan)
            else:
                model.take_plan(plan)
            model.fault = None
        if fresh:
            give_back()
        return True

    def _wanted(self, watchings: dict[str, Watching]) -> dict[str, Any]:
        """The union of the watches' factors and formulas."""
        wanted: dict[str, Any] = {}
        for watching in watchings.values():
            watch = watching.watch
            formulas = self._formulas().under(watch.min_periods)
            for name, identity in watching.names.items():
                if name in watch.formulas:
                    wanted[identity] = self.parsed(watch.formulas[name], watch.min_periods)
                elif name in formulas.all:
                    wanted[identity] = formulas.all[name]
        return dict(sorted(wanted.items()))

    def parsed(self, text: str, min_periods: Literal["strict", "one"] = "strict") -> Expression:
        """Read a formula of a caller's own."""
        own = replace(PAPER, min_periods=min_periods)
        return parse(text, own, definitions=self._formulas().catalogue.definitions)

    def book(self, model_id: str, name: str) -> Book:
        """Find a book on a model's last close; raises what is wrong with it."""
        return Books(self._portfolios).of(self._slices.at(model_id), None, name)

    def _books(self, model: LiveModel, version: Version) -> tuple[tuple[str, ...], np.ndarray]:
        """The watches' books on the names of a version, as at its last close."""
        books, lacking = {}, {}
        for name in dict.fromkeys(name for w in model.watches.values() for name in w.watch.portfolios):
            try:
                books[name] = self.book(model.model_id, name)
            except EngineError as error:  # it was deleted, say: the others go on
                lacking[name] = first_line(error)
        weights = np.zeros((len(books), len(version.symbols)))
        for row, book in zip(weights, books.values(), strict=True):
            np.add.at(row, book.columns, book.weights)
        model.lacking = lacking
        return tuple(books), weights

    # -- what is told

    def page(self, watch: Watch) -> dict[str, Any]:
        """Describe a watch: its state and its cost."""
        model = self._models.get(watch.model_id)
        watching = model.watches.get(watch.watch_id) if model is not None else None
        put = {name: value for name, value in asdict(watch).items() if name not in ("requests", "number")}
        out: dict[str, Any] = {
            "watch_id": watch.watch_id,
            "model_id": watch.model_id,
            "subject": f"factor.live.{watch.watch_id}",
            "state": "warming",
            "values": 0,
            "sequence": 0,
            "watch": put,
        }
        if model is None or watching is None:
            return out
        state = "faulted" if model.fault else "warming"
        if model.version is not None and model.ready(watching) and not model.fault:
            state = "waiting" if model.date is None else "live"
        gone = [name for name in watch.portfolios if name in model.lacking]
        shared = sum(len(w.names) for w in model.watches.values())
        return out | {
            "state": state,
            "reason": model.fault or next((model.lacking[name] for name in gone), None),
            "values": watching.size,
            "sequence": watching.sequence,
            "cost_ms": watching.cost_ms,
            "plan_ms": model.plan_ms if watching.names else None,
            "plan_share": len(watching.names) / shared if watching.names and shared else None,
        }

    def status(self, model_id: str) -> dict[str, Any]:
        """Describe a model's running day. Raises `UnknownModel` when the model does not exist."""
        version = self._slices.store.head(model_id)
        model = self._models.get(model_id)
        rules = self.store.rules_of(model_id)
        out: dict[str, Any] = {
            "model_id": model_id, **asdict(rules), "state": "not watched", "date": None,
            "committed": str(version.dates[-1]), "seen": 0, "active": 0, "seen_weight": None, "withheld": None,
            "rows": 0, "rejected": {}, "late": {}, "watches": [],
        }  # fmt: skip
        if model is None:
            return out
        with model.lock:
            state = "faulted" if model.fault else "taken up" if model.version is not None else "warming"
            date = None if model.date is None else str(model.date)
            return out | {
                "state": "running" if date else state, "reason": model.fault, "date": date, "seen": model.seen_count,
                "active": model.expected, "seen_weight": model.seen_weight, "withheld": model.withheld(),
                "rows": model.rows, "rejected": model.rejected() | dict(self.unread.counts),
                "late": model.closing.status(), "watches": sorted(model.watches),
            }  # fmt: skip

    def notes(self) -> dict[str, Any]:
        """What the actor's statistics say of the running days."""
        models = {}
        for name in [*self._models]:
            try:
                models[name] = self.status(name)
            except UnknownModel as error:
                models[name] = {"state": "faulted", "reason": first_line(error)}
        return {"calls": self.calls, "messages": self.messages, "unread": dict(self.unread.counts), "models": models}
