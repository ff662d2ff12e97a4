"""What callers send: one frozen model per operation. Field names are those of the engine this replaces."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    FiniteFloat,
    ValidationInfo,
    field_validator,
    model_validator,
)

from contracts.bars_table import BarsTable
from contracts.frames import Frame, TableSettings
from contracts.weights import HeldWeights, Names, SomeWeights, Symbol, Symbols, once, sane
from contracts.work import Priority


def _priority(value: Any) -> Any:
    return Priority.parse(value).name.lower() if isinstance(value, str | int) and not isinstance(value, bool) else value


PriorityName = Annotated[Literal["low", "normal", "high", "urgent", "critical"], BeforeValidator(_priority)]
ModelId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$", description="Letters, digits, . _ -")]
Fraction = Annotated[FiniteFloat, Field(ge=0, lt=0.5)]


class Request(BaseModel):
    """A request; unknown fields are ignored, as the engine this replaces did, and named in the answer."""

    model_config = ConfigDict(frozen=True, extra="ignore", str_max_length=100_000)

    messagebus_priority: PriorityName = "normal"
    request_id: str | None = Field(
        None, max_length=128, description="Repeat it to repeat a write safely: the same id gives the same version."
    )

    @property
    def ignored_fields(self) -> tuple[str, ...]:
        """What the caller sent that does nothing; known where the request was read."""
        private = self.__pydantic_private__
        return private["ignored"] if private else ()

    def ignoring(self, names: Iterable[str]) -> Self:
        """Note what the caller sent that does nothing."""
        # A declared private attribute is set up in every request, for a third of the time of checking it.
        _set(self, "__pydantic_private__", {"ignored": tuple(sorted(names))})
        return self

    def idle(self) -> Iterable[str]:
        """Give the fields that do nothing beside the others as they are; overridden by requests that have such."""
        return ()

    @property
    def keeps(self) -> str | None:
        """The field that names what a read keeps beyond its answer; overridden by requests that have such."""
        return None

    @classmethod
    def arrived(cls, fields: dict[str, Any]) -> Self:
        """Make the request again of its fields, which were validated where they came from.

        As pydantic's own ``__setstate__`` does, in a third of the time; ``model_construct`` takes ten times as long.
        """
        made = cls.__new__(cls)
        _set(made, "__dict__", fields)
        # Nobody changes the set of a frozen model, and its copies have one of their own, so all may share it.
        given = _GIVEN.get(cls)
        if given is None:
            given = _GIVEN[cls] = set(cls.model_fields)
        _set(made, "__pydantic_fields_set__", given)
        _set(made, "__pydantic_extra__", None)
        _set(made, "__pydantic_private__", None)
        return made


_set = object.__setattr__
_GIVEN: dict[type[Request], set[str]] = {}


class Empty(Request):
    """A request without fields."""


class ModelRef(Request):
    """A request about one model."""

    model_id: ModelId


class CreateModel(ModelRef):
    """Create a factor model, or a new version of it, from a table of features."""

    feature_data: Frame = Field(description="One row per date and symbol.")
    sector_encodings: Frame | list[str] | None = Field(
        None, description="One-hot sectors: the columns' names in feature_data, or a table keyed by date and symbol."
    )
    symbol_col: str = Field("symbol", min_length=1, max_length=128)
    date_col: str = Field("date", min_length=1, max_length=128)
    mkt_cap_col: str = Field("market_cap", min_length=1, max_length=128)
    intake: TableSettings = None
    settings: dict[str, Any] = Field(default_factory=dict, description="Settings of the model; see docs/api.md.")
    messagebus_priority: PriorityName = "high"


class CleanFeatures(ModelRef):
    """Winsorise, fill and smooth features; makes a new version and a recipe that append re-applies."""

    to_winsorize: dict[str, Fraction] | None = Field(None, description="Feature: fraction cut at each end, per date.")
    to_fill: Names | None = Field(None, description="Features to fill forward per symbol.")
    to_smooth: dict[str, Annotated[int, Field(ge=1, le=2520)]] | None = Field(
        None, description="Feature: window in days."
    )

    @model_validator(mode="after")
    def _something_to_do(self) -> CleanFeatures:
        if not (self.to_winsorize or self.to_fill or self.to_smooth):
            raise ValueError("one of to_winsorize, to_fill, to_smooth must be given")
        return self


class ReduceUniverse(ModelRef):
    """Keep the largest names by market cap; makes a new version and a recipe."""

    top_n: int = Field(2000, ge=1, le=100_000)


class AppendDay(ModelRef):
    """Add one or more new days to a model."""

    feature_data: Frame = Field(description="The new days' rows, same columns as at creation.")
    intake: TableSettings = None
    messagebus_priority: PriorityName = "high"


class CorrectDays(ModelRef):
    """Replace rows of past days; what follows from them is estimated again, and the answer says from which date on."""

    feature_data: Frame = Field(
        description="Rows of dates and symbols that the model has, under the names of creation. A null is a missing "
        "value; columns that the table does not have stay as they are."
    )
    intake: TableSettings = None
    messagebus_priority: PriorityName = "high"


STYLE_FRAMES = frozenset({"returns_data", "market_cap_data", "fundamental_data"})


def _given(request: Request, names: Iterable[str]) -> list[str]:
    return [name for name in names if getattr(request, name) is not None]


class StyleFactors(Request):
    """Style scores of a model, or of posted frames."""

    model_id: ModelId | None = None
    returns_data: Frame | None = Field(None, description="date, symbol, asset_returns")
    market_cap_data: Frame | None = Field(None, description="date, symbol, market_cap")
    fundamental_data: Frame | None = Field(None, description="date, symbol, book_price, sales_price, cf_price")
    intake: TableSettings = None
    trailing_days: int = Field(252, ge=2, le=2520)
    winsor_factor: Fraction = 0.01
    symbols: Symbols | None = Field(None, description="Limit the answer to these symbols.")

    @model_validator(mode="after")
    def _has_data(self) -> StyleFactors:
        if (
            self.model_id is None
            and self.returns_data is None
            and self.market_cap_data is None
            and self.fundamental_data is None
        ):
            raise ValueError("model_id or one of returns_data, market_cap_data, fundamental_data must be given")
        return self

    def idle(self) -> Iterable[str]:
        """A model beside frames; how frames are read, without any."""
        return ("model_id",) if _given(self, STYLE_FRAMES) else ("intake",)


class FactorReturns(Request):
    """Factor returns of a model, or of posted frames."""

    model_id: ModelId | None = None
    returns_df: Frame | None = Field(None, description="date, symbol, asset_returns")
    market_cap_df: Frame | None = Field(None, description="date, symbol, market_cap")
    sector_df: Frame | None = Field(None, description="date, symbol, one column per sector")
    style_df: Frame | None = Field(None, description="date, symbol, one column per style score")
    intake: TableSettings = None
    winsor_factor: Fraction | None = 0.01
    residualize_styles: bool = False
    start_date: dt.date | None = None
    end_date: dt.date | None = None

    @model_validator(mode="after")
    def _has_data(self) -> FactorReturns:
        frames = {
            "returns_df": self.returns_df,
            "market_cap_df": self.market_cap_df,
            "sector_df": self.sector_df,
            "style_df": self.style_df,
        }
        missing = [name for name, frame in frames.items() if frame is None]
        if missing and (self.model_id is None or len(missing) < len(frames)):
            raise ValueError(f"model_id, or all four frames, must be given; missing: {', '.join(missing)}")
        return self

    def idle(self) -> Iterable[str]:
        """A model and its period beside frames; how returns are estimated, of a model that has them."""
        posted = self.returns_df is not None
        return ("model_id", "start_date", "end_date") if posted else ("winsor_factor", "residualize_styles", "intake")


class EstimateStyles(ModelRef):
    """Estimate the model's style scores again with these settings and commit them as a new version."""

    trailing_days: int = Field(252, ge=2, le=2520)
    winsor_factor: Fraction = 0.01


class EstimateReturns(ModelRef):
    """Estimate the model's factor returns again with these settings and commit them as a new version."""

    winsor_factor: Fraction | None = 0.01
    residualize_styles: bool = False


Uncovered = Annotated[
    Literal["refuse", "warn", "proxy"],
    Field(description="Names that the model does not cover: refused, left out and named, or stood in for."),
]
Between = Annotated[
    Literal["rebalance", "drift"], Field(description="Between dates of holdings: kept at the weights, or drifting.")
]
BookName = Annotated[str, Field(max_length=128)]


def one_benchmark(benchmark: str | None, info: ValidationInfo) -> str | None:
    """Refuse a benchmark by name beside one by weights: one of them would do nothing."""
    if benchmark is not None and info.data.get("benchmark_weights") is not None:
        raise ValueError("benchmark_weights and benchmark: only one may be given")
    return benchmark


class BookRequest(Request):
    """A request about one book of one model."""

    model_id: ModelId | None = Field(None, description="Default: the model loaded at start.")
    portfolio_id: BookName | None = Field(
        None, description="With weights: a name for the answer. Without: a stored book, `market` or `equal`."
    )
    portfolio_weights: SomeWeights | None = Field(
        None,
        validate_default=True,
        description="Symbol, cash code or `portfolio:ID`: share of the book's value.",
    )
    uncovered: Uncovered = "warn"

    @field_validator("portfolio_weights")
    @classmethod
    def _has_a_book(cls, weights: dict[str, float] | None, info: ValidationInfo) -> dict[str, float] | None:
        if weights is None and info.data.get("portfolio_id") is None:
            raise ValueError("portfolio_weights or portfolio_id must be given")
        return None if weights is None else sane(weights)


class DatedBook(BookRequest):
    """A book on a date, against a benchmark or alone."""

    date_requested: dt.date | None = Field(None, description="Default: the model's last date.")
    benchmark_weights: HeldWeights | None = None
    benchmark: BookName | None = Field(None, description="Instead: a stored book, `market` or `equal`.")

    _one = field_validator("benchmark")(one_benchmark)


class FactorExposures(DatedBook):
    """The factor exposures of a portfolio."""

    messagebus_priority: PriorityName = "urgent"


class PortfolioAttribution(BookRequest):
    """Attribute a portfolio's return over a period to factors."""

    start_date: dt.date | None = None
    end_date: dt.date | None = None
    benchmark_weights: HeldWeights | None = None
    benchmark: BookName | None = Field(None, description="Instead: a stored book, `market` or `equal`.")
    between: Between = "rebalance"

    _one = field_validator("benchmark")(one_benchmark)


class PortfolioRisk(DatedBook):
    """Predicted risk of a portfolio, its contributions, VaR and expected shortfall.

    With a benchmark, `active` has those of the difference from it.
    """

    confidence: FiniteFloat = Field(0.99, gt=0.5, lt=1)
    horizon_days: int = Field(1, ge=1, le=252)


class Covariance(Request):
    """The factor covariance of a model, as stored or estimated again by another method."""

    model_id: ModelId | None = None
    method: Literal["model", "sample", "ewma", "ledoit_wolf", "oas"] = Field(
        "model", description="`ewma` has the model's own half-lives, lags and adjustments, over the window."
    )
    window_days: int | None = Field(None, ge=20, le=5040)


class IndividualFactor(Request):
    """One style's scores from a posted frame, or of a model."""

    own: ClassVar[str] = ""
    """The frame that the style is made of."""
    unused: ClassVar[tuple[str, ...]] = ()
    model_id: ModelId | None = None
    returns_data: Frame | None = Field(None, description="momentum: date, symbol, asset_returns")
    fundamental_data: Frame | None = Field(None, description="value: date, symbol, book_price, sales_price, cf_price")
    market_cap_data: Frame | None = Field(None, description="size: date, symbol, market_cap")
    intake: TableSettings = None
    trailing_days: int = Field(252, ge=2, le=2520)
    winsor_factor: Fraction = 0.01
    symbols: Symbols | None = None

    @model_validator(mode="after")
    def _has_data(self) -> Self:
        if self.own and self.model_id is None and getattr(self, self.own) is None:
            raise ValueError(f"model_id or {self.own} must be given")
        return self

    def idle(self) -> Iterable[str]:
        """What is of other styles; and a model beside the style's own frame, or without it how a frame is read."""
        posted = getattr(self, self.own) is not None
        return (*_given(self, STYLE_FRAMES - {self.own}), *self.unused, "model_id" if posted else "intake")


class MomentumFactor(IndividualFactor):
    """Momentum from returns."""

    own = "returns_data"


class ValueFactor(IndividualFactor):
    """Value from book, sales and cash flow to price."""

    own = "fundamental_data"
    unused = ("trailing_days",)


class SizeFactor(IndividualFactor):
    """Size from market cap."""

    own = "market_cap_data"
    unused = ("trailing_days", "winsor_factor")


class RiskModel(Request):
    """A risk model for a universe and a period: factor covariance, exposures and specific risk."""

    model_id: ModelId | None = None
    universe_symbols: Symbols = Field(default_factory=list, max_length=100_000, description="Empty: all.")
    start_date: dt.date | None = None
    end_date: dt.date | None = None
    universe_size: int = Field(3000, ge=1, le=100_000, description="Of more names so many, the largest.")


class FactorSignals(Request):
    """Per style: recent factor returns, momentum and trend; per symbol: the composite score."""

    model_id: ModelId | None = None
    symbols: Symbols | None = None
    window_days: int = Field(21, ge=2, le=504)


class Definitions(Request):
    """The factor library's definitions."""

    model_id: ModelId | None = None


FactorId = Annotated[str, Field(max_length=64)]
FactorIds = Annotated[list[FactorId], AfterValidator(once)]
GroupLevel = Literal["none", "sector", "industry", "subindustry"]


MinPeriods = Annotated[
    Literal["strict", "one"],
    Field(description='"one" lets a window of a formula speak before it is full, as the convention min_periods does.'),
]


class CrossSectionForms(Request):
    """How the forms of a cross-section are made: winsorised, z-scored, neutralised, ranked."""

    winsor_deviations: FiniteFloat = Field(
        3.0, gt=0, le=100, description="Values are clipped so many deviations from the mean of the date."
    )
    neutralise_by: GroupLevel | None = Field(
        None, description="Groups whose mean is taken out of the z-score; default: industry, where the model has any."
    )


class FactorCategory(CrossSectionForms):
    """The definitions of one category; with a symbol also their values of a date, in every form."""

    category: str = Field(max_length=64)
    model_id: ModelId | None = None
    symbol: Symbol | None = None
    date_requested: dt.date | None = Field(None, description="Default: the model's last date.")


class CalculateFactors(CrossSectionForms):
    """Library factors of one symbol on a model's data: the value and its place in the cross-section of the date."""

    symbol: Symbol
    model_id: ModelId | None = None
    factors: FactorIds | None = Field(None, max_length=2000, description="Default: all.")
    date_requested: dt.date | None = Field(None, description="Default: the model's last date.")
    min_periods: MinPeriods = "strict"


class FactorCrossSection(CrossSectionForms):
    """Library factors across all names of a date: raw, winsorised, z-scored, neutralised and ranked."""

    factors: FactorIds = Field(min_length=1, max_length=50)
    model_id: ModelId | None = None
    symbols: Symbols | None = Field(None, description="Names to show; the forms are always made over all.")
    date_requested: dt.date | None = Field(None, description="Default: the model's last date.")
    min_periods: MinPeriods = "strict"


class UpdateFactors(Request):
    """Bring the library of a model up to its newest day: one step for each appended day, or a first warm-up."""

    model_id: ModelId | None = None
    wait: bool = Field(
        True,
        description="False: the step of a library that is kept is taken at once; another is begun in the background, "
        "and the answer says how far it is.",
    )
    values: bool = Field(False, description="Also publish every name's values, as Arrow tables; a bar does.")
    messagebus_priority: PriorityName = "high"

    @property
    def light(self) -> bool:
        """Whether it is a step at most: it then does not wait behind what is long, nor steps back behind others."""
        return not self.wait


FormulaId = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]


Dialect = Literal["own", "qlib", "brain", "paper"]


class EvaluateFormula(Request, BarsTable):
    """Evaluate a formula of the caller's own on a model's data, or on a posted table of bars of any length."""

    formula: str = Field(min_length=1, max_length=4000)
    dialect: Dialect = Field(
        "own",
        description="In which language it is: this library's; qlib's; WorldQuant BRAIN's; Alpha101 with the signs of "
        "the paper's PDF. The answer shows the translation.",
    )
    model_id: ModelId | None = None
    symbols: Symbols | None = None
    date_requested: dt.date | None = None
    register_as: FormulaId | None = Field(
        None, description="Keep it under this id; where tokens are asked for, with one of scope write."
    )
    conventions: dict[str, Any] | str = Field(
        "paper",
        description="A preset (paper, alpha101v, brain, kunquant, qlib), or a table {base, key: value} of "
        'docs/formula-language.md: {"min_periods": "one"} lets a window speak before it is full.',
    )

    @property
    def keeps(self) -> str | None:
        """A formula that is registered is everybody's."""
        return "register_as" if self.register_as is not None else None

    def idle(self) -> Iterable[str]:
        """How a table is read, where a model is."""
        return () if self.frame_data is not None else ("time_col", "symbol_col", "intake", "bar_s", "bars")
