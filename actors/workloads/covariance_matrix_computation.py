"""Factor covariance: the model's own, or estimated again from its factor returns by another method."""

from __future__ import annotations

import numpy as np

from actors.reading.confidence import confidence_score
from actors.reading.slices import Slices, returns_of_risk, settings_of
from actors.runtime.base import WorkloadActor
from contracts import requests as rq
from contracts.answers import Calculation
from contracts.errors import InvalidInput
from factors.panel.frequency import periods_per_year
from factors.risk.covariance import FactorCovariance
from factors.risk.settings import FactorCovarianceSettings


class CovarianceMatrixComputation(WorkloadActor):
    """Reads the stored covariance; another method runs the estimator of `factors` on the stored factor returns."""

    def prepare(self) -> None:
        """Open the store and compile the estimator's kernels."""
        self.slices = Slices()
        FactorCovariance().fit(np.random.default_rng(0).standard_normal((60, 4)) * 0.01)

    def covariance(self, request: rq.Covariance) -> Calculation:
        """Factor covariances, daily variance units."""
        version = self.slices.head(request.model_id)
        meta, method = version.manifest.meta, request.method
        names = list(meta["factor_names"])
        if method == "model":
            matrix = np.asarray(version.latest("answer/factor_covariance"))
            n_days = version.manifest.n_dates
        else:
            n_days = min(request.window_days or version.manifest.n_dates, version.manifest.n_dates)
            own = settings_of(version).factor_covariance
            days = slice(version.manifest.n_dates - n_days, version.manifest.n_dates)
            matrix = _estimate(returns_of_risk(version, days), method, own)
        year = periods_per_year(version.dates)
        eigenvalues = np.linalg.eigvalsh(matrix)
        return Calculation(
            values={
                "factors": names,
                "covariance": matrix.tolist(),
                "volatility_annual": dict(zip(names, np.sqrt(np.diag(matrix) * year).tolist(), strict=True)),
            },
            message=f"factor covariance of {len(names)} factors by {method} from {n_days} days",
            confidence_score=confidence_score(1.0, n_days, len(names)),
            model_version=version.manifest.version,
            details={
                "method": method,
                "n_days": n_days,
                "units": "daily variance",
                "periods_per_year": year,
                "smallest_eigenvalue": float(eigenvalues[0]),
                "condition_number": float(eigenvalues[-1] / eigenvalues[0]) if eigenvalues[0] > 0 else None,
            },
        )


def _estimate(factor_returns: np.ndarray, method: str, own: FactorCovarianceSettings) -> np.ndarray:
    """Estimate by a method; `ewma` has the half-lives, lags and adjustments that the model was fitted with."""
    observed = factor_returns[np.isfinite(factor_returns).any(axis=1)]
    if len(observed) < 2:
        raise InvalidInput("the window holds fewer than two days of factor returns", field="window_days")
    if method == "ewma":
        settings = own if own.method == "ewma" else FactorCovarianceSettings.adaptive()
        return np.asarray(FactorCovariance(settings).fit(factor_returns).covariance_)
    settings = FactorCovarianceSettings(method=method, window=len(observed))  # type: ignore[arg-type]
    return np.asarray(FactorCovariance(settings).fit(observed).covariance_)
