"""What callers get back, in the shapes of the engine this replaces. OpenAPI and the tests use these models."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from contracts.work import Device


class Result(BaseModel):
    """A result; fields beyond the documented ones may be added."""

    model_config = ConfigDict(extra="allow")


class CalculationResult(Result):
    """One calculation and how it was made."""

    calculation_id: str
    factor_type: str
    factor_values: dict[str, Any] | None = None
    factor_exposures: dict[str, float] | None = None
    calculation_time_ms: float = Field(ge=0, description="Time in the workload actor's kernel and around it.")
    hardware_used: Device = Field(description="The device that ran it.")
    confidence_score: float = Field(ge=0, le=1, description="See docs/api.md for the formula.")
    model_version: int | None = None
    messagebus_published: bool = Field(description="NATS is connected and the event is in the outbox.")
    messagebus_queued: bool | None = Field(None, description="NATS is not connected; the event waits in the outbox.")


class CalculationAnswer(Result):
    """The answer of every calculating operation."""

    success: bool
    message: str
    calculation_result: CalculationResult


class ModelStatus(Result):
    """A model at its newest version."""

    model_id: str
    model_version: int
    n_dates: int
    n_assets: int
    first_date: str
    last_date: str
    factors: list[str]
    largest_symbols: list[str] | None = Field(None, description="By cap on the last date; not in the list of models.")


class ModelAnswer(Result):
    """The answer of an operation that makes or removes a version."""

    success: bool
    message: str
    model_id: str
    model_version: int
    calculation_result: CalculationResult


class QualityFinding(Result):
    """One kind of thing that looked wrong in a model's data."""

    kind: str
    severity: str = Field(description="error, warning or info.")
    title: str
    line: str = Field(description="The finding in a line, with its first rows.")
    field: str | None = Field(description="The column.")
    note: str
    n_rows: int
    names: list[str]
    dates: list[str]
    rows: list[list[str | None]] = Field(description="Date and symbol, at most 1000; n_rows counts all.")
    effect: str = Field(description="What it does to which numbers.")
    remedy: str = Field(description="What to do.")


class ModelQuality(Result):
    """What looked wrong in the data of a model's newest version."""

    model_id: str
    model_version: int
    policy: str
    first_date: str
    last_date: str
    findings: list[QualityFinding]


class UnreadableModel(Result):
    """A model whose files are damaged or of another release; the others are not touched by it."""

    model_id: str
    file: str | None
    reason: str


class ModelList(Result):
    """All models, and apart from them those that cannot be read."""

    models: list[ModelStatus]
    count: int
    unreadable: list[UnreadableModel] = []


class RoutingPage(Result):
    """Where a workload of some size would be computed, and why."""

    workload_type: str
    kernel: str = Field(description="What computes it; docs/devices.md has the list.")
    sizes: dict[str, int]
    tolerance: float = Field(description="Largest error allowed, relative to the largest number of the result.")
    primary_hardware: Device
    fallback: Device = Field(description="What answers when that fails.")
    estimated_performance_gain: float | None = Field(
        description="Measured time on the CPU over that on primary_hardware; 1 on the CPU, None where not measured."
    )
    gain_interval: list[float] | None = Field(description="Its interval of 95 %.")
    confidence: float = Field(ge=0, le=1, description="Probability that primary_hardware is the fastest.")
    reason: str
    milliseconds: dict[str, float | None]
    samples: dict[str, int] = Field(description="Measured calls that count, by device.")
    excluded: dict[str, str] = Field(description="Devices that may not run it now, and why.")
    former_claim: list[float] = Field(description="What the former engine claimed as the gain, unmeasured.")


class CalibrationPage(Result):
    """What was measured of the devices."""

    success: bool
    key: str = Field(description="Of the chip, the system and the libraries that it holds for.")
    rows: list[dict[str, Any]] = Field(description="Kernel, sizes, device, ms, first_ms, error; or failed.")
    devices: dict[str, str | None] = Field(description="What is there, or why not.")


class PortfolioSummary(Result):
    """A stored portfolio."""

    portfolio_id: str
    portfolio_version: int
    kind: str = Field(description="Whether its holdings are weights, values or shares.")
    created_at: str
    n_dates: int
    first_date: str | None = Field(description="None: the holdings hold on any date.")
    last_date: str | None
    n_positions: int


class PortfolioPage(PortfolioSummary):
    """A stored portfolio with its holdings."""

    description: str
    holdings: dict[str, dict[str, float]]


class PortfolioList(Result):
    """All stored portfolios."""

    portfolios: list[PortfolioSummary]
    count: int


class WatchPage(Result):
    """A watch: what it watches, how far it is, and what it costs."""

    watch_id: str
    model_id: str
    subject: str = Field(description="Where its values are published, on core NATS.")
    state: str = Field(description="warming, live, waiting (for the first tick of a day) or faulted.")
    reason: str | None = Field(None, description="Why it is not live.")
    values: int = Field(description="Numbers in a whole message.")
    sequence: int = Field(description="Messages made since the actor began.")
    cost_ms: float | None = Field(None, description="Of its own part of a tick, lately: forms and encoding.")
    plan_ms: float | None = Field(None, description="Of the plan that it shares with the model's other watches.")
    plan_share: float | None = Field(None, description="Its share of the factors and formulas of that plan.")
    watch: dict[str, Any] = Field(description="As it was put.")


class WatchList(Result):
    """All watches with their cost."""

    watches: list[WatchPage]
    count: int
    limit: int


class LivePage(Result):
    """A model's running day."""

    model_id: str
    market: str
    state: str
    date: str | None = Field(description="The running day; None before its first row.")
    committed: str = Field(description="The last day that is committed.")
    seen: int = Field(description="Active names with a row today.")
    active: int
    closes_at: str | None
    watermark_s: float | None
    late_s: float
    least_seen: float
    seen_weight: float | None = Field(description="Share of the regression's weight that has a row today.")
    withheld: str | None = Field(description="Why factor returns are not told yet.")
    rows: int = Field(description="Rows taken today.")
    rejected: dict[str, int] = Field(description="Rows that were not computed with, by kind.")
    late: dict[str, Any] = Field(
        description="Of the last committed day: rows that came late, their names, and the corrections made of them."
    )
    watches: list[str]


class EstimatorSummary(Result):
    """A registered estimator."""

    estimator_id: str
    estimator_version: int
    kind: str = Field(description="The class that was saved.")
    features: list[str] = Field(description="What its columns are.")
    trusted: list[str] = Field(description="Types that were trusted by name.")
    sha256: str = Field(description="Of the file.")
    n_bytes: int
    created_at: str
    description: str
    saved_by: str = Field(
        description="The release of scikit-learn that saved it, another one of which may predict otherwise; or what "
        "made the file of ONNX."
    )
    format: str = Field(description="`skops` or `onnx`.")
    network: bool = Field(description="Whether it is a network of dense layers, which devices can compute.")
    features_form: str = Field(description="How a model's features are given to it: `raw` or `zscored`.")
    features_clip: float | None = Field(description="Where z-scores are cut.")


class EstimatorList(Result):
    """All registered estimators."""

    estimators: list[EstimatorSummary]
    count: int


class DefinitionList(Result):
    """Definitions of the factor library and what they can compute on the data at hand."""

    loaded: int
    computable: int
    missing: dict[str, str]
    definitions: list[dict[str, Any]]


class FactorDefinitionPage(Result):
    """One factor of the library, or one registered formula."""

    id: str
    other_names: list[str]
    name: str | None = Field(None, description="Its title; of a registered formula there is none, nor what follows it.")
    category: str
    formula: str
    source: str | None = None
    citation: str | None = None
    erratum: str | None = Field(None, description="Where the formula differs from the printed one, and why.")
    delay: int | None = Field(None, description="Days from the data to the day that it is of.")
    neutralisation: str | None = None
    conventions: dict[str, Any] | None = None
    version: int | None = None
    inputs: list[str]
    warmup: int = Field(description="Dates before the first value.")
    recursive: bool = Field(description="Whether it carries a state that all earlier dates are in.")
    computable: bool
    missing: str | None = Field(None, description="What the model's data lack for it.")
    proxies: dict[str, str] = Field(description="Of its inputs, those that are made of others in this model.")


class LanguageTable(Result):
    """What a formula may be written with: operators, and names of fields, groups, derived and shared values."""

    operators: list[dict[str, Any]]
    names: list[dict[str, Any]]


class PlainAnswer(Result):
    """An answer without a fixed shape beyond `success`."""

    success: bool


class Problem(BaseModel):
    """RFC 9457 problem document."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    retryable: bool
    field: str | None = None
    rows: list[Any] | None = None
    retry_after_s: float | None = None
    instance: str | None = None
