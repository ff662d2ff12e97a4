"""Factor covariance and specific risk of a model, with the weights of their experts day by day."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from factors.factor_model.settings import ModelSettings
from factors.factor_model.state import History
from factors.panel.panel import Array
from factors.risk.covariance import FactorCovariance
from factors.risk.specific import SpecificRisk

FACTOR_WEIGHTS, SPECIFIC_WEIGHTS = "factor_expert_weights", "specific_expert_weights"


class RiskStage:
    """The two estimators, None until they are fitted.

    Parameters
    ----------
    settings : ModelSettings
    history : History
        Takes the weights of experts [n_dates, E], where half-lives are adaptive.
    """

    def __init__(self, settings: ModelSettings, history: History) -> None:
        self.settings = settings
        self._history = history
        self.covariance: FactorCovariance | None = None
        self.specific: SpecificRisk | None = None

    def fit_covariance(self, factor_returns: Array) -> None:
        """Estimate the factor covariance from [n_dates, K], NaN where a factor was not estimated."""
        self.covariance = FactorCovariance(self.settings.factor_covariance).fit(factor_returns)
        if self.covariance.experts_:
            self._history.replace(FACTOR_WEIGHTS, self.covariance.expert_weights_by_day_, by_asset=False)

    def fit_specific(self, residuals: Array, caps: Array, exposures: Array) -> None:
        """Estimate specific risk from [n_dates, n_assets] and the exposures of the last date."""
        self.specific = SpecificRisk(self.settings.specific_risk).fit(residuals, caps, exposures)
        if self.specific.experts_:
            self._history.replace(SPECIFIC_WEIGHTS, self.specific.expert_weights_by_day_, by_asset=False)

    def update_covariance(self, factor_returns: Array, followed_by: int = 0) -> None:
        """Add days to the factor covariance, if it is fitted; so many follow before anybody asks."""
        if self.covariance is not None:
            self.covariance.update(factor_returns, followed_by)
            if self.covariance.experts_:
                self._history.append(FACTOR_WEIGHTS, self.covariance.expert_weights_by_day_, by_asset=False)

    def update_specific(self, residuals: Array, caps: Array, exposures: Array) -> None:
        """Add days to specific risk, if it is fitted."""
        if self.specific is not None:
            self.specific.update(residuals, caps, exposures)
            if self.specific.experts_:
                self._history.append(SPECIFIC_WEIGHTS, self.specific.expert_weights_by_day_, by_asset=False)

    def forget(self) -> None:
        """Forget both estimators."""
        self._history.drop(FACTOR_WEIGHTS, SPECIFIC_WEIGHTS)
        self.covariance = None
        self.specific = None

    def state(self) -> dict[str, NDArray[Any]]:
        """Give what `restore` takes up, and the answers beside it."""
        latest: dict[str, NDArray[Any]] = {}
        if self.covariance is not None:
            latest |= {f"factor_covariance/{name}": values for name, values in self.covariance.state().items()}
            latest["factor_covariance"] = self.covariance.covariance_
        if self.specific is not None:
            latest |= {f"specific_risk/{name}": values for name, values in self.specific.state().items()}
            latest["specific_variance"] = self.specific.specific_variance_
        return latest

    def restore(self, groups: dict[str, dict[str, NDArray[Any]]]) -> None:
        """Take up the arrays of `state`, grouped by what stands before the slash."""
        if "factor_covariance" in groups:
            self.covariance = FactorCovariance(self.settings.factor_covariance).restore(groups["factor_covariance"])
        if "specific_risk" in groups:
            self.specific = SpecificRisk(self.settings.specific_risk).restore(groups["specific_risk"])
