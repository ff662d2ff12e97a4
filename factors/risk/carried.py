"""What the estimators of risk have in common: arrays carried from day to day, and the regime adjustment over them."""

from __future__ import annotations

from typing import Self

import numpy as np

from factors.errors import StageError
from factors.risk.arrays import FloatArray
from factors.risk.experts import Expert, Experts
from factors.risk.regime import regime_multiplier
from factors.risk.settings import FactorCovarianceSettings, SpecificRiskSettings


class Carried:
    """State as named arrays; a subclass fills it and answers from it.

    Parameters
    ----------
    settings : FactorCovarianceSettings or SpecificRiskSettings
    """

    def __init__(self, settings: FactorCovarianceSettings | SpecificRiskSettings) -> None:
        self._experts = Experts(settings)
        self._regime = settings.regime_half_life, settings.regime_clip, settings.regime_min_observations
        self._state: dict[str, FloatArray] = {}
        self._losses_by_day = np.empty((0, len(self._experts.members)))

    def state(self) -> dict[str, FloatArray]:
        """Return what the next update needs, as arrays: copy, save, and give to `restore`."""
        return {name: array.copy() for name, array in self._state.items()}

    def restore(self, state: dict[str, FloatArray]) -> Self:
        """Carry on from `state()` of an estimator with the same settings."""
        self._state = {name: np.array(array, dtype=np.float64) for name, array in state.items()}
        self._forget_answers()
        return self

    @property
    def regime_multiplier_(self) -> float:
        """The volatility regime multiplier in effect; with experts, where all of them forecast alike without it."""
        if self._experts:
            return float(np.sqrt(self._expert_scales().sum()))
        half_life, clip, least = self._regime
        return 1.0 if half_life <= 0.0 else regime_multiplier(self._fitted()["regime"], clip, least)

    @property
    def experts_(self) -> tuple[Expert, ...]:
        """Half-lives and adjustments that an adaptive half-life mixes; none where the half-life is a number."""
        return self._experts.members

    @property
    def expert_weights_(self) -> FloatArray:
        """`[E]` weights of the experts in effect, which sum to 1."""
        return self._experts.weights(self._fitted()["losses"]) if self._experts else np.empty(0)

    @property
    def expert_weights_by_day_(self) -> FloatArray:
        """`[n_dates, E]` weights at the end of each day of the last `fit` or `update`."""
        return self._experts.weights(self._losses_by_day) if self._experts else self._losses_by_day

    def _expert_scales(self) -> FloatArray:
        state = self._fitted()
        return self._experts.scales(state["losses"], state["regime"])

    def _forget_answers(self) -> None:
        """Drop what was computed from an older state. Overridden by estimators."""

    def _fitted(self) -> dict[str, FloatArray]:
        if not self._state:
            raise StageError(f"fit or update {type(self).__name__} first")
        return self._state
