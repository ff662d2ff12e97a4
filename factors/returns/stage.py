"""The stage of the model that turns exposures and returns into factor returns, with its weights."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from factors.factor_model.settings import ModelSettings
from factors.panel.memberships import NO_SHARES
from factors.panel.panel import Array
from factors.returns.idio_weights import IdioVariance
from factors.returns.regression import CrossSectionalRegression, CrossSections


class ReturnStage:
    """Factor returns of consecutive dates; specific variances for the weights are carried where they are asked for.

    Parameters
    ----------
    settings : ModelSettings
    threads : int

    Attributes
    ----------
    method : str
        "market_cap" (weights by cap as `settings.regression.weights` says), "inverse_specific_variance" or
        "ledoit_wolf".
    """

    def __init__(self, settings: ModelSettings, threads: int) -> None:
        self.kind = settings.regression.weights
        self.method: str = settings.proxy_for_idio_cov
        if self.method == "market_cap" and self.kind == "inverse_specific_variance":
            self.method = "inverse_specific_variance"
        self.regression = CrossSectionalRegression(settings.regression, threads=threads)
        self._idio = None if self.method == "market_cap" else IdioVariance(self.method)

    @property
    def carries_variances(self) -> bool:
        """Whether the weights are inverse specific variances."""
        return self._idio is not None

    def estimate(
        self,
        returns: Array,
        caps: Array,
        codes: NDArray[np.int16],
        scores: Array,
        mask: NDArray[np.bool_],
        n_sectors: int,
        *,
        shares: Array = NO_SHARES,
        keep: bool = True,
    ) -> tuple[CrossSections, Array | None]:
        """Regress the next dates; with inverse variances in two passes, the first weighted by the root of the cap.

        Where they are not kept (then it is one date), the first pass, which only later dates would know of, is not run.

        Returns
        -------
        (cross-sections, variances known before each date or None)
        """
        covered = np.isfinite(caps) & (caps > 0.0)
        weights = self.cap_weights(caps)
        variances = None
        if self._idio is not None and not keep:
            known = self._idio.next_variances()
            variances = np.pad(known, (0, caps.shape[1] - len(known)), constant_values=np.nan)[None, :]
            weights = self._inverse(variances, weights)
        elif self._idio is not None:
            first = self.regression.fit(
                returns, weights, caps, codes, scores, mask, n_sectors, shares=shares, residuals_where=covered
            )
            variances = self._idio.variances(first.residuals)
            weights = self._inverse(variances, weights)
        out = self.regression.fit(
            returns, weights, caps, codes, scores, mask, n_sectors, shares=shares, residuals_where=covered
        )
        return out, variances

    def weights(self, caps: Array, variances: Array | None) -> Array:
        """Give the weights of one date [n_assets]; without variances given, those known after the last date."""
        by_cap = self.cap_weights(caps)
        if self._idio is None:
            return by_cap
        known = self._idio.next_variances() if variances is None else variances
        return self._inverse(np.pad(known, (0, len(caps) - len(known)), constant_values=np.nan), by_cap)

    def cap_weights(self, caps: Array) -> Array:
        """Give weights by cap: its root, itself, or equal; NaN without a cap."""
        known = np.where(caps > 0.0, caps, np.nan)
        if self.kind == "equal":
            return np.where(np.isnan(known), np.nan, 1.0)
        return known if self.kind == "cap" else np.sqrt(known)

    def state(self) -> dict[str, NDArray[np.float64]]:
        """Give what the next day needs."""
        return {} if self._idio is None else self._idio.state()

    def restore(self, state: Mapping[str, NDArray[np.float64]]) -> None:
        """Take up what `state` gave."""
        if self._idio is not None and state:
            self._idio.restore(state)

    @staticmethod
    def _inverse(variances: Array, otherwise: Array) -> Array:
        """1 / variance, the date's median for assets without one, the other weights before any is known."""
        rows = np.atleast_2d(variances)
        inverse = np.divide(1.0, rows, out=np.full_like(rows, np.nan), where=rows > 0.0)
        for row in inverse:
            known = np.sort(row[~np.isnan(row)])
            if len(known):
                row[np.isnan(row)] = known[len(known) // 2]
        inverse = inverse.reshape(variances.shape)
        weights: Array = np.where(np.isnan(inverse) | np.isnan(otherwise), otherwise, inverse)
        return weights
