"""Learning: features, data sets, registered estimators and predictions."""

from __future__ import annotations

from contracts import examples as ex
from contracts import learning_requests as lr
from contracts import results as rs
from contracts.example_estimator import EXAMPLE_FILE
from contracts.operations.row import Operation, Route, get, post
from contracts.operations.workloads import Workload
from contracts.work import Lane

ESTIMATOR = "example-estimator"
_LIBRARY = Workload.FACTOR_LIBRARY

ROWS = (
    Operation(
        "factor_features",
        _LIBRARY,
        lr.FactorFeatures,
        rs.CalculationAnswer,
        "factor_features",
        lane=Lane.HEAVY,
        routes=post("/factor-features/calculate"),
        subjects=("ml.factor_features.features",),
        events=("factor.style_factors.features",),
        timeout_s=60.0,
        example={"symbols": list(ex.SYMBOLS)},
        table=("rows", "symbol"),
        # Of z-scores: whoever learns from them loses nothing by the fourth digit. Data sets are the CPU's, to the bit.
        tolerance=1e-3,
        kernel="standardize",
    ),
    Operation(
        "dataset",
        _LIBRARY,
        lr.Dataset,
        rs.CalculationAnswer,
        "dataset",
        lane=Lane.HEAVY,
        routes=post("/ml/dataset"),
        subjects=("ml.factor_features.dataset",),
        events=("factor.library.dataset",),
        timeout_s=300.0,
        example={"symbols": list(ex.SYMBOLS), "horizons": [1, 5], "n_folds": 4, "embargo_days": 2},
        table=("arrow", "date"),
    ),
    Operation(
        "put_estimator",
        _LIBRARY,
        lr.PutEstimator,
        rs.CalculationAnswer,
        "estimator",
        "write",
        Lane.HEAVY,
        (Route("PUT", "/estimators/{estimator_id}"),),
        timeout_s=120.0,
        example={"estimator_id": ESTIMATOR, "estimator": EXAMPLE_FILE, "features": ["beta", "momentum"]},
        written="estimator_id",
        operator=True,
    ),
    Operation(
        "list_estimators",
        _LIBRARY,
        lr.ListEstimators,
        rs.EstimatorList,
        "estimator",
        routes=get("/estimators"),
        subjects=("ml.factor_features.list_estimators",),
    ),
    Operation(
        "predict",
        _LIBRARY,
        lr.Predict,
        rs.CalculationAnswer,
        "prediction",
        lane=Lane.HEAVY,
        routes=post("/ml/predict"),
        subjects=("ml.factor_features.predict",),
        events=("factor.library.prediction",),
        timeout_s=60.0,
        example={"estimator_id": ESTIMATOR, "symbols": list(ex.SYMBOLS)},
        table=("by_name", "symbol"),
        # Of a network: predictions rank names, and say nothing to the third digit.
        tolerance=5e-3,
        kernel="network",
    ),
    Operation(
        "delete_estimator",
        _LIBRARY,
        lr.DeleteEstimator,
        rs.CalculationAnswer,
        "estimator",
        "write",
        Lane.HEAVY,
        (Route("DELETE", "/estimators/{estimator_id}"),),
        timeout_s=60.0,
        example={"estimator_id": ESTIMATOR},
        written="estimator_id",
        operator=True,
    ),
)
