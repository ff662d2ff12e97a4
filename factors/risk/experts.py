"""What adaptive estimators have in common: who the experts are, what they weigh, and how far they scale."""

from dataclasses import dataclass

import numpy as np

from factors.risk.arrays import FloatArray
from factors.risk.ewma import decay
from factors.risk.hedge import hedge_weights
from factors.risk.regime import regime_multiplier
from factors.risk.settings import ADAPTIVE, FactorCovarianceSettings, SpecificRiskSettings


@dataclass(frozen=True, slots=True)
class Expert:
    """A half-life, with or without the regime adjustment."""

    half_life: float
    regime_adjusted: bool

    def __str__(self) -> str:
        return f"{self.half_life:g} days{', regime-adjusted' if self.regime_adjusted else ''}"


class Experts:
    """The experts of an estimator with an adaptive half-life; none where the half-life is a number.

    Parameters
    ----------
    settings : FactorCovarianceSettings or SpecificRiskSettings
    """

    def __init__(self, settings: FactorCovarianceSettings | SpecificRiskSettings) -> None:
        self.settings = settings
        half_life = (
            settings.volatility_half_life if isinstance(settings, FactorCovarianceSettings) else settings.half_life
        )
        half_lives = settings.expert_half_lives if half_life == ADAPTIVE else ()
        kinds = (False, True) if settings.regime_half_life > 0.0 else (False,)
        self.members = tuple(Expert(days, adjusted) for days in half_lives for adjusted in kinds)
        self.half_lives = half_lives
        self.decays = np.array([decay(days) for days in half_lives])

    def __bool__(self) -> bool:
        return bool(self.members)

    @property
    def loss_decay(self) -> float:
        """Daily decay of past losses."""
        return decay(self.settings.expert_discount_half_life)

    @property
    def bounds(self) -> FloatArray:
        """`[3]`: lowest and highest regime multiplier, days before a series counts."""
        return np.array([*self.settings.regime_clip, max(self.settings.regime_min_observations, 1)], dtype=np.float64)

    def weights(self, losses: FloatArray) -> FloatArray:
        """Return weights `[..., E]` from losses `[..., E]`, see `factors.risk.hedge`."""
        return hedge_weights(losses, self.settings.expert_learning_rate, self.settings.expert_even_share)

    def scales(self, losses: FloatArray, regime: FloatArray) -> FloatArray:
        """Return `[H]`: each half-life's weight, what is regime-adjusted times the squared multiplier of `regime`."""
        weights = self.weights(losses).reshape(len(self.half_lives), -1)
        if weights.shape[1] == 1:
            return weights[:, 0].copy()
        least = int(self.bounds[2])
        multipliers = np.array([regime_multiplier(row, self.settings.regime_clip, least) for row in regime])
        scaled: FloatArray = weights[:, 0] + weights[:, 1] * multipliers * multipliers
        return scaled
