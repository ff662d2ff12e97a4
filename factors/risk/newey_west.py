"""Newey-West correction for serial correlation."""

import numpy as np

from factors.risk.arrays import FloatArray


def bartlett_weights(lags: int) -> FloatArray:
    """Return the Bartlett kernel `1 - l / (L + 1)` for `l = 0..L` (Newey and West 1987, equation 5)."""
    return 1.0 - np.arange(lags + 1) / (lags + 1.0)


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
