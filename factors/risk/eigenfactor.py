"""Eigenfactor adjustment: removes the bias that optimisation finds in a sample covariance."""

import numpy as np

from factors.numeric import deadline
from factors.risk.arrays import FloatArray

# Eigenvalues below this share of the largest are the null space (sectors that sum to zero), not risk to be adjusted.
NULL_SHARE = 1e-10
# Fewer observations than this many per factor leave the smallest simulated eigenvalues without meaning.
MIN_OBSERVATIONS_PER_FACTOR = 2.0
# Draws between two looks at the deadline: of 100 factors 0.3 s and 20 MB. A day's share of the default is fewer.
DRAWS_AT_ONCE = 64


def simulate_variance_ratios(
    eigenvalues: FloatArray, n_observations: float, n_simulations: int, rng: np.random.Generator
) -> FloatArray:
    """Return the mean ratio of true to estimated variance of each eigenfactor, `[K]`.

    The covariance is taken as the truth; returns of `n_observations` days are drawn from it, their covariance is
    estimated, and each estimated eigenvector's true variance is divided by its estimated one. In the eigenbasis the
    sample covariance of Gaussian returns is `D^(1/2) A A' D^(1/2) / T` with `A` lower triangular (Bartlett 1933), so a
    draw costs one Wishart factor instead of `T` days of returns, and the number of days may be fractional.

    Parameters
    ----------
    eigenvalues
        `[K]` in any order; those in the null space get ratio 1.
    n_observations
        Effective number of days behind the covariance.
    n_simulations
        Draws.
    rng
        Source of randomness.

    Returns
    -------
    FloatArray
        `[K]` ratios in the order of `eigenvalues` sorted ascending; NaN throughout where there are fewer than two
        observations per factor.

    Notes
    -----
    Menchero, Wang and Orr, "Improving Risk Forecasts for Optimized Portfolios" (2012), equations 9 to 15.
    """
    spectrum = np.sort(eigenvalues)
    ratios = np.ones(spectrum.size)
    live = np.flatnonzero(spectrum > NULL_SHARE * max(spectrum[-1], 0.0))
    n_live = live.size
    if n_live == 0 or n_observations < MIN_OBSERVATIONS_PER_FACTOR * n_live:
        return np.full(spectrum.size, np.nan)
    truth = spectrum[live] / spectrum[live[-1]]
    total = np.zeros(n_live)
    for begin in range(0, n_simulations, DRAWS_AT_ONCE):
        deadline.check()
        n_draws = min(DRAWS_AT_ONCE, n_simulations - begin)
        total += _drawn_ratios(truth, n_observations, n_draws, rng).sum(axis=0)
    ratios[live] = total / n_simulations
    return ratios


def _drawn_ratios(truth: FloatArray, n_observations: float, n_draws: int, rng: np.random.Generator) -> FloatArray:
    """Return the ratios of each draw, `[n_draws, K]`."""
    n_live = truth.size
    factors = np.tril(rng.standard_normal((n_draws, n_live, n_live)), -1)
    diagonal = np.sqrt(rng.chisquare(n_observations - np.arange(n_live), size=(n_draws, n_live)))
    factors[:, np.arange(n_live), np.arange(n_live)] = diagonal
    factors *= np.sqrt(truth / n_observations)[None, :, None]
    estimated, vectors = np.linalg.eigh(factors @ factors.transpose(0, 2, 1))
    drawn: FloatArray = np.einsum("mjk,j->mk", vectors * vectors, truth) / estimated
    return drawn


def adjust_spectrum(eigenvalues: FloatArray, ratios: FloatArray, scale: float) -> FloatArray:
    """Return eigenvalues times `gamma^2`, `gamma = scale * (sqrt(ratio) - 1) + 1`; both `[K]` ascending.

    `gamma` is held at 0 or above: a large scale may not turn a small bias round.
    """
    gamma = np.maximum(scale * (np.sqrt(ratios) - 1.0) + 1.0, 0.0)
    return eigenvalues * gamma * gamma
