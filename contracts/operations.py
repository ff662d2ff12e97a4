"""The one table that drives everything: each operation's models, actor, lane, routes and subjects.

HTTP routes, bus subscriptions, OpenAPI, the subject document and ``/health`` are made from it. A new operation is one
row here and one method of an actor.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Literal

from contracts import requests as rq
from contracts import results as rs
from contracts.work import Device, Lane

V1 = "/api/v1/factor-engine"


class Workload(enum.StrEnum):
    """The workloads; each is owned by one actor."""

    STYLE_FACTOR_CALCULATION = "style_factor_calculation"
    FACTOR_RETURNS_ESTIMATION = "factor_returns_estimation"
    FACTOR_MODEL_CREATION = "factor_model_creation"
    COVARIANCE_MATRIX_COMPUTATION = "covariance_matrix_computation"
    FACTOR_EXPOSURE_ANALYSIS = "factor_exposure_analysis"
    MOMENTUM_FACTOR = "momentum_factor"
    VALUE_FACTOR = "value_factor"
    SIZE_FACTOR = "size_factor"
    RISK_MODEL_CONSTRUCTION = "risk_model_construction"
    PORTFOLIO_FACTOR_ATTRIBUTION = "portfolio_factor_attribution"
    FACTOR_LIBRARY = "factor_library"


@dataclass(frozen=True)
class Placement:
    """Where a workload's actor wants to be.

    `devices` are custom resources, in order of preference; empty means CPU. `target_ms` is the aim for the compute
    stage of one incremental day at 3,000 assets.
    """

    devices: tuple[Device, ...]
    target_ms: float | None
    first: bool = False
    """Needed before HTTP answers for the model; the others start behind it."""


_NE, _GPU = Device.NEURAL_ENGINE, Device.METAL_GPU
PLACEMENTS: dict[Workload, Placement] = {
    Workload.FACTOR_MODEL_CREATION: Placement((_NE, _GPU), 8.0, first=True),
    Workload.FACTOR_EXPOSURE_ANALYSIS: Placement((_NE,), 2.0, first=True),
    Workload.STYLE_FACTOR_CALCULATION: Placement((_NE,), 3.0),
    Workload.FACTOR_RETURNS_ESTIMATION: Placement((_GPU,), 5.0),
    Workload.COVARIANCE_MATRIX_COMPUTATION: Placement((_GPU,), 4.0),
    Workload.MOMENTUM_FACTOR: Placement((_NE,), 3.0),
    Workload.VALUE_FACTOR: Placement((), 3.0),
    Workload.SIZE_FACTOR: Placement((), 3.0),
    Workload.RISK_MODEL_CONSTRUCTION: Placement((_NE, _GPU), 10.0),
    Workload.PORTFOLIO_FACTOR_ATTRIBUTION: Placement((_NE,), 3.0),
    Workload.FACTOR_LIBRARY: Placement((), None),
}


@dataclass(frozen=True)
class Route:
    """An HTTP route. Path parameters and query parameters are fields of the request model."""

    method: Literal["GET", "POST", "PUT", "DELETE"]
    path: str


@dataclass(frozen=True)
class Operation:
    """One thing the engine can do.

    Parameters
    ----------
    name
        The operation's name; also the actor's method.
    subjects
        Request subjects that it answers, last token included (``risk.factor_request.factor_exposures``).
    events
        Subjects that its result is published on; ``{field}`` is a token of the request or the result (`portfolio_id`,
        `model_id`, `symbol`, `factor_type`). Old names are listed behind the new one, as aliases.
    message_type
        ``ce-type`` of the event, the old MessageType.
    tolerance
        Largest relative error against the CPU kernel that another device may show and still be chosen.
    timeout_s
        Deadline when the caller names none.
    """

    name: str
    workload: Workload
    request: type[rq.Request]
    result: type[rs.Result]
    factor_type: str
    access: Literal["read", "write"] = "read"
    lane: Lane = Lane.LIGHT
    routes: tuple[Route, ...] = ()
    subjects: tuple[str, ...] = ()
    events: tuple[str, ...] = ()
    message_type: str = "FACTOR_CALCULATION"
    tolerance: float = 1e-6
    timeout_s: float = 10.0


def _post(*paths: str) -> tuple[Route, ...]:
    return tuple(Route("POST", path) for path in paths)


def _get(*paths: str) -> tuple[Route, ...]:
    return tuple(Route("GET", path) for path in paths)


_W = Workload
_ROWS = (
    # -- models as versioned values
    Operation(
        "create_model",
        _W.FACTOR_MODEL_CREATION,
        rq.CreateModel,
        rs.ModelAnswer,
        "factor_model",
        "write",
        Lane.HEAVY,
        _post("/factor-model/create", f"{V1}/model/create"),
        ("toraniko.model_request.create",),
        ("factor.model_created.{model_id}",),
        "FACTOR_MODEL_CREATED",
        timeout_s=300.0,
    ),
    Operation(
        "put_data",
        _W.FACTOR_MODEL_CREATION,
        rq.CreateModel,
        rs.ModelAnswer,
        "factor_model",
        "write",
        Lane.HEAVY,
        (Route("PUT", "/factor-model/{model_id}/data"),),
        (),
        ("factor.model_created.{model_id}",),
        "FACTOR_MODEL_CREATED",
        timeout_s=600.0,
    ),
    Operation(
        "clean_features",
        _W.FACTOR_MODEL_CREATION,
        rq.CleanFeatures,
        rs.ModelAnswer,
        "feature_cleaning",
        "write",
        Lane.HEAVY,
        _post("/factor-model/clean-features", f"{V1}/model/clean-features"),
        ("toraniko.model_request.clean_features",),
        ("factor.model_created.{model_id}",),
        "FACTOR_MODEL_UPDATED",
        timeout_s=300.0,
    ),
    Operation(
        "reduce_universe",
        _W.FACTOR_MODEL_CREATION,
        rq.ReduceUniverse,
        rs.ModelAnswer,
        "universe_reduction",
        "write",
        Lane.HEAVY,
        _post("/factor-model/reduce-universe", f"{V1}/model/reduce-universe"),
        ("toraniko.model_request.reduce_universe",),
        ("factor.model_created.{model_id}",),
        "FACTOR_MODEL_UPDATED",
        timeout_s=300.0,
    ),
    Operation(
        "append_day",
        _W.FACTOR_MODEL_CREATION,
        rq.AppendDay,
        rs.ModelAnswer,
        "factor_model",
        "write",
        Lane.HEAVY,
        _post("/factor-model/{model_id}/append"),
        ("toraniko.model_request.append",),
        ("factor.model_created.{model_id}",),
        "FACTOR_MODEL_UPDATED",
        timeout_s=60.0,
    ),
    Operation(
        "estimate_style_scores",
        _W.FACTOR_MODEL_CREATION,
        rq.EstimateStyles,
        rs.ModelAnswer,
        "style_factors",
        "write",
        Lane.HEAVY,
        _post(f"{V1}/model/estimate-style-scores"),
        ("toraniko.model_request.estimate_style_scores",),
        ("factor.style_factors.{model_id}",),
        timeout_s=300.0,
    ),
    Operation(
        "estimate_factor_returns",
        _W.FACTOR_MODEL_CREATION,
        rq.EstimateReturns,
        rs.ModelAnswer,
        "factor_returns",
        "write",
        Lane.HEAVY,
        _post(f"{V1}/model/estimate-factor-returns"),
        ("toraniko.model_request.estimate_factor_returns",),
        ("factor.factor_returns.{model_id}",),
        timeout_s=300.0,
    ),
    Operation(
        "delete_model",
        _W.FACTOR_MODEL_CREATION,
        rq.ModelRef,
        rs.ModelAnswer,
        "factor_model",
        "write",
        Lane.LIGHT,
        (Route("DELETE", "/factor-model/{model_id}"),),
        (),
        ("factor.model_created.{model_id}",),
        "FACTOR_MODEL_DELETED",
    ),
    Operation(
        "list_models",
        _W.FACTOR_EXPOSURE_ANALYSIS,
        rq.Empty,
        rs.ModelList,
        "factor_model",
        routes=_get("/factor-models/list", f"{V1}/models"),
        subjects=("toraniko.model_request.list",),
    ),
    Operation(
        "model_status",
        _W.FACTOR_EXPOSURE_ANALYSIS,
        rq.ModelRef,
        rs.ModelStatus,
        "factor_model",
        routes=_get("/factor-models/{model_id}/status", f"{V1}/model/{{model_id}}/status"),
        subjects=("toraniko.model_request.status",),
    ),
    # -- reads of a model, or calculations on posted frames
    Operation(
        "style_factors",
        _W.STYLE_FACTOR_CALCULATION,
        rq.StyleFactors,
        rs.CalculationAnswer,
        "style_factors",
        routes=_post("/style-factors/calculate"),
        subjects=("analytics.factor_request.style_factors", "toraniko.model_request.style_factors"),
        events=("factor.style_factors.scores", "factor.style_factors.momentum_value_size"),
        timeout_s=60.0,
    ),
    Operation(
        "factor_returns",
        _W.FACTOR_RETURNS_ESTIMATION,
        rq.FactorReturns,
        rs.CalculationAnswer,
        "factor_returns",
        routes=_post("/factor-returns/estimate"),
        subjects=("analytics.factor_request.factor_returns",),
        events=("factor.factor_returns.estimate", "factor.factor_returns_estimation.factor_returns"),
        timeout_s=60.0,
    ),
    Operation(
        "factor_exposures",
        _W.FACTOR_EXPOSURE_ANALYSIS,
        rq.FactorExposures,
        rs.CalculationAnswer,
        "factor_exposures",
        routes=_post("/factor-exposures/calculate"),
        subjects=("risk.factor_request.factor_exposures", "portfolio.factor_exposure.exposure"),
        events=("factor.portfolio_exposures.{portfolio_id}",),
        message_type="FACTOR_EXPOSURE",
    ),
    Operation(
        "factor_features",
        _W.FACTOR_EXPOSURE_ANALYSIS,
        rq.FactorFeatures,
        rs.CalculationAnswer,
        "factor_features",
        routes=_post("/factor-features/calculate"),
        subjects=("ml.factor_features.features",),
        events=("factor.style_factors.features",),
    ),
    Operation(
        "factor_signals",
        _W.STYLE_FACTOR_CALCULATION,
        rq.FactorSignals,
        rs.CalculationAnswer,
        "factor_signals",
        routes=_post("/factor-signals/calculate"),
        subjects=("strategy.factor_analysis.signals",),
        events=("factor.style_factors.signals",),
    ),
    Operation(
        "covariance",
        _W.COVARIANCE_MATRIX_COMPUTATION,
        rq.Covariance,
        rs.CalculationAnswer,
        "factor_covariance",
        routes=_post("/covariance/compute"),
        subjects=("risk.factor_request.covariance",),
        events=("factor.risk_model.covariance",),
        timeout_s=30.0,
    ),
    Operation(
        "momentum",
        _W.MOMENTUM_FACTOR,
        rq.MomentumFactor,
        rs.CalculationAnswer,
        "momentum",
        routes=_post("/individual-factors/momentum"),
        subjects=("strategy.factor_analysis.momentum",),
        events=("factor.individual.momentum",),
        timeout_s=60.0,
    ),
    Operation(
        "value",
        _W.VALUE_FACTOR,
        rq.ValueFactor,
        rs.CalculationAnswer,
        "value",
        routes=_post("/individual-factors/value"),
        subjects=("strategy.factor_analysis.value",),
        events=("factor.individual.value",),
        timeout_s=60.0,
    ),
    Operation(
        "size",
        _W.SIZE_FACTOR,
        rq.SizeFactor,
        rs.CalculationAnswer,
        "size",
        routes=_post("/individual-factors/size"),
        subjects=("strategy.factor_analysis.size",),
        events=("factor.individual.size",),
        timeout_s=60.0,
    ),
    Operation(
        "risk_model",
        _W.RISK_MODEL_CONSTRUCTION,
        rq.RiskModel,
        rs.CalculationAnswer,
        "risk_model",
        lane=Lane.HEAVY,
        routes=_post("/risk-model/create"),
        subjects=("risk.factor_request.risk_model",),
        events=("factor.risk_model.created",),
        message_type="RISK_MODEL_CREATED",
        timeout_s=120.0,
    ),
    Operation(
        "portfolio_risk",
        _W.RISK_MODEL_CONSTRUCTION,
        rq.PortfolioRisk,
        rs.CalculationAnswer,
        "portfolio_risk",
        routes=_post("/portfolio-risk/calculate"),
        subjects=("risk.factor_request.portfolio_risk", "portfolio.factor_exposure.risk"),
        events=("factor.risk_model.portfolio_risk",),
    ),
    Operation(
        "portfolio_attribution",
        _W.PORTFOLIO_FACTOR_ATTRIBUTION,
        rq.PortfolioAttribution,
        rs.CalculationAnswer,
        "portfolio_attribution",
        routes=_post("/portfolio-attribution/calculate"),
        subjects=("portfolio.factor_exposure.attribution", "analytics.factor_request.attribution"),
        events=("factor.portfolio_exposures.attribution",),
        timeout_s=30.0,
    ),
    # -- the factor library
    Operation(
        "definitions",
        _W.FACTOR_LIBRARY,
        rq.Definitions,
        rs.DefinitionList,
        "factor_library",
        routes=_get("/factors/definitions"),
        subjects=("ml.factor_features.definitions",),
        timeout_s=60.0,
    ),
    Operation(
        "factor_category",
        _W.FACTOR_LIBRARY,
        rq.FactorCategory,
        rs.DefinitionList,
        "factor_library",
        routes=_get("/factors/categories/{category}"),
        timeout_s=60.0,
    ),
    Operation(
        "calculate_factors",
        _W.FACTOR_LIBRARY,
        rq.CalculateFactors,
        rs.CalculationAnswer,
        "factor_library",
        lane=Lane.HEAVY,
        routes=_post("/factors/calculate/{symbol}"),
        subjects=("ml.factor_features.library",),
        events=("factor.library.{symbol}",),
        timeout_s=120.0,
    ),
    Operation(
        "factor_results",
        _W.FACTOR_LIBRARY,
        rq.FactorResults,
        rs.CalculationAnswer,
        "factor_library",
        routes=_get("/factors/results/{symbol}"),
    ),
    Operation(
        "factor_cross_section",
        _W.FACTOR_LIBRARY,
        rq.FactorCrossSection,
        rs.CalculationAnswer,
        "factor_library",
        lane=Lane.HEAVY,
        routes=_post("/factors/cross-section"),
        subjects=("ml.factor_features.cross_section",),
        events=("factor.library.cross_section",),
        timeout_s=120.0,
    ),
    Operation(
        "update_factors",
        _W.FACTOR_LIBRARY,
        rq.UpdateFactors,
        rs.CalculationAnswer,
        "factor_library",
        lane=Lane.HEAVY,
        routes=_post("/factors/update"),
        events=("factor.library.{model_id}",),
        message_type="FACTOR_LIBRARY_UPDATED",
        timeout_s=300.0,
    ),
    Operation(
        "factor_correlations",
        _W.FACTOR_LIBRARY,
        rq.FactorCorrelations,
        rs.CalculationAnswer,
        "factor_library",
        lane=Lane.HEAVY,
        routes=_post("/factors/correlations"),
        events=("factor.library.correlations",),
        timeout_s=120.0,
    ),
    Operation(
        "evaluate_formula",
        _W.FACTOR_LIBRARY,
        rq.EvaluateFormula,
        rs.CalculationAnswer,
        "factor_library",
        lane=Lane.HEAVY,
        routes=_post("/factors/evaluate"),
        events=("factor.library.evaluate",),
        timeout_s=120.0,
    ),
)

OPERATIONS: dict[str, Operation] = {row.name: row for row in _ROWS}


def of_workload(workload: Workload) -> tuple[Operation, ...]:
    """List the operations that a workload's actor answers."""
    return tuple(row for row in _ROWS if row.workload is workload)


def by_subject() -> dict[str, Operation]:
    """Map each request subject to its operation."""
    return {subject: row for row in _ROWS for subject in row.subjects}
