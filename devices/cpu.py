"""The kernels on the CPU in float64: the reference that every other device is measured against.

Every device has these functions under the same names, in the same order, with the same arguments and results.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from devices.prepare import ALIKE
from factors.learning.dense import dense_layers
from factors.numeric.blas import one_blas_thread
from factors.portfolio.risk import portfolio_exposures

Array = NDArray[np.float64]
Known = NDArray[np.bool_]


def exposures(weights: Array, X: Array) -> Array:
    """Exposures of many books, ``W X``.

    Parameters
    ----------
    weights : float64 [n_books, n_assets]
        Fractions of each book's value.
    X : float64 [n_assets, n_factors]
        Exposures; a row with NaN is an asset that no book may hold.

    Returns
    -------
    float64 [n_books, n_factors]

    Raises
    ------
    factors.errors.NonFiniteError
        For a weight on an asset without exposures.
    """
    return portfolio_exposures(weights, X)


def book_risk(weights: Array, X: Array, F: Array) -> tuple[Array, Array]:
    """Exposures of many books, and half the gradients of their factor variances; no asset covariance is formed.

    The variances follow from the exposures by products of the size of the factors, and the specific part is a sum over
    the names: both are cheap, and are finished by the CPU.

    Parameters
    ----------
    weights : float64 [n_books, n_assets]
    X : float64 [n_assets, n_factors]
        Finite wherever a weight is not zero.
    F : float64 [n_factors, n_factors]
        Factor covariance.

    Returns
    -------
    float64 [n_books, n_factors], float64 [n_books, n_assets]
        ``W X``, and ``W X F X'``; the latter is NaN for assets without exposures.
    """
    exposed = portfolio_exposures(weights, X)
    gradient: Array = (exposed @ F) @ X.T
    return exposed, gradient


def revalue(book_exposures: Array, shocks: Array) -> Array:
    """Profit and loss of books in scenarios; a book's scenarios lie side by side.

    Parameters
    ----------
    book_exposures : float64 [n_books, n_factors]
    shocks : float64 [n_scenarios, n_factors]
        Factor returns.

    Returns
    -------
    float64 [n_books, n_scenarios]
    """
    made: Array = book_exposures @ shocks.T
    return made


@one_blas_thread
def grams(X: Array, weights: Array, y: Array) -> tuple[Array, Array]:
    """Weighted Gram matrices and right sides of regressions over many dates, ``X' W X`` and ``X' W y``.

    Parameters
    ----------
    X : float64 [n_dates, n_assets, n_factors]
        Finite.
    weights : float64 [n_dates, n_assets]
        Not negative.
    y : float64 [n_dates, n_assets]
        Finite.

    Returns
    -------
    float64 [n_dates, n_factors, n_factors], float64 [n_dates, n_factors]
    """
    n_dates, _, n_factors = X.shape
    left, right = np.empty((n_dates, n_factors, n_factors)), np.empty((n_dates, n_factors))
    for t in range(n_dates):  # one date fits the cache, all of them do not
        weighted = (X[t] * weights[t][:, None]).T
        left[t], right[t] = weighted @ X[t], weighted @ y[t]
    return left, right


@one_blas_thread
def covariances(returns: Array, weights: Array) -> Array:
    """Weighted second moments about zero of many histories, ``sum_t w_t f_t f_t'`` with weights scaled to sum 1.

    Parameters
    ----------
    returns : float64 [n_histories, n_dates, n_factors]
        Simple returns, finite.
    weights : float64 [n_histories, n_dates]
        Not negative, none of the histories all zero.

    Returns
    -------
    float64 [n_histories, n_factors, n_factors]
    """
    scaled = weights / weights.sum(axis=1, keepdims=True)
    made: Array = (returns * scaled[:, :, None]).transpose(0, 2, 1) @ returns
    return made


def standardize(values: Array, known: Known, bound: float) -> Array:
    """Scores of mean 0 and standard deviation 1 over the known names of each date, clipped.

    Parameters
    ----------
    values : float64 [n_dates, n_assets]
        Finite where known.
    known : bool [n_dates, n_assets]
    bound : float
        Scores beyond are set to it.

    Returns
    -------
    float64 [n_dates, n_assets]
        NaN where not known; 0 on a date whose values are all equal.
    """
    count = np.maximum(known.sum(axis=1, keepdims=True), 1)
    inside = np.where(known, values, 0.0)
    centred = np.where(known, inside - inside.sum(axis=1, keepdims=True) / count, 0.0)
    spread = np.sqrt((centred * centred).sum(axis=1, keepdims=True) / count)
    differ = np.abs(centred).max(axis=1, keepdims=True, initial=0.0) > ALIKE * np.abs(inside).max(
        axis=1, keepdims=True, initial=0.0
    )
    scores = np.divide(centred, spread, out=np.zeros_like(centred), where=differ & (spread > 0.0))
    return np.where(known, np.clip(scores, -bound, bound), np.nan)


def network(inputs: Array, activations: str, *layers: Array) -> Array:
    """Answer of a network of dense layers.

    Parameters
    ----------
    inputs : float64 [n_rows, n_inputs]
        Finite.
    activations : str
        A letter of `factors.learning.dense.ACTIVATIONS` for each layer.
    layers : float64 arrays
        Weights [n_in, n_out] and offsets [n_out] of each layer in turn.

    Returns
    -------
    float64 [n_rows, n_outputs]
    """
    return dense_layers(inputs, activations, *layers)
