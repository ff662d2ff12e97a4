"""What callers send about portfolios: stored books, risk, scenarios, hedges, construction.

A book is given by its weights, or by name: `portfolio_id` of a stored one, or `market` and `equal`, which are the
estimation universe of the model by capitalisation and in equal parts.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, FiniteFloat, ValidationInfo, field_validator, model_validator

from contracts.requests import (
    Between,
    BookName,
    BookRequest,
    DatedBook,
    Dialect,
    Fraction,
    MinPeriods,
    ModelId,
    Request,
    Uncovered,
    one_benchmark,
)
from contracts.weights import HeldWeights, Names, Symbol, Symbols, Weights, once

Weight = Annotated[FiniteFloat, Field(ge=-1e6, le=1e6)]
"""A change of a million times the book is a slip."""
Amount = Annotated[FiniteFloat, Field(ge=-1e15, le=1e15)]
PortfolioId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$", description="Letters, digits, . _ -")]
Confidence = Annotated[FiniteFloat, Field(gt=0.5, lt=1)]
Bound = tuple[Weight | None, Weight | None]
Size = Annotated[FiniteFloat, Field(ge=0, le=1e6)]
VersionNumber = Annotated[int, Field(ge=0, le=2**53)]


class PutPortfolio(Request):
    """Store a portfolio, or a new version of it, with its holdings by date."""

    portfolio_id: PortfolioId
    holdings: dict[str, dict[Symbol, Amount]] = Field(
        min_length=1,
        max_length=10_000,
        description="ISO date (or `always`): symbol to number. A symbol may be `CASH`, a currency code such as `USD`, "
        "or `portfolio:ID` for a book inside the book.",
    )
    kind: Literal["weights", "values", "shares"] = Field("weights", description="What the numbers are.")
    description: str = Field("", max_length=1000)
    base_version: VersionNumber | None = Field(
        None, description="Refused when the newest version is another; 0: new only."
    )


class AppendPortfolio(Request):
    """Add holdings of later dates to a portfolio, as a new version."""

    portfolio_id: PortfolioId
    holdings: dict[str, dict[Symbol, Amount]] = Field(min_length=1, max_length=10_000)


class PortfolioRef(Request):
    """Show a portfolio."""

    portfolio_id: PortfolioId
    portfolio_version: VersionNumber | None = Field(None, ge=1, description="Default: the newest.")


class DeletePortfolio(Request):
    """Delete a portfolio."""

    portfolio_id: PortfolioId


class ListPortfolios(Request):
    """List the stored portfolios."""


class RiskHistory(BookRequest):
    """A book's predicted risk day by day beside what it then made, with its bias statistic."""

    start_date: dt.date | None = Field(None, description="Default: a year before the end.")
    end_date: dt.date | None = None
    benchmark_weights: HeldWeights | None = None
    benchmark: BookName | None = None
    confidence: Confidence = 0.99
    between: Between = "rebalance"

    _one = field_validator("benchmark")(one_benchmark)


class Margin(DatedBook):
    """Value at risk and expected shortfall by method and horizon; beside a benchmark, of the difference from it."""

    methods: tuple[
        Literal["normal", "student_t", "student_t_fitted", "historical", "filtered_historical", "monte_carlo"], ...
    ] = Field(
        ("normal", "historical"),
        min_length=1,
        max_length=6,
        description="`student_t` has 5 degrees of freedom, `student_t_fitted` those of the book's own past days; "
        "`filtered_historical` takes each past day over the volatility of its time; `monte_carlo` draws `n_scenarios` "
        "factor returns, whose tails are those of a Student t with 5 degrees of freedom.",
    )
    n_scenarios: int = Field(10_000, ge=1000, le=200_000, description="Of `monte_carlo`.")
    horizons: tuple[Annotated[int, Field(ge=1, le=252)], ...] = Field(
        (1, 10), min_length=1, max_length=8, description="Days."
    )
    confidence: Confidence = 0.99
    book_value: Amount | None = Field(None, gt=0, description="With it the answer is in money too.")

    def idle(self) -> Iterable[str]:
        """Only Monte Carlo draws."""
        return () if "monte_carlo" in self.methods else ("n_scenarios",)


class Stress(DatedBook):
    """What a book makes under factor shocks, past episodes and shocks to single names."""

    shocks: dict[str, dict[str, Annotated[FiniteFloat, Field(ge=-1, le=10)]]] = Field(
        default_factory=dict, max_length=1000, description="Scenario: factor to return."
    )
    propagate: bool = Field(
        True,
        description="The other factors, and other names of a shocked issuer, move as the covariance expects, or stay.",
    )
    episodes: dict[str, tuple[dt.date, dt.date]] = Field(
        default_factory=dict, max_length=100, description="Scenario: first and last date of the model's own history."
    )
    name_shocks: dict[str, dict[Symbol, Annotated[FiniteFloat, Field(ge=-1, le=10)]]] = Field(
        default_factory=dict, max_length=1000, description="Scenario: symbol to return on top of the factors'."
    )

    @field_validator("shocks", "name_shocks", mode="before")
    @classmethod
    def _names_its_scenarios(cls, given: Any) -> Any:
        if isinstance(given, dict) and any(isinstance(one, int | float) for one in given.values()):
            raise ValueError('each scenario has a name: {"fall": {"market": -0.1}}')
        return given

    @model_validator(mode="after")
    def _has_a_scenario(self) -> Stress:
        if not (self.shocks or self.episodes or self.name_shocks):
            raise ValueError("one of shocks, episodes, name_shocks must be given")
        return self

    def idle(self) -> Iterable[str]:
        """What an episode did, it did to all factors."""
        return () if self.shocks or self.name_shocks else ("propagate",)


class WhatIf(DatedBook):
    """A book's risk before and after a list of trades, and what each trade does to it at the margin."""

    trades: dict[Symbol, Weight] = Field(min_length=1, max_length=10_000, description="Symbol: change of weight.")
    n_scenarios: int | None = Field(
        None,
        ge=1000,
        le=200_000,
        description="With it also a day's value at risk and expected shortfall before and after, over as many draws as "
        "the margin's `monte_carlo` makes.",
    )
    confidence: Confidence = 0.99

    def idle(self) -> Iterable[str]:
        """Without draws there is no tail."""
        return () if self.n_scenarios is not None else ("confidence",)


class HedgeBook(DatedBook):
    """The weights of instruments that hedge a book: least (active) risk, with chosen exposures at zero."""

    instruments: list[Symbol] = Field(
        min_length=1, max_length=500, description="Symbols, or `portfolio:ID` for a fund."
    )
    neutral_factors: Names = Field(default_factory=list, max_length=200)
    position: Bound = Field((None, None), description="Least and greatest weight of every instrument; null is open.")
    positions: dict[str, Bound] = Field(
        default_factory=dict,
        max_length=500,
        description="Instrument: its own least and greatest weight.",
    )
    gross: Size | None = Field(None, description="Greatest sum of absolute weights of the instruments.")


class ConstructBook(Request):
    """What limits the weights that are looked for."""

    model_id: ModelId | None = None
    symbols: Symbols | None = Field(
        None, min_length=1, max_length=100_000, description="What may be held; default: all covered."
    )
    date_requested: dt.date | None = None
    portfolio_id: BookName | None = Field(None, description="What is held now: a stored book.")
    portfolio_weights: Weights | None = Field(None, description="What is held now.")
    benchmark_weights: HeldWeights | None = None
    benchmark: BookName | None = None
    position: Bound = Field((0.0, 1.0), description="Least and greatest weight of a name.")
    net: Bound = Field((1.0, 1.0), description="Least and greatest sum of weights.")
    gross: Size | None = None
    active_position: Size | None = Field(None, description="Greatest absolute difference from the benchmark's weight.")
    exposures: dict[str, Bound] = Field(
        default_factory=dict, max_length=200, description="Factor: least and greatest (active) exposure; null is open."
    )
    turnover: Size | None = Field(None, description="Greatest sum of absolute trades.")
    max_risk: FiniteFloat | None = Field(None, gt=0, le=10, description="Greatest (active) volatility a year.")
    cost_bps: FiniteFloat = Field(
        0.0,
        ge=0,
        le=10_000,
        description="Cost of trading, in basis points of the value; it is set against a year's alpha and variance.",
    )
    uncovered: Uncovered = "warn"

    _one = field_validator("benchmark")(one_benchmark)

    @model_validator(mode="after")
    def _active_beside_something(self) -> ConstructBook:
        if self.active_position is not None and self.benchmark is None and self.benchmark_weights is None:
            raise ValueError("active_position needs benchmark or benchmark_weights")
        return self


def one_alpha(style: str | None, info: ValidationInfo) -> str | None:
    """Refuse a style as alpha beside alphas that are given: one of them would do nothing."""
    if style is not None and info.data.get("alpha") is not None:
        raise ValueError("alpha and alpha_style: only one may be given")
    return style


class Optimize(ConstructBook):
    """Weights of least risk, or of most alpha for the risk, under limits."""

    objective: Literal["min_risk", "max_alpha"] | None = Field(
        None, description="Default: `max_alpha` where alpha is given, else `min_risk`."
    )
    alpha: dict[Symbol, Annotated[FiniteFloat, Field(ge=-10, le=10)]] | None = Field(
        None, max_length=100_000, description="Expected return a year of each name; others 0."
    )
    alpha_style: str | None = Field(None, max_length=128, description="Take a style's scores as alpha instead.")
    risk_aversion: FiniteFloat = Field(10.0, ge=0, le=1e6, description="Per unit of variance a year.")

    _one_alpha = field_validator("alpha_style")(one_alpha)

    @property
    def sought(self) -> Literal["min_risk", "max_alpha"]:
        """The objective, asked for or by default."""
        with_alpha = self.alpha is not None or self.alpha_style is not None
        return self.objective or ("max_alpha" if with_alpha else "min_risk")

    @model_validator(mode="after")
    def _alpha_where_asked(self) -> Optimize:
        if self.objective == "max_alpha" and self.alpha is None and self.alpha_style is None:
            raise ValueError("max_alpha needs alpha or alpha_style")
        return self

    def idle(self) -> Iterable[str]:
        """Without alpha there is nothing to weigh risk against."""
        return ("risk_aversion",) if self.sought == "min_risk" else ()


class Frontier(ConstructBook):
    """The books of most alpha at each level of risk."""

    alpha: dict[Symbol, Annotated[FiniteFloat, Field(ge=-10, le=10)]] | None = Field(None, max_length=100_000)
    alpha_style: str | None = Field(None, max_length=128)
    n_points: int = Field(10, ge=2, le=50)

    _one_alpha = field_validator("alpha_style")(one_alpha)

    @model_validator(mode="after")
    def _alpha(self) -> Frontier:
        if self.alpha is None and self.alpha_style is None:
            raise ValueError("alpha or alpha_style must be given")
        return self


class Rebalance(ConstructBook):
    """The least trades, in weights and in shares, that bring a book to exposures or within limits."""

    book_value: Amount = Field(gt=0, description="Value of the book in money.")
    lot: FiniteFloat = Field(1.0, ge=1e-9, le=1e6, description="Shares that are traded together.")

    @model_validator(mode="after")
    def _from_something(self) -> Rebalance:
        if self.portfolio_weights is None and self.portfolio_id is None:
            raise ValueError("portfolio_weights or portfolio_id must be given")
        return self


class RiskBudget(Request):
    """Long-only weights whose risk contributions are equal, or in given shares."""

    model_id: ModelId | None = None
    symbols: Symbols | None = Field(None, min_length=1, max_length=100_000, description="Default: all covered.")
    budgets: dict[Symbol, Annotated[FiniteFloat, Field(ge=0, le=1e6)]] | None = Field(None, max_length=100_000)
    date_requested: dt.date | None = None
    uncovered: Uncovered = "warn"

    def idle(self) -> Iterable[str]:
        """The budgets name what is held."""
        return ("symbols",) if self.budgets is not None else ()


class FactorPerformance(Request):
    """How the factors did over a period: mean, volatility, t, information ratio, drawdown."""

    model_id: ModelId | None = None
    factors: Names | None = Field(None, max_length=500, description="Default: all.")
    start_date: dt.date | None = Field(None, description="Default: a year before the end.")
    end_date: dt.date | None = None


class FactorTrend(Request):
    """Momentum and trend of each factor's returns, and how crowded the names of each style are."""

    model_id: ModelId | None = None
    factors: Names | None = Field(None, max_length=500)
    window_days: int = Field(126, ge=3, le=1260)
    lag_days: int = Field(0, ge=0, le=252, description="Days left out of the momentum.")
    quantile: Fraction = Field(0.1, description="Share of names at each end whose crowding is measured.")


class FactorAnalytics(Request):
    """Judge a style, a library factor, a formula or posted scores by the returns that followed: a tear sheet."""

    model_id: ModelId | None = None
    style: str | None = Field(None, max_length=128)
    factor: str | None = Field(None, max_length=64, description="A factor of the library.")
    formula: str | None = Field(None, max_length=4000)
    scores: dict[str, dict[Symbol, Annotated[FiniteFloat, Field(ge=-1e100, le=1e100)]]] | None = Field(
        None, max_length=5040, description="ISO date: symbol to score."
    )
    start_date: dt.date | None = None
    end_date: dt.date | None = None
    horizons: tuple[Annotated[int, Field(ge=1, le=504)], ...] = Field((1, 5, 21), min_length=1, max_length=8)
    n_quantiles: int = Field(5, ge=2, le=100)
    trials: int = Field(1, ge=1, le=1_000_000, description="How many factors were tried to find this one.")
    min_periods: MinPeriods = "strict"
    dialect: Dialect = Field("own", description="In which language the formula is; the answer shows the translation.")
    html: bool = Field(False, description="Also give the page.")

    @model_validator(mode="after")
    def _one_factor(self) -> FactorAnalytics:
        given = [name for name in ("style", "factor", "formula", "scores") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"one of style, factor, formula, scores must be given, not {len(given)}")
        if self.min_periods != "strict" and given[0] in ("style", "scores"):
            raise ValueError(f"min_periods is about windows of a factor or a formula; {given[0]} has none")
        if self.dialect != "own" and given[0] != "formula":
            raise ValueError(f"dialect is about a formula; {given[0]} has none")
        return self


class LibrarySignals(Request):
    """Signals of library factors and formulas: what they foretold lately, and what they say of each name now."""

    model_id: ModelId | None = None
    factors: Annotated[tuple[Annotated[str, Field(max_length=64)], ...], AfterValidator(once)] = Field(
        (), max_length=50
    )
    formulas: dict[Annotated[str, Field(min_length=1, max_length=64)], Annotated[str, Field(max_length=4000)]] = Field(
        default_factory=dict, max_length=10, description="Formulas of your own, by a name for each."
    )
    symbols: Symbols | None = Field(None, description="Names to show; scores are made over all.")
    window_days: int = Field(63, ge=5, le=504, description="Days over which the rank IC is taken.")
    date_requested: dt.date | None = Field(None, description="Default: the model's last date.")
    min_periods: MinPeriods = "strict"

    @model_validator(mode="after")
    def _some(self) -> LibrarySignals:
        if not self.factors and not self.formulas:
            raise ValueError("factors or formulas must be given")
        return self
