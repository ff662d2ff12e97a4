"""The operations of the running day, and its call: put a watch, show it, end it; follow a market."""

from __future__ import annotations

import logging
import threading
from dataclasses import asdict, fields
from typing import Any

from actors.library.formulas import Formulas
from actors.live.desk import LiveDesk
from actors.live.line import LiveLine
from actors.reading.panels import whole_panel
from actors.reading.slices import Slices, unknown_symbols
from actors.reading.unknown import no_factor
from contracts import live_requests as lq
from contracts.answers import Calculation, Page
from contracts.errors import InvalidInput, Unavailable
from contracts.live_call import Answered, MarketData, pack, unpack_data
from contracts.settings import Settings
from factors.library import FormulaError, compile_library
from factors.library.definitions.fields import computable, library_fields
from store import LRU, PortfolioStore, Version
from store.place import store_place
from store.watch_store import DayRules, Watch, WatchStore

WATCH_FIELDS = (
    "factors", "formulas", "min_periods", "styles", "factor_returns", "portfolios", "symbols", "rate_ms", "form",
    "encoding", "only_changed", "idle_s",
)  # fmt: skip
ENDED_REMEMBERED = 256
"""Requests that ended a watch: a repeated one is answered as the first was."""

_log = logging.getLogger(__name__)


class LiveOperations:
    """The methods of the actor that holds the running days."""

    slices: Slices
    settings: Settings
    formulas: Formulas
    desk: LiveDesk
    _line: LiveLine | None = None

    def remember(self, name: str) -> None:
        """In a process of the actor's own, listen for the bridge too."""
        super().remember(name)  # type: ignore[misc]
        self.listen()

    def listen(self) -> None:
        """Offer the bridge of this machine a line; without one it calls by Ray."""
        try:
            self._line = LiveLine(self.settings.run_dir.resolve() / "live", self._take)
        except OSError as error:
            _log.warning("the bridge calls by Ray alone: %s", error)

    def open_desk(self, continues: Any) -> None:
        """Take up the watches that are kept."""
        current = self.settings
        self._ended: LRU[str, str] = LRU(ENDED_REMEMBERED)
        self._one_call = threading.Lock()
        self.desk = LiveDesk(
            self.slices,
            WatchStore(store_place(current), current.live_watches),
            PortfolioStore(store_place(current)),
            lambda: self.formulas,
            current.library_threads,
            continues,
            self._news,
        )

    def _news(self) -> None:
        if self._line is not None:
            self._line.news()

    def live_call(self, packed: bytes) -> bytes:
        """Take market data, give values; see `contracts.live_call`. The bridge of this machine has a shorter way."""
        line = "" if self._line is None else self._line.path
        return pack(self._take(unpack_data(packed))._replace(line=line))

    def _take(self, data: MarketData) -> Answered:
        desk = getattr(self, "desk", None)
        if desk is None:
            raise Unavailable("the running days are being taken up", retry_after_s=0.5)
        with self._one_call:
            answer: Answered = desk.take(data)
            return answer

    # -- watches

    def put_watch(self, request: lq.PutWatch) -> Calculation:
        """Store a watch, or another in its place, and begin to make its values."""
        version = self.slices.head(request.model_id)
        model_id = version.manifest.model_id
        self._check(request, version)
        assert request.request_id is not None
        given = {name: getattr(request, name) for name in WATCH_FIELDS}
        made = self.desk.store.put(Watch(watch_id=request.watch_id, model_id=model_id, **given), request.request_id)
        self.desk.put(made)
        values = {"watch_id": made.watch_id, "subject": f"factor.live.{made.watch_id}", "model_id": model_id}
        return Calculation(
            values, f"watch {made.watch_id} is kept; its values come on factor.live.{made.watch_id}", 1.0
        )

    def _check(self, request: lq.PutWatch, version: Version) -> None:
        """Refuse what the model cannot give, naming it."""
        known = self.formulas
        every = request.factors == (lq.EVERYTHING,)
        ids = known.library.ids if every else known.resolve(list(request.factors)) if request.factors else ()
        available = library_fields(whole_panel(version, rows=1)).available
        able, missing = computable(known.library, available)
        lacking = [] if every else [name for name in ids if name in missing]
        if lacking:
            raise InvalidInput(f"{lacking[0]} {missing[lacking[0]]}", field="factors", rows=lacking)
        for name, text in request.formulas.items():
            self._check_formula(name, text, available)
        names = version.manifest.meta["style_names"]
        wrong = [name for name in request.styles if name not in names and request.styles != (lq.EVERYTHING,)]
        if wrong:
            raise no_factor(wrong, names, "styles", "style")
        unknown = [symbol for symbol in request.symbols or () if symbol not in version.column]
        if unknown:
            raise unknown_symbols(unknown, version, "symbols")
        styles = tuple(names) if request.styles == (lq.EVERYTHING,) else tuple(dict.fromkeys(request.styles))
        self._check_names(request, (*ids,), styles)
        for name in request.portfolios:
            self.desk.book(version.manifest.model_id, name)
        n_rows = (len(able) if every else len(ids)) + len(request.formulas) + len(styles) + request.factor_returns
        n = n_rows * len(version.symbols if request.symbols is None else request.symbols)
        if n > self.settings.live_watch_values:
            limit = self.settings.live_watch_values
            raise InvalidInput(f"a message would hold {n} numbers; at most {limit} are sent", field="symbols")

    def _check_names(self, request: lq.PutWatch, ids: tuple[str, ...], styles: tuple[str, ...]) -> None:
        """Refuse two values of one name: a message would hold but one of them."""
        taken = {"symbol", *ids} | ({"specific_return"} if request.factor_returns else set())
        clash = [name for name in request.formulas if name in taken or name in styles]
        clash += [name for name in styles if name in taken]
        if clash:
            raise InvalidInput(f"two values of the watch would be called {clash[0]!r}", field="formulas", rows=clash)

    def _check_formula(self, name: str, text: str, available: frozenset[str]) -> None:
        try:
            library = compile_library({"formula": self.desk.parsed(text)})
        except FormulaError as error:
            line, column = error.position
            raise InvalidInput(
                f"{name}: line {line}, column {column}: {error.message}", field="formulas", rows=[[line, column]]
            ) from None
        _, missing = computable(library, available)
        if missing:
            raise InvalidInput(f"the formula {name} {missing['formula']}, which the model lacks", field="formulas")

    def list_watches(self, request: lq.ListWatches) -> Page:  # noqa: ARG002
        """List the watches with their cost."""
        rows = [self.desk.page(watch) for watch in self.desk.store.all()]
        return Page({"watches": rows, "count": len(rows), "limit": self.settings.live_watches})

    def get_watch(self, request: lq.WatchRef) -> Page:
        """Show a watch."""
        return Page(self.desk.page(self.desk.store.get(request.watch_id)))

    def delete_watch(self, request: lq.DeleteWatch) -> Calculation:
        """End a watch."""
        if request.request_id is None or self._ended.get(request.request_id) != request.watch_id:
            self.desk.store.delete(request.watch_id)
            self.desk.drop(request.watch_id)
            self._ended.put(request.request_id or request.watch_id, request.watch_id)
        return Calculation({"watch_id": request.watch_id, "ended": True}, f"watch {request.watch_id} has ended", 1.0)

    # -- how days run

    def follow_market(self, request: lq.FollowMarket) -> Calculation:
        """Say how a model's days run."""
        model_id = self.slices.head(request.model_id).manifest.model_id
        rules = DayRules(**{each.name: getattr(request, each.name) for each in fields(DayRules)})
        self.desk.store.set_rules(model_id, rules)
        self.desk.follow(model_id, rules)
        return Calculation({"model_id": model_id, **asdict(rules)}, f"{model_id} follows {rules.market}", 1.0)

    def live_status(self, request: lq.LiveStatus) -> Page:
        """Show a model's running day."""
        return Page(self.desk.status(self.slices.head(request.model_id).manifest.model_id))
