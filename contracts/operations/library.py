"""The factor library."""

from __future__ import annotations

from contracts import examples as ex
from contracts import requests as rq
from contracts import results as rs
from contracts.operations.row import Operation, get, post
from contracts.operations.workloads import Workload
from contracts.work import Lane

ROWS = (
    Operation(
        "definitions",
        Workload.FACTOR_LIBRARY,
        rq.Definitions,
        rs.DefinitionList,
        "factor_library",
        routes=get("/factors/definitions"),
        subjects=("ml.factor_features.definitions",),
        timeout_s=60.0,
    ),
    Operation(
        "factor_category",
        Workload.FACTOR_LIBRARY,
        rq.FactorCategory,
        rs.DefinitionList,
        "factor_library",
        routes=get("/factors/categories/{category}"),
        timeout_s=60.0,
        example={"category": "momentum"},
    ),
    Operation(
        "calculate_factors",
        Workload.FACTOR_LIBRARY,
        rq.CalculateFactors,
        rs.CalculationAnswer,
        "factor_library",
        lane=Lane.HEAVY,
        routes=post("/factors/calculate/{symbol}"),
        subjects=("ml.factor_features.library",),
        events=("factor.library.{symbol}",),
        timeout_s=120.0,
        example={"symbol": ex.SYMBOLS[0], "factors": ["barra_rstr"]},
    ),
    Operation(
        "factor_results",
        Workload.FACTOR_LIBRARY,
        rq.FactorResults,
        rs.CalculationAnswer,
        "factor_library",
        routes=get("/factors/results/{symbol}"),
        example={"symbol": ex.SYMBOLS[0]},
    ),
    Operation(
        "factor_cross_section",
        Workload.FACTOR_LIBRARY,
        rq.FactorCrossSection,
        rs.CalculationAnswer,
        "factor_library",
        lane=Lane.HEAVY,
        routes=post("/factors/cross-section"),
        subjects=("ml.factor_features.cross_section",),
        events=("factor.library.cross_section",),
        timeout_s=120.0,
        example={"factors": ["barra_rstr"], "symbols": list(ex.SYMBOLS)},
    ),
    Operation(
        "update_factors",
        Workload.FACTOR_LIBRARY,
        rq.UpdateFactors,
        rs.CalculationAnswer,
        "factor_library",
        lane=Lane.HEAVY,
        routes=post("/factors/update"),
        events=("factor.library.{model_id}",),
        message_type="FACTOR_LIBRARY_UPDATED",
        timeout_s=300.0,
        example={"wait": False},
    ),
    Operation(
        "factor_correlations",
        Workload.FACTOR_LIBRARY,
        rq.FactorCorrelations,
        rs.CalculationAnswer,
        "factor_library",
        lane=Lane.HEAVY,
        routes=post("/factors/correlations"),
        events=("factor.library.correlations",),
        timeout_s=120.0,
        example={"factors": ["barra_rstr", "barra_dastd"], "window_days": 20},
    ),
    Operation(
        "evaluate_formula",
        Workload.FACTOR_LIBRARY,
        rq.EvaluateFormula,
        rs.CalculationAnswer,
        "factor_library",
        lane=Lane.HEAVY,
        routes=post("/factors/evaluate"),
        events=("factor.library.evaluate",),
        timeout_s=120.0,
        example={"formula": "rank(ts_mean(returns, 5))", "symbols": list(ex.SYMBOLS)},
    ),
)
