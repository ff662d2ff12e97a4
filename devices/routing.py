"""Which device a workload of some size would go to, and why: `route_factor_workload`."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from contracts.operations import OPERATIONS
from contracts.work import Device
from devices.dispatch import Dispatcher
from devices.kernels import KERNELS

FORMER_CLAIM = (5.0, 18.0)
"""What the engine that this replaces said its devices gain. It was a constant: nothing of it had been measured."""
LIKELY = 0.9


@dataclass(frozen=True)
class Size:
    """How large a workload is; each kernel reads what it depends on."""

    assets: int = 3000
    factors: int = 40
    portfolios: int = 1
    scenarios: int = 10_000
    dates: int = 1


@dataclass(frozen=True)
class Work:
    """What a workload asks of the devices: its kernel, that kernel's sizes, and whose tolerance holds."""

    kernel: str
    operation: str
    sizes: Callable[[Size], tuple[int, ...]]


WORK: dict[str, Work] = {
    "factor_exposure_analysis": Work("exposures", "factor_exposures", lambda s: (s.portfolios, s.assets, s.factors)),
    "risk_model_construction": Work("book_risk", "portfolio_risk", lambda s: (s.portfolios, s.assets, s.factors)),
    "scenarios": Work("revalue", "stress", lambda s: (s.portfolios, s.scenarios, s.factors)),
    "margin": Work("revalue", "margin", lambda s: (s.portfolios, s.scenarios, s.factors)),
    "factor_returns_estimation": Work("grams", "factor_returns", lambda s: (s.dates, s.assets, s.factors)),
    "covariance_matrix_computation": Work("covariances", "covariance", lambda s: (s.portfolios, s.dates, s.factors)),
    # The draws of the eigenfactor adjustment; what estimates a risk model beside them is the CPU's.
    "risk_model_estimation": Work("covariances", "risk_model", lambda s: (200 * s.dates, s.factors, s.factors)),
    # Scores that are given as features; those that a model stores are the CPU's.
    "style_factor_calculation": Work("standardize", "factor_features", lambda s: (s.dates, s.assets)),
    "ml_prediction": Work("network", "predict", lambda s: (s.assets, s.factors, 32, 3)),
}


@dataclass(frozen=True)
class Routing:
    """Where a workload would go.

    Attributes
    ----------
    primary_hardware, fallback : Device
        What would be asked, and what answers when that fails.
    estimated_performance_gain : float or None
        Time on the CPU over time on `primary_hardware`; 1 on the CPU; None while it was not measured.
    gain_interval : tuple of float, or None
        Its interval of 95 %.
    confidence : float
        Probability, from the measured spread of calls, that `primary_hardware` is the fastest of those that may run it.
    reason : str
        Why, in a sentence.
    """

    workload_type: str
    kernel: str
    sizes: dict[str, int]
    tolerance: float
    primary_hardware: Device
    fallback: Device
    estimated_performance_gain: float | None
    gain_interval: tuple[float, float] | None
    confidence: float
    reason: str
    milliseconds: dict[str, float | None]
    samples: dict[str, int]
    excluded: dict[str, str]

    def to_dict(self) -> dict[str, Any]:
        """Give it as plain values, with the former engine's claim beside what was measured."""
        return {
            **{name: getattr(self, name) for name in self.__dataclass_fields__},
            "primary_hardware": self.primary_hardware.value,
            "fallback": self.fallback.value,
            "gain_interval": list(self.gain_interval) if self.gain_interval else None,
            "former_claim": list(FORMER_CLAIM),
        }


def route_factor_workload(
    workload_type: str,
    data_size: int,
    complexity: int = 40,
    *,
    dispatcher: Dispatcher,
    portfolios: int = 1,
    scenarios: int = 10_000,
    dates: int = 1,
) -> Routing:
    """Say where a workload would go; nothing is run.

    Parameters
    ----------
    workload_type
        A key of `WORK`.
    data_size
        Names of the universe.
    complexity
        Factors; what work grows with beside names.
    dispatcher
        Whose measurements count.
    portfolios, scenarios, dates
        Further sizes.

    Raises
    ------
    KeyError
        For a workload that is none.
    """
    work = WORK[workload_type]
    kernel = KERNELS[work.kernel]
    sizes = work.sizes(Size(data_size, complexity, portfolios, scenarios, dates))
    tolerance = OPERATIONS[work.operation].tolerance
    made = dispatcher.prefer(work.kernel, sizes, tolerance)
    excluded = dispatcher.excluded(work.kernel, tolerance)
    milliseconds = {d.value: None if s is None else s * 1e3 for d, s in made.seconds.items()}
    return Routing(
        workload_type,
        work.kernel,
        dict(zip(kernel.names, sizes, strict=True)),
        tolerance,
        made.primary,
        made.fallback,
        None if math.isnan(made.gain) else made.gain,
        None if math.isnan(made.gain) else (made.gain_low, made.gain_high),
        made.confidence,
        _sentence(made.primary, milliseconds, excluded, made.confidence),
        milliseconds,
        {device.value: n for device, n in made.samples.items()},
        excluded,
    )


def _sentence(primary: Device, ms: dict[str, float | None], excluded: dict[str, str], confidence: float) -> str:
    own = ms[primary.value]
    out = f"{primary.value} takes {own:.3g} ms" if own is not None else f"{primary.value} was not measured yet"
    others = [f"{name} {took:.3g} ms" if took is not None else f"{name} was not measured" for name, took in ms.items()
              if name != primary.value]  # fmt: skip
    if others:
        out += f" ({', '.join(others)})"
        if confidence < LIKELY:
            out += ", which is not sure"
    return out + "".join(f"; {name}: {why}" for name, why in excluded.items())
