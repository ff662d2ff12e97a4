"""Covariance of a window of factor returns: sample, Ledoit-Wolf, OAS."""

import numpy as np

from factors.risk.arrays import FloatArray
from factors.risk.psd import nearest_psd, symmetrize
from factors.risk.settings import CovarianceMethod


def pairwise_covariance(returns: FloatArray) -> FloatArray:
    """Return the sample covariance (divisor n - 1) of `[n_dates, K]`, each pair over the days both were observed.

    Without missing values this is `numpy.cov`. With them the matrix is moved to the nearest positive semidefinite one.
    A pair seen on fewer than two days together has covariance 0.
    """
    seen = ~np.isnan(returns)
    if seen.all():
        centred = returns - returns.mean(axis=0)
        return symmetrize(centred.T @ centred / max(returns.shape[0] - 1, 1))
    filled = np.where(seen, returns, 0.0)
    mask = seen.astype(np.float64)
    counts = mask.T @ mask
    # Means over the days of the pair, so that each entry is the sample covariance of that pair.
    sums = filled.T @ mask
    products = filled.T @ filled - np.divide(sums * sums.T, counts, out=np.zeros_like(counts), where=counts > 0.0)
    return nearest_psd(np.divide(products, counts - 1.0, out=np.zeros_like(counts), where=counts > 1.0))


def shrunk_covariance(returns: FloatArray, method: CovarianceMethod) -> FloatArray:
    """Return the covariance of `[n_dates, K]` by `sample`, `ledoit_wolf` or `oas`.

    The shrinkage estimators are scikit-learn's (Ledoit and Wolf 2004; Chen et al. 2010, with its divisor n). They
    need complete rows: days with a missing factor are left out, and a factor that was never seen in the window has
    covariance 0. Where fewer than two complete days remain, the sample covariance is given instead.
    """
    if method == "sample":
        return pairwise_covariance(returns)
    observed = ~np.isnan(returns).all(axis=0)
    complete = returns[:, observed]
    complete = complete[~np.isnan(complete).any(axis=1)]
    if complete.shape[0] < 2 or complete.shape[1] == 0:
        return pairwise_covariance(returns)
    # Imported here: a dozen processes use this package, and only this method needs scikit-learn.
    from sklearn.covariance import ledoit_wolf, oas

    estimate, _ = ledoit_wolf(complete) if method == "ledoit_wolf" else oas(complete)
    covariance = np.zeros((returns.shape[1], returns.shape[1]))
    covariance[np.ix_(observed, observed)] = estimate
    return symmetrize(covariance)
