"""What the estimators of risk have in common: arrays carried from day to day, and the regime adjustment over them."""

from __future__ import annotations

from typing import Self

import numpy as np

from factors.errors import StageError
from factors.risk.arrays import FloatArray
from factors.risk.regime import regime_multiplier
from factors.risk.settings import FactorCovarianceSettings, SpecificRiskSettings


class Carried:
    """State as named arrays; a subclass fills it and answers from it.

    Parameters
    ----------
    settings : FactorCovarianceSettings or SpecificRiskSettings
    """

    def __init__(self, settings: FactorCovarianceSettings | SpecificRiskSettings) -> None:
        self._regime = settings.regime_half_life, settings.regime_clip, settings.regime_min_observations
        self._state: dict[str, FloatArray] = {}

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
        """The volatility regime multiplier in effect."""
        half_life, clip, least = self._regime
        return 1.0 if half_life <= 0.0 else regime_multiplier(self._fitted()["regime"], clip, least)

    def _forget_answers(self) -> None:
        """Drop what was computed from an older state. Overridden by estimators."""

    def _fitted(self) -> dict[str, FloatArray]:
        if not self._state:
            raise StageError(f"fit or update {type(self).__name__} first")
        return self._state
