"""The risk model of every day of a period, as it was known at each close; estimated again day by day, and kept."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from actors.reading.slices import Day, caps_name, returns_of_risk, settings_of
from factors.numeric import deadline
from factors.risk.covariance import FactorCovariance
from factors.risk.eigenfactor import Products
from factors.risk.specific import SpecificRisk
from store import Version
from store.lru import LRU

PATHS_KEPT = 2


class RiskPath(NamedTuple):
    """Daily estimates of the rows from `first` on: covariances [T, K, K], specific variances [T, n_assets]."""

    first: int
    covariances: np.ndarray
    specific: np.ndarray

    def rows(self, days: slice) -> tuple[np.ndarray, np.ndarray]:
        """Give those of some rows."""
        part = slice(days.start - self.first, days.stop - self.first)
        return self.covariances[part], self.specific[part]


class RiskPaths:
    """Makes and keeps the paths of versions."""

    def __init__(self) -> None:
        self._paths: LRU[tuple[str, int], RiskPath] = LRU(PATHS_KEPT)

    def of(self, version: Version, days: slice, products: Products | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Give covariances and specific variances of some rows, with the bits that the model had at each close.

        With the `products` of a device, see `factors.risk.eigenfactor.ratios_together`, the same to seven digits.
        """
        key = (version.manifest.model_id, version.manifest.version)
        kept = self._paths.get(key)
        if kept is None or kept.first > days.start:
            kept = _path(version, days.start, products)
            self._paths.put(key, kept)
        return kept.rows(days)


def _path(version: Version, first: int, products: Products | None) -> RiskPath:
    settings = settings_of(version)
    every = slice(0, version.manifest.n_dates)
    returns = returns_of_risk(version, every)
    residuals = np.asarray(version.day_asset("residuals", every))
    caps = np.asarray(version.day_asset(caps_name(version), every))
    covariance, specific = FactorCovariance(settings.factor_covariance), SpecificRisk(settings.specific_risk)
    begin = max(first, 0)
    # What comes before is one update; the structural model reads the exposures of the day that is asked about.
    if begin:
        covariance.update(returns[:begin], followed_by=1, products=products)
    covariances = covariance.path(returns[begin:], products)
    variances = []
    for t in range(begin, every.stop):
        deadline.check()
        new = slice(0 if t == begin else t, t + 1)
        specific.update(residuals[new], caps[new], Day(version, t).exposures_of(slice(None)))
        variances.append(specific.specific_variance_)
    return RiskPath(first, covariances, np.array(variances))
