"""One signal of several scores: standardised across names, and blended by how well each foretold returns."""

import numpy as np

from factors.risk.arrays import FloatArray, as_matrix, as_vector


def standardised(scores: FloatArray) -> FloatArray:
    """Return z-scores across names, `[N]`; NaN stays, and all are NaN where the names do not differ.

    Parameters
    ----------
    scores
        `[N]`, NaN for missing.
    """
    x = as_vector("scores", scores)
    known = np.isfinite(x)
    if known.sum() < 2:
        return np.full_like(x, np.nan)
    mean, deviation = x[known].mean(), x[known].std(ddof=1)
    out = np.full_like(x, np.nan)
    # Values that are equal have a deviation of rounding errors.
    if deviation > 1e-12 * max(abs(mean), np.abs(x[known]).max()):
        out[known] = (x[known] - mean) / deviation
    return out


def blend(zscores: FloatArray, weights: FloatArray) -> FloatArray:
    r"""Return the weighted mean of each name's z-scores, `[N]`.

    :math:`\sum_k w_k z_{kn} / \sum_k |w_k|` over the scores that the name has; NaN for a name with none of weight.

    Parameters
    ----------
    zscores
        `[K, N]`, NaN for missing.
    weights
        `[K]`; NaN counts as none.
    """
    z = as_matrix("zscores", zscores)
    w = as_vector("weights", weights, length=z.shape[0])
    w = np.where(np.isfinite(w), w, 0.0)
    known = ~np.isnan(z)
    total = np.abs(w) @ known
    summed = w @ np.where(known, z, 0.0)
    out: FloatArray = np.divide(summed, total, out=np.full(z.shape[1], np.nan), where=total > 0.0)
    return out
