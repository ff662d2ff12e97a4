"""One watch on one model: which rows and names it takes of the values, when it is due, and its message."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson
import polars as pl
from numpy.typing import NDArray

from contracts.arrow_table import TableShape, in_single
from contracts.frames import ARROW_STREAM, encode
from contracts.live_call import WatchValue
from contracts.live_requests import SINGLE
from factors.live import DayValues, PortfolioValues, in_form
from store.watch_store import Watch

FORMS = {"raw": "raw", "ranked": "rank", "zscored": "zscore"}
JSON = "application/json"
LATELY = 0.1
"""Weight of the newest in the mean cost."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Moment:
    """What all messages of one moment say alike.

    Attributes
    ----------
    day : DayValues or None
        What the factor model gives, where a watch wants it.
    seen : float
        Share of the awaited names that have a return.
    began : float
        When the call came in, `time.perf_counter`.
    books : PortfolioValues or None
    book_of : mapping of book to its row there
    replayed : bool
        The day is a player's, no market's.
    withheld : str or None
        Why the returns of the factors, and what follows from them, are not told yet.
    """

    model_id: str
    version: int
    date: str
    day: DayValues | None
    seen: float
    market_time_us: int | None
    began: float
    books: PortfolioValues | None = None
    book_of: Mapping[str, int] = field(default_factory=dict)
    replayed: bool = False
    withheld: str | None = None


class Watching:
    """A watch at work.

    Attributes
    ----------
    ids : tuple of str
        Of the shared plan: its factors, and its formulas under names of their own.
    sequence : int
        Messages made.
    """

    def __init__(self, watch: Watch, ids: Mapping[str, str], styles: Sequence[str]) -> None:
        self.watch = watch
        self.names = dict(ids)
        self.styles = tuple(styles)
        self.sequence = 0
        self.dirty = False
        self.due = 0.0
        self.cost_ms: float | None = None
        self._computed: tuple[str, ...] = ()
        self._rows: NDArray[np.intp] = np.empty(0, np.intp)
        self._columns: NDArray[np.intp] | None = None
        self._symbols: tuple[str, ...] = ()
        self._last: Array | None = None
        self._last_returns = b""
        self._partial = False
        self._shape: TableShape | None = None

    @property
    def needs_day(self) -> bool:
        """Whether it wants what the factor model gives."""
        return bool(self.styles or self.watch.factor_returns or self.watch.portfolios)

    @property
    def by_symbol(self) -> tuple[str, ...]:
        """Names of its values by symbol, in the order of the message."""
        specific = ("specific_return",) if self.watch.factor_returns else ()
        return (*self._computed, *self.styles, *specific)

    def settle(self, lie: Mapping[str, int], symbols: tuple[str, ...], column: Mapping[str, int]) -> None:
        """Take up where its values lie in the plan, and the model's names; the next message is whole."""
        self._computed = tuple(lie)
        self._rows = np.array([*lie.values()], np.intp)
        wanted = self.watch.symbols
        self._columns = (
            None if wanted is None else np.array([column[s] for s in dict.fromkeys(wanted) if s in column], np.intp)
        )
        self._symbols = symbols if self._columns is None else tuple(symbols[i] for i in self._columns)
        self._last_returns = b""
        self._last = None
        self._shape = None

    @property
    def size(self) -> int:
        """Numbers of a whole message that are by symbol."""
        return len(self.by_symbol) * len(self._symbols)

    def message(self, now: float, moment: Moment, plan: Array | None) -> WatchValue | None:
        """Make the message of a moment; None where only changed names are wanted and none did."""
        began = time.perf_counter()
        values = self._matrix(moment, plan)
        symbols = self._symbols
        if self.watch.only_changed and not self.watch.portfolios:
            changed = np.ones(len(symbols), np.bool_) if self._last is None else _differ(values, self._last)
            returns, self._last = self._last_returns, values
            self._last_returns = self._returns_told(moment)
            if not changed.any() and self._last_returns == returns:
                self.dirty = False
                return None
            if not changed.all():
                at = np.flatnonzero(changed)
                values, symbols = np.ascontiguousarray(values[:, at]), tuple(symbols[i] for i in at)
        self._partial = symbols is not self._symbols
        self.sequence += 1
        self.dirty = False
        self.due = now + self.watch.rate_ms / 1e3
        body = b"" if self.watch.encoding == "json" else self._arrow(values, symbols)
        about = self._about(moment)
        if not body:
            body = self._json(about, values, symbols, moment)
        took = (time.perf_counter() - began) * 1e3
        self.cost_ms = took if self.cost_ms is None else (1 - LATELY) * self.cost_ms + LATELY * took
        headers = {f"factor-{name.replace('_', '-')}": _text(value) for name, value in about.items()}
        headers["Content-Type"] = JSON if self.watch.encoding == "json" else ARROW_STREAM
        return WatchValue(self.watch.watch_id, self.sequence, headers, body)

    def _about(self, moment: Moment) -> dict[str, Any]:
        about: dict[str, Any] = {
            "watch_id": self.watch.watch_id,
            "sequence": self.sequence,
            "model_id": moment.model_id,
            "model_version": moment.version,
            "date": moment.date,
            "market_time": _iso(moment.market_time_us),
            "compute_ms": round((time.perf_counter() - moment.began) * 1e3, 3),
            "provisional": True,
            "seen": round(moment.seen, 6),
        }
        if self.watch.only_changed:
            about["whole"] = not self._partial
        if moment.withheld is not None and (self.watch.factor_returns or self.watch.portfolios):
            about["withheld"] = moment.withheld
        return {**about, "replay": True} if moment.replayed else about

    def _matrix(self, moment: Moment, plan: Array | None) -> Array:
        """Its values by symbol, [n, n_symbols]; names that the plan cannot compute yet are NaN."""
        parts: list[Array] = []
        form: Any = FORMS[self.watch.form]
        if plan is not None and len(self._rows):
            parts.append(in_form(plan[self._rows], form))
        day = moment.day
        if day is not None and self.styles:
            at = {name: i for i, name in enumerate(day.style_names)}
            parts.append(in_form(day.scores[[at[name] for name in self.styles]], form))
        if day is not None and self.watch.factor_returns:
            known = day.specific_returns if moment.withheld is None else np.full_like(day.specific_returns, np.nan)
            parts.append(known[None, :])
        if not parts:
            return np.empty((0, len(self._symbols)))
        whole = parts[0] if len(parts) == 1 else np.concatenate(parts)
        return np.ascontiguousarray(whole if self._columns is None else whole[:, self._columns])

    def _returns_told(self, moment: Moment) -> bytes:
        """Give the returns of the factors as a message tells them, to be compared."""
        if moment.day is None or not self.watch.factor_returns or self.watch.encoding != "json" or moment.withheld:
            return b""
        return _estimated(moment.day).tobytes() + np.float64(moment.day.market_return).tobytes()

    def _arrow(self, values: Array, symbols: tuple[str, ...]) -> bytes:
        single = self.watch.encoding == SINGLE
        if symbols is self._symbols and symbols:
            if self._shape is None:
                self._shape = TableShape({"symbol": symbols}, (), self.by_symbol, single)
            return self._shape.write(values)
        rows = in_single(values) if single else values
        columns = [pl.Series(name, row, nan_to_null=False) for name, row in zip(self.by_symbol, rows, strict=True)]
        return encode(pl.DataFrame([pl.Series("symbol", symbols, dtype=pl.String), *columns]))

    def _json(self, about: dict[str, Any], values: Array, symbols: tuple[str, ...], moment: Moment) -> bytes:
        body: dict[str, Any] = {**about, "symbols": symbols}
        body["values"] = dict(zip(self.by_symbol, values, strict=True))
        day = moment.day
        if day is not None and self.watch.factor_returns:
            told = moment.withheld is None
            returns = _estimated(day) if told else [None] * len(day.factor_names)
            body["factor_returns"] = dict(zip(day.factor_names, returns, strict=True))
            body["market_return"] = day.market_return if told else None
        if day is not None and moment.books is not None:
            body["portfolios"] = {
                name: _book(moment.books, moment.book_of[name], day.factor_names, moment.withheld is None)
                if name in moment.book_of
                else None
                for name in self.watch.portfolios
            }
        return orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)


def _estimated(day: DayValues) -> Array:
    """Give the returns of the factors, NaN for those that no name seen has anything to say of."""
    return np.where(np.isfinite(day.standard_errors), day.factor_returns, np.nan)


def _book(books: PortfolioValues, i: int, names: tuple[str, ...], explained: bool) -> dict[str, Any]:
    """What is told of one book; its return by factor where the factors' returns are told."""

    def by_factor(values: Array) -> dict[str, float]:
        return dict(zip(names, values[i].tolist(), strict=True))

    return {
        "return": float(books.total[i]),
        "return_by_factor": by_factor(books.factor) if explained else None,
        "specific_return": float(books.specific[i]) if explained else None,
        "unexplained_return": float(books.unexplained[i]),
        "unseen_weight": float(books.unseen_weight[i]),
        "exposures": by_factor(books.exposures),
        "risk": float(books.risk[i]),
        "risk_before": float(books.risk_before[i]),
        "unknown_weight": float(books.unknown_weight[i]),
    }


def _differ(values: Array, before: Array) -> NDArray[np.bool_]:
    """Names of which a value differs; both missing are alike."""
    if values.shape != before.shape:
        return np.ones(values.shape[1], np.bool_)
    same = (values == before) | (np.isnan(values) & np.isnan(before))
    return np.asarray(~same.all(axis=0))


def _text(value: Any) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else str(value)


def _iso(time_us: int | None) -> str | None:
    if time_us is None:
        return None
    moment = dt.datetime(1970, 1, 1) + dt.timedelta(microseconds=time_us)  # noqa: DTZ001  (as the feed gave it)
    return moment.isoformat(timespec="microseconds") + "Z"
