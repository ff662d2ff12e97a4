"""Nonlinear shrinkage of correlations: each eigenvalue is moved by what chance alone does to its like."""

import numpy as np

from factors.risk.arrays import FloatArray
from factors.risk.psd import from_spectrum, symmetrize

# Eigenvalues below this share of the largest are the null space (sectors that sum to zero), not risk to be shrunk.
NULL_SHARE = 1e-10
# With fewer observations than this many per factor the smallest eigenvalues say nothing, and nothing is done.
MIN_OBSERVATIONS_PER_FACTOR = 2.0


def quadratic_inverse(eigenvalues: FloatArray, n_observations: float) -> FloatArray:
    r"""Return quadratic-inverse shrunk eigenvalues `[p]`, with the same sum.

    .. math::

        \hat\delta_i^{-1} = (1 - c)^2 \lambda_i^{-1} + 2 c (1 - c) \lambda_i^{-1} \hat\theta_i
            + c^2 \lambda_i^{-1} (\hat\theta_i^2 + \hat H_i^2), \quad c = p / n

    where :math:`\hat\theta` is the smoothed Stein shrinker of the inverse eigenvalues and :math:`\hat H` its conjugate,
    with the bandwidth :math:`c^{0.7} p^{-0.35}` (of `c` or `1 / c`, whichever is smaller).

    Parameters
    ----------
    eigenvalues
        `[p]`, all positive.
    n_observations
        `n > p` independent days behind them; it may be fractional.

    Notes
    -----
    Ledoit and Wolf, "Quadratic shrinkage for large covariance matrices", Bernoulli 28(3) (2022), section 4.5.
    """
    p = eigenvalues.size
    c = p / n_observations
    bandwidth = min(c * c, 1.0 / (c * c)) ** 0.35 / p**0.35
    inverse = 1.0 / eigenvalues
    gap = inverse[:, None] - inverse[None, :]  # [j, i]
    smoothed = gap * gap + (bandwidth * inverse[:, None]) ** 2
    stein = (inverse[:, None] * gap / smoothed).mean(axis=0)
    conjugate = (bandwidth * inverse[:, None] ** 2 / smoothed).mean(axis=0)
    squared_amplitude = stein * stein + conjugate * conjugate
    shrunk = 1.0 / (inverse * ((1.0 - c) ** 2 + 2.0 * c * (1.0 - c) * stein + c * c * squared_amplitude))
    kept: FloatArray = shrunk * (eigenvalues.sum() / shrunk.sum())
    return kept


def shrunk_correlations(covariance: FloatArray, n_observations: float) -> FloatArray:
    """Return `[K, K]` with the same variances and shrunk correlations; unchanged where observations are too few.

    A factor without variance stays without. The null space of the correlations stays the null space.
    """
    volatility = np.sqrt(np.diag(covariance))
    moves = volatility > 0.0
    scale = volatility[moves]
    eigenvalues, eigenvectors = np.linalg.eigh(covariance[np.ix_(moves, moves)] / np.outer(scale, scale))
    live = eigenvalues > NULL_SHARE * eigenvalues.max(initial=0.0)
    if not live.any() or n_observations < MIN_OBSERVATIONS_PER_FACTOR * live.sum():
        return covariance
    moved = np.zeros_like(eigenvalues)
    moved[live] = quadratic_inverse(eigenvalues[live], n_observations)
    correlations = from_spectrum(moved, eigenvectors)
    back = scale / np.sqrt(np.diag(correlations))
    shrunk = np.zeros_like(covariance)
    shrunk[np.ix_(moves, moves)] = correlations * back[:, None] * back[None, :]
    return symmetrize(shrunk)
