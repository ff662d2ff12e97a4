"""The workloads, each owned by one actor or a pool of them, and what their actors need."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Workload(enum.StrEnum):
    """The workloads; each is owned by one actor, or by a pool of them (`contracts.pools`)."""

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
    JOBS = "jobs"


@dataclass(frozen=True)
class Placement:
    """What a workload's actor needs of a node. `target_ms` is the aim for one incremental day at 3,000 assets."""

    target_ms: float | None
    first: bool = False
    """Needed before HTTP answers for the model; the others start behind it."""
    stays: bool = False
    """It is not moved to a device's node, though a device may compute for it: what it holds is long in the making, or
    what the device computes is a small part."""
    held: str = ""
    """What its actor holds that no second one may have; "" where all of it is in the store."""


PLACEMENTS: dict[Workload, Placement] = {
    Workload.FACTOR_MODEL_CREATION: Placement(8.0, first=True),
    Workload.FACTOR_EXPOSURE_ANALYSIS: Placement(2.0, first=True),
    Workload.STYLE_FACTOR_CALCULATION: Placement(3.0),
    Workload.FACTOR_RETURNS_ESTIMATION: Placement(5.0),
    Workload.COVARIANCE_MATRIX_COMPUTATION: Placement(4.0),
    Workload.MOMENTUM_FACTOR: Placement(3.0),
    Workload.VALUE_FACTOR: Placement(3.0),
    Workload.SIZE_FACTOR: Placement(3.0),
    Workload.RISK_MODEL_CONSTRUCTION: Placement(10.0),
    Workload.PORTFOLIO_FACTOR_ATTRIBUTION: Placement(3.0, stays=True),
    Workload.FACTOR_LIBRARY: Placement(None, stays=True, held="the running days and each model's carried state"),
    Workload.JOBS: Placement(None),
}
