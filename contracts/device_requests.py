"""What callers ask about devices: where a workload would be computed, and to measure anew."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from contracts.requests import Request


class ExplainRouting(Request):
    """Where a workload of some size would be computed, and why."""

    workload: Literal[
        "factor_exposure_analysis",
        "risk_model_construction",
        "scenarios",
        "margin",
        "factor_returns_estimation",
        "covariance_matrix_computation",
        "style_factor_calculation",
        "ml_prediction",
    ] = "factor_exposure_analysis"
    assets: int = Field(3000, ge=1, le=1_000_000, description="Names.")
    factors: int = Field(40, ge=1, le=10_000)
    portfolios: int = Field(1, ge=1, le=1_000_000)
    scenarios: int = Field(10_000, ge=1, le=10_000_000)
    dates: int = Field(1, ge=1, le=100_000)


class CalibrateDevices(Request):
    """Measure every device of the node anew: what each kernel takes and how it errs."""
