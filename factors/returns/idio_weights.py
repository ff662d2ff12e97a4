"""Specific variances known the day before, whose inverses weigh the cross-sectional regression (GLS)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numba import njit
from numpy.typing import NDArray

from factors.numeric.window import Window
from factors.panel.panel import Array

HALF_LIFE = 84
LEAST = 60
WINDOW = 252
EVERY = 21


class IdioVariance:
    """Specific variances of consecutive dates from the residuals of a first regression, each known the day before.

    Variances stay within a factor of 25 of the date's median, so that no name takes over the regression; an asset with
    fewer than 60 observations has none.

    Parameters
    ----------
    method : "inverse_specific_variance" or "ledoit_wolf"
        The first is the exponentially weighted variance with a half-life of 84 days. The second is the diagonal of the
        Ledoit-Wolf covariance of the last 252 residuals, ``(1 - d) s_ii + d mean(s)``, where d is estimated over the
        assets without gaps every 21 days: only the diagonal, because a regression weighted by a full 3,000 x 3,000
        inverse of a matrix of rank 252 would fit its noise.

    Notes
    -----
    Ledoit and Wolf, "A well-conditioned estimator for large-dimensional covariance matrices" (2004), as in
    scikit-learn. The residuals of a day never enter its own weights.
    """

    def __init__(self, method: str) -> None:
        self.method = method
        self._sums = np.zeros((2, 0))
        self._count = np.zeros(0)
        self._days = 0
        self._shrinkage = 0.0
        self._window = Window(WINDOW)

    def variances(self, residuals: Array) -> Array:
        """Take up the first-pass residuals of the next dates and give the variances known before each.

        Parameters
        ----------
        residuals : float64 [n_new, n_assets]

        Returns
        -------
        float64 [n_new, n_assets]
            NaN for an asset with fewer than 60 observations.
        """
        self._widen(residuals.shape[1])
        out = np.empty_like(residuals)
        if self.method == "ledoit_wolf":
            for t, row in enumerate(residuals):
                out[t] = self._shrunk()
                self._window.push(row[None, :])
                self._days += 1
                if self._days % EVERY == 0:
                    self._shrinkage = self._estimate_shrinkage()
            return out
        _exponential(residuals, 0.5 ** (1.0 / HALF_LIFE), self._sums, self._count, out)
        return out

    def next_variances(self) -> Array:
        """Give the variances known after the last date, float64 [n_assets]."""
        if self.method == "ledoit_wolf":
            return self._shrunk()
        out = np.empty((1, len(self._count)))
        blank = np.full((1, len(self._count)), np.nan)
        _exponential(blank, 1.0, self._sums.copy(), self._count.copy(), out)
        after: Array = out[0]
        return after

    def state(self) -> dict[str, NDArray[np.float64]]:
        """Give what the next day needs."""
        return {
            "sums": self._sums.copy(),
            "count": self._count.copy(),
            "window": np.array(self._window.values, dtype=np.float64),
            "scalars": np.array([float(self._days), self._shrinkage]),
        }

    def restore(self, state: Mapping[str, NDArray[np.float64]]) -> None:
        """Take up what `state` gave."""
        self._sums, self._count = np.array(state["sums"]), np.array(state["count"])
        self._days, self._shrinkage = int(state["scalars"][0]), float(state["scalars"][1])
        if state["window"].size:
            self._window.push(np.array(state["window"]))

    def _widen(self, n_assets: int) -> None:
        more = n_assets - len(self._count)
        self._sums = np.pad(self._sums, ((0, 0), (0, more)))
        self._count = np.pad(self._count, (0, more))

    def _shrunk(self) -> Array:
        rows = self._window.values
        n_assets = len(self._count)
        if len(rows) < LEAST:
            return np.full(n_assets, np.nan)
        variance, count = _mean_squares(rows)
        variance = np.pad(variance, (0, n_assets - len(variance)), constant_values=np.nan)
        count = np.pad(count, (0, n_assets - len(count)))
        known = count >= LEAST
        if not known.any():
            return np.full(n_assets, np.nan)
        target = _ordered_mean(variance[known])
        shrunk = (1.0 - self._shrinkage) * variance + self._shrinkage * target
        return _bounded(np.where(known, shrunk, np.nan))

    def _estimate_shrinkage(self) -> float:
        rows = self._window.values
        whole = rows[:, ~np.isnan(rows).any(axis=0)]
        if len(rows) < LEAST or whole.shape[1] < 2:
            return self._shrinkage
        from sklearn.covariance import ledoit_wolf_shrinkage

        return float(ledoit_wolf_shrinkage(np.ascontiguousarray(whole), assume_centered=True))


def _bounded(variance: Array) -> Array:
    """Keep variances within a factor of 25 of their median."""
    known = np.sort(variance[~np.isnan(variance)])
    middle = known[len(known) // 2]
    bounded: Array = np.clip(variance, middle / 25.0, middle * 25.0)
    return bounded


@njit(cache=True, nogil=True)
def _mean_squares(rows: Array) -> tuple[Array, Array]:
    total = np.zeros(rows.shape[1])
    count = np.zeros(rows.shape[1])
    for t in range(rows.shape[0]):
        for j in range(rows.shape[1]):
            if rows[t, j] == rows[t, j]:
                total[j] += rows[t, j] * rows[t, j]
                count[j] += 1.0
    for j in range(rows.shape[1]):
        total[j] = total[j] / count[j] if count[j] > 0.0 else np.nan
    return total, count


@njit(cache=True, nogil=True)
def _ordered_mean(values: Array) -> float:
    total = 0.0
    for value in values:
        total += value
    return total / len(values)


@njit(cache=True, nogil=True)
def _exponential(residuals: Array, decay: float, sums: Array, count: Array, out: Array) -> None:
    """Variances before each row, then the row: sums [2, n_assets] are weighted squares and weights."""
    n_assets = residuals.shape[1]
    for t in range(residuals.shape[0]):
        known = np.empty(n_assets)
        n = 0
        for j in range(n_assets):
            out[t, j] = np.nan
            if count[j] >= LEAST:
                out[t, j] = sums[0, j] / sums[1, j]
                known[n] = out[t, j]
                n += 1
        if n > 0:
            middle = np.sort(known[:n])[n // 2]
            for j in range(n_assets):
                if out[t, j] == out[t, j]:
                    out[t, j] = min(max(out[t, j], middle / 25.0), middle * 25.0)
        for j in range(n_assets):
            e = residuals[t, j]
            if e == e:
                sums[0, j] = decay * sums[0, j] + e * e
                sums[1, j] = decay * sums[1, j] + 1.0
                count[j] += 1.0
