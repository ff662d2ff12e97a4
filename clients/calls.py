"""What can be called and how it is reached; a test compares it with the operation table of the engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from contracts import requests as rq
from contracts import results as rs
from contracts.frames import decode


@dataclass(frozen=True)
class Call:
    """One operation as a client sees it; `subject` is empty where it is reached over HTTP only."""

    name: str
    subject: str
    method: str
    path: str
    request: type[rq.Request]
    result: type[rs.Result]


_ROWS = (
    Call(
        "create_model", "toraniko.model_request.create", "POST", "/factor-model/create", rq.CreateModel, rs.ModelAnswer
    ),
    Call(
        "clean_features",
        "toraniko.model_request.clean_features",
        "POST",
        "/factor-model/clean-features",
        rq.CleanFeatures,
        rs.ModelAnswer,
    ),
    Call(
        "reduce_universe",
        "toraniko.model_request.reduce_universe",
        "POST",
        "/factor-model/reduce-universe",
        rq.ReduceUniverse,
        rs.ModelAnswer,
    ),
    Call(
        "append_day",
        "toraniko.model_request.append",
        "POST",
        "/factor-model/{model_id}/append",
        rq.AppendDay,
        rs.ModelAnswer,
    ),
    Call(
        "estimate_style_scores",
        "toraniko.model_request.estimate_style_scores",
        "POST",
        "/api/v1/factor-engine/model/estimate-style-scores",
        rq.EstimateStyles,
        rs.ModelAnswer,
    ),
    Call(
        "estimate_factor_returns",
        "toraniko.model_request.estimate_factor_returns",
        "POST",
        "/api/v1/factor-engine/model/estimate-factor-returns",
        rq.EstimateReturns,
        rs.ModelAnswer,
    ),
    Call("delete_model", "", "DELETE", "/factor-model/{model_id}", rq.ModelRef, rs.ModelAnswer),
    Call("list_models", "toraniko.model_request.list", "GET", "/factor-models/list", rq.Empty, rs.ModelList),
    Call(
        "model_status",
        "toraniko.model_request.status",
        "GET",
        "/factor-models/{model_id}/status",
        rq.ModelRef,
        rs.ModelStatus,
    ),
    Call(
        "style_factors",
        "analytics.factor_request.style_factors",
        "POST",
        "/style-factors/calculate",
        rq.StyleFactors,
        rs.CalculationAnswer,
    ),
    Call(
        "factor_returns",
        "analytics.factor_request.factor_returns",
        "POST",
        "/factor-returns/estimate",
        rq.FactorReturns,
        rs.CalculationAnswer,
    ),
    Call(
        "factor_exposures",
        "risk.factor_request.factor_exposures",
        "POST",
        "/factor-exposures/calculate",
        rq.FactorExposures,
        rs.CalculationAnswer,
    ),
    Call(
        "factor_features",
        "ml.factor_features.features",
        "POST",
        "/factor-features/calculate",
        rq.FactorFeatures,
        rs.CalculationAnswer,
    ),
    Call(
        "factor_signals",
        "strategy.factor_analysis.signals",
        "POST",
        "/factor-signals/calculate",
        rq.FactorSignals,
        rs.CalculationAnswer,
    ),
    Call(
        "covariance",
        "risk.factor_request.covariance",
        "POST",
        "/covariance/compute",
        rq.Covariance,
        rs.CalculationAnswer,
    ),
    Call(
        "momentum",
        "strategy.factor_analysis.momentum",
        "POST",
        "/individual-factors/momentum",
        rq.MomentumFactor,
        rs.CalculationAnswer,
    ),
    Call(
        "value",
        "strategy.factor_analysis.value",
        "POST",
        "/individual-factors/value",
        rq.ValueFactor,
        rs.CalculationAnswer,
    ),
    Call(
        "size", "strategy.factor_analysis.size", "POST", "/individual-factors/size", rq.SizeFactor, rs.CalculationAnswer
    ),
    Call(
        "risk_model", "risk.factor_request.risk_model", "POST", "/risk-model/create", rq.RiskModel, rs.CalculationAnswer
    ),
    Call(
        "portfolio_risk",
        "risk.factor_request.portfolio_risk",
        "POST",
        "/portfolio-risk/calculate",
        rq.PortfolioRisk,
        rs.CalculationAnswer,
    ),
    Call(
        "portfolio_attribution",
        "portfolio.factor_exposure.attribution",
        "POST",
        "/portfolio-attribution/calculate",
        rq.PortfolioAttribution,
        rs.CalculationAnswer,
    ),
    Call(
        "definitions",
        "ml.factor_features.definitions",
        "GET",
        "/factors/definitions",
        rq.Definitions,
        rs.DefinitionList,
    ),
    Call("factor_category", "", "GET", "/factors/categories/{category}", rq.FactorCategory, rs.DefinitionList),
    Call(
        "calculate_factors",
        "ml.factor_features.library",
        "POST",
        "/factors/calculate/{symbol}",
        rq.CalculateFactors,
        rs.CalculationAnswer,
    ),
    Call("factor_results", "", "GET", "/factors/results/{symbol}", rq.FactorResults, rs.CalculationAnswer),
    Call(
        "factor_cross_section",
        "ml.factor_features.cross_section",
        "POST",
        "/factors/cross-section",
        rq.FactorCrossSection,
        rs.CalculationAnswer,
    ),
    Call("update_factors", "", "POST", "/factors/update", rq.UpdateFactors, rs.CalculationAnswer),
    Call("factor_correlations", "", "POST", "/factors/correlations", rq.FactorCorrelations, rs.CalculationAnswer),
    Call("evaluate_formula", "", "POST", "/factors/evaluate", rq.EvaluateFormula, rs.CalculationAnswer),
)

CALLS: dict[str, Call] = {row.name: row for row in _ROWS}


def body_of(request: rq.Request) -> dict[str, Any]:
    """Give the fields that the caller set, JSON-able: a frame becomes an object of columns again."""
    fields = request.model_dump(exclude_unset=True)
    return {name: _columns(value) if isinstance(value, bytes) else value for name, value in fields.items()}


def _columns(payload: bytes) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = decode(payload).to_dict(as_series=False)
    return columns
