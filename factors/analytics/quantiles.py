"""Returns of the quantiles of a score."""

import numpy as np
from numba import njit

from factors.errors import FactorError
from factors.risk.arrays import FloatArray, IntArray, as_matrix


@njit(cache=True)
def _assign(scores: FloatArray, n_quantiles: int, quantiles: IntArray) -> None:
    for t in range(scores.shape[0]):
        present = np.flatnonzero(~np.isnan(scores[t]))
        if present.size < n_quantiles:
            continue
        ordered = np.sort(scores[t][present])
        edges = np.empty(n_quantiles - 1)
        for q in range(1, n_quantiles):
            position = q / n_quantiles * (present.size - 1)
            below = int(position)
            above = min(below + 1, present.size - 1)
            edges[q - 1] = ordered[below] + (position - below) * (ordered[above] - ordered[below])
        for n in present:
            quantiles[t, n] = np.searchsorted(edges, scores[t, n]) + 1


@njit(cache=True)
def _means(quantiles: IntArray, following: FloatArray, n_quantiles: int, demean: bool) -> FloatArray:
    n_dates, n_assets = following.shape
    means = np.full((n_dates, n_quantiles), np.nan)
    for t in range(n_dates):
        totals = np.zeros(n_quantiles)
        counts = np.zeros(n_quantiles)
        for n in range(n_assets):
            quantile = quantiles[t, n]
            if quantile > 0 and not np.isnan(following[t, n]):
                totals[quantile - 1] += following[t, n]
                counts[quantile - 1] += 1.0
        level = totals.sum() / counts.sum() if demean and counts.sum() > 0.0 else 0.0
        for q in range(n_quantiles):
            if counts[q] > 0.0:
                means[t, q] = totals[q] / counts[q] - level
    return means


def assign_quantiles(scores: FloatArray, n_quantiles: int = 5) -> IntArray:
    """Return the quantile of each asset on each date, 1 the lowest to `n_quantiles`, 0 for missing.

    Edges are linearly interpolated quantiles, an asset on an edge belongs below it (as `pandas.qcut`). A date with
    fewer assets than quantiles gives none.

    Parameters
    ----------
    scores
        `[n_dates, n_assets]`, NaN for missing.
    n_quantiles
        At least 2.

    Raises
    ------
    FactorError
        For fewer than two quantiles.
    """
    if n_quantiles < 2:
        raise FactorError(f"n_quantiles must be at least 2, got {n_quantiles}", field="n_quantiles")
    matrix = as_matrix("scores", scores)
    quantiles = np.zeros(matrix.shape, dtype=np.int64)
    _assign(matrix, n_quantiles, quantiles)
    return quantiles


def quantile_returns(
    scores: FloatArray, following: FloatArray, n_quantiles: int = 5, *, demean: bool = True
) -> FloatArray:
    """Return the equal-weighted mean forward return of each quantile, `[n_dates, n_quantiles]`.

    Quantiles are formed over the assets that have a score and a forward return, as alphalens does.

    Parameters
    ----------
    scores, following
        `[n_dates, n_assets]`; see `factors.analytics.information.forward_returns`.
    n_quantiles
        At least 2.
    demean
        Whether to subtract the date's mean over all assets with a quantile.
    """
    left, right = as_matrix("scores", scores), as_matrix("following", following)
    if left.shape != right.shape:
        raise FactorError(f"following must have shape {left.shape}, got {right.shape}", field="following")
    quantiles = assign_quantiles(np.where(np.isnan(right), np.nan, left), n_quantiles)
    return _means(quantiles, right, n_quantiles, demean)


def quantile_spread(scores: FloatArray, following: FloatArray, n_quantiles: int = 5) -> FloatArray:
    """Return the mean forward return of the highest quantile less that of the lowest, `[n_dates]`.

    It is the return of one unit long and one short; alphalens gives half of it, that of half a unit each.
    """
    means = quantile_returns(scores, following, n_quantiles, demean=False)
    spread: FloatArray = means[:, -1] - means[:, 0]
    return spread
