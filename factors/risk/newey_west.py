"""Newey-West correction for serial correlation."""

import numpy as np

from factors.risk.arrays import FloatArray


def bartlett_weights(lags: int) -> FloatArray:
    """Return the Bartlett kernel `1 - l / (L + 1)` for `l = 0..L` (Newey and West 1987, equation 5)."""
    return 1.0 - np.arange(lags + 1) / (lags + 1.0)


def lag_inflation(lags: int) -> float:
    """Return by how many times lags raise the sampling variance of a covariance: `1 + 2 sum_l k_l^2`.

    Priestley (1981), section 6.2; Andrews (1991), for white noise. So many times fewer days of plain products would
    carry as much information.
    """
    kernel = bartlett_weights(lags)
    return float(1.0 + 2.0 * (kernel[1:] @ kernel[1:]))


def newey_west_variances(sums: FloatArray, weights: FloatArray) -> FloatArray:
    """Return `[K]` variances per day over a long horizon from lagged sums.

    Parameters
    ----------
    sums
        `[L + 1, K]` sums of `f_t f_(t-l)`.
    weights
        `[K]` sums of weights at lag 0; 0 gives variance 0.
    """
    kernel = bartlett_weights(sums.shape[0] - 1)
    kernel[1:] *= 2.0
    total = kernel @ sums
    # The sum is a quadratic form, so only rounding can make it negative.
    return np.maximum(np.divide(total, weights, out=np.zeros_like(total), where=weights > 0.0), 0.0)


def newey_west_covariance(sums: FloatArray, weights: FloatArray) -> FloatArray:
    """Return the `[K, K]` long-horizon covariance per day from lagged sums.

    Parameters
    ----------
    sums
        `[L + 1, K, K]` sums of `f_t f_(t-l)'`.
    weights
        `[K, K]` sums of weights at lag 0; 0 gives covariance 0.
    """
    kernel = bartlett_weights(sums.shape[0] - 1)
    total = sums[0].copy()
    for lag in range(1, sums.shape[0]):
        total += kernel[lag] * (sums[lag] + sums[lag].T)
    covariance: FloatArray = np.divide(total, weights, out=np.zeros_like(total), where=weights > 0.0)
    return covariance
