"""The kernels on the CPU: those of `factors`, under the names that every device has."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from factors.portfolio.risk import portfolio_exposures

Array = NDArray[np.float64]


def project(weights: Array, exposures: Array) -> Array:
    """Exposures of portfolios.

    Parameters
    ----------
    weights : float64 [n_portfolios, n_assets]
        Fractions of the portfolio's value.
    exposures : float64 [n_assets, n_factors]
        Finite wherever a weight is not zero.

    Returns
    -------
    float64 [n_portfolios, n_factors]
    """
    return portfolio_exposures(weights, exposures)


def second_moment(returns: Array, weights: Array) -> Array:
    """Weighted second moment of factor returns about zero, ``sum_t w_t f_t f_t'`` with the weights scaled to sum 1.

    Parameters
    ----------
    returns : float64 [n_dates, n_factors]
        Simple daily returns.
    weights : float64 [n_dates]
        Not negative, not all zero.

    Returns
    -------
    float64 [n_factors, n_factors]
        Daily variance units.
    """
    scaled = weights / weights.sum()
    moment: Array = (returns * scaled[:, None]).T @ returns
    return moment


def weighted_sum(values: Array, weights: Array) -> Array:
    """Weighted sum over a window of days per asset, as momentum needs: ``sum_t w_t v_ti``.

    Parameters
    ----------
    values : float64 [n_dates, n_assets]
        Finite.
    weights : float64 [n_dates]

    Returns
    -------
    float64 [n_assets]
    """
    total: Array = weights @ values
    return total
