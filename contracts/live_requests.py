"""What callers send about a running day: watches, and which market a model follows."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, FiniteFloat, model_validator

from contracts.requests import BookName, MinPeriods, ModelId, Request
from contracts.weights import Symbol

WatchId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$", description="Letters, digits, _ -")]
MarketName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$", description="Letters, digits, _ -")]
FormulaName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,63}$")]
DEFAULT_MARKET = "main"
"""The market of ticks that name none, and of models that name none."""
LEAST_SEEN = 0.5
"""With half of the names a factor's return is off by less than the size that it usually has; with a twentieth it is off
by ten times that (docs/live.md)."""
LATE_S = 5.0
"""A correction estimates the day again, so that late rows that come together make one."""
SINGLE = "arrow_float32"
"""The encoding whose numbers are float32."""
EVERYTHING = "*"
"""As the only entry of `factors` or `styles`: all that the model's data can compute."""


class PutWatch(Request):
    """Watch values of the running day: they are published as the market moves, newest first, until the watch ends."""

    watch_id: WatchId
    model_id: ModelId | None = Field(None, description="Default: the default model.")
    factors: tuple[str, ...] = Field((), max_length=1000, description="Of the library; `*` alone: all.")
    formulas: dict[FormulaName, str] = Field(default_factory=dict, max_length=64, description="Name to formula.")
    min_periods: MinPeriods = "strict"
    styles: tuple[str, ...] = Field((), max_length=100, description="Style scores; `*` alone: all.")
    factor_returns: bool = Field(False, description="Returns of the factors and the specific returns so far.")
    portfolios: tuple[BookName, ...] = Field(
        (), max_length=64, description="Books by name: return so far by factor, exposures, predicted risk."
    )
    symbols: tuple[Symbol, ...] | None = Field(None, min_length=1, max_length=10_000, description="Default: all.")
    rate_ms: int = Field(100, ge=0, le=3_600_000, description="At most one message each so many milliseconds.")
    form: Literal["raw", "ranked", "zscored"] = Field("raw", description="Of factors, formulas and styles.")
    encoding: Literal["json", "arrow", "arrow_float32"] = Field(
        "json",
        description="Arrow: a table by symbol; no books. With float32 it is half as large, and numbers have 7 digits.",
    )
    only_changed: bool = Field(False, description="Only the names whose values changed since the message before.")
    idle_s: FiniteFloat = Field(
        86_400.0, ge=10.0, le=30 * 86_400.0, description="The watch ends when nobody listened to its values so long."
    )

    @model_validator(mode="after")
    def _watches_something(self) -> PutWatch:
        if not (self.factors or self.formulas or self.styles or self.factor_returns or self.portfolios):
            raise ValueError("one of factors, formulas, styles, factor_returns, portfolios must be given")
        if self.encoding != "json" and self.portfolios:
            raise ValueError("portfolios come as JSON: an Arrow message is a table by symbol")
        return self


class WatchRef(Request):
    """Show a watch: what it watches, what it costs, and how far it is."""

    watch_id: WatchId


class ListWatches(Request):
    """List the watches with their cost."""


class DeleteWatch(Request):
    """End a watch."""

    watch_id: WatchId


class FollowMarket(Request):
    """Say how a model's days run: which market's ticks it follows, and when their values are told."""

    model_id: ModelId
    market: MarketName = Field(
        DEFAULT_MARKET, description="Ticks that name no market are of `main`; several models may follow one."
    )
    least_seen: FiniteFloat = Field(
        LEAST_SEEN,
        ge=0.0,
        le=1.0,
        description="Factor returns are null until this share of the names is there, by count and by the regression's "
        "weight.",
    )
    closes_at: str | None = Field(
        None,
        pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9])?$",
        description="Time of day, of the ticks' clock. The day is committed when every active name has had a tick then "
        "or later. Default: by final bars alone.",
    )
    watermark_s: FiniteFloat | None = Field(
        None,
        ge=0.0,
        le=86_400.0,
        description="The day is committed with what is there when the market's time is so long after `closes_at`.",
    )
    late_s: FiniteFloat = Field(
        LATE_S,
        ge=0.0,
        le=3600.0,
        description="Rows that come after the commit are gathered so long for one correction.",
    )

    @model_validator(mode="after")
    def _has_a_close(self) -> FollowMarket:
        if self.watermark_s is not None and self.closes_at is None:
            raise ValueError("watermark_s counts from closes_at, which must be given")
        return self


class LiveStatus(Request):
    """Show a model's running day: its date, rows seen and rejected by kind, watches and lag."""

    model_id: ModelId | None = Field(None, description="Default: the default model.")
