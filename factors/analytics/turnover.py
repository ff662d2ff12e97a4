"""How fast a score changes its mind."""

import numpy as np

from factors.analytics.cross_section import rank_rows, row_correlations
from factors.errors import FactorError
from factors.risk.arrays import FloatArray, IntArray, as_matrix


def quantile_turnover(quantiles: IntArray, quantile: int, period: int = 1) -> FloatArray:
    """Return the share of a quantile's assets that were not in it `period` dates before, `[n_dates]`.

    Parameters
    ----------
    quantiles
        `[n_dates, n_assets]` from `assign_quantiles`.
    quantile
        Which one, from 1.
    period
        Dates between.

    Returns
    -------
    FloatArray
        NaN for the first `period` dates, where the quantile is empty, and where there were no quantiles before: names
        that a score speaks of for the first time have not turned over.
    """
    if period < 1:
        raise FactorError(f"period must be at least 1, got {period}", field="period")
    member = np.asarray(quantiles) == quantile
    turnover = np.full(member.shape[0], np.nan)
    if member.shape[0] > period:
        entered = (member[period:] & ~member[:-period]).sum(axis=1)
        size = member[period:].sum(axis=1)
        before = (np.asarray(quantiles)[:-period] > 0).any(axis=1)
        turnover[period:] = np.divide(entered, size, out=np.full(size.size, np.nan), where=before & (size > 0))
    return turnover


def rank_autocorrelation(scores: FloatArray, period: int = 1) -> FloatArray:
    """Return the correlation of each date's ranks with those `period` dates before, `[n_dates]`.

    Ranks are among the assets present on each date, the correlation over those present on both.
    """
    if period < 1:
        raise FactorError(f"period must be at least 1, got {period}", field="period")
    ranks = rank_rows(as_matrix("scores", scores))
    result = np.full(ranks.shape[0], np.nan)
    if ranks.shape[0] > period:
        result[period:] = row_correlations(
            np.ascontiguousarray(ranks[period:]), np.ascontiguousarray(ranks[:-period]), False
        )
    return result
