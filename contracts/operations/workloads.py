"""The workloads, each owned by one actor, and where their actors want to be."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from contracts.work import Device


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
    JOBS = "jobs"


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
    Workload.JOBS: Placement((), None),
}
