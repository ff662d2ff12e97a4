"""Eigenfactor adjustment: removes the bias that optimisation finds in a sample covariance."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from factors.numeric import deadline
from factors.risk.arrays import FloatArray

# Eigenvalues below this share of the largest are the null space (sectors that sum to zero), not risk to be adjusted.
NULL_SHARE = 1e-10
# Fewer observations than this many per factor leave the smallest simulated eigenvalues without meaning.
MIN_OBSERVATIONS_PER_FACTOR = 2.0
# Draws between two looks at the deadline: of 100 factors 0.3 s and 20 MB. A day's share of the default is fewer.
DRAWS_AT_ONCE = 64
# What draws of several days take together until their products are made: 2,600 draws of 40 factors.
BATCH_BYTES = 1 << 25

Products = Callable[[FloatArray], FloatArray]
"""``A A'`` of each of many matrices, `[n, L, L]` to `[n, L, L]`; rows of `A` have comparable magnitudes."""


class Drawn(NamedTuple):
    """Draws at the spectrum of one day, whose products are made together with those of other days.

    Attributes
    ----------
    size : int
        Factors, `K`.
    live : int array [L]
        Which eigenvalues, ascending, are none of the null space.
    truth : [L]
        Their variances over the largest.
    factors : [n_draws, L, L]
        Lower triangular; the covariance that a draw estimates is `A A'`.
    """

    size: int
    live: NDArray[np.intp]
    truth: FloatArray
    factors: FloatArray


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
    spectrum, live = _live(eigenvalues)
    if live.size == 0 or n_observations < MIN_OBSERVATIONS_PER_FACTOR * live.size:
        return np.full(spectrum.size, np.nan)
    truth = spectrum[live] / spectrum[live[-1]]
    total = np.zeros(live.size)
    for begin in range(0, n_simulations, DRAWS_AT_ONCE):
        deadline.check()
        n_draws = min(DRAWS_AT_ONCE, n_simulations - begin)
        total += _drawn_ratios(truth, n_observations, n_draws, rng).sum(axis=0)
    ratios = np.ones(spectrum.size)
    ratios[live] = total / n_simulations
    return ratios


def draw(
    eigenvalues: FloatArray, n_observations: float, n_simulations: int, rng: np.random.Generator
) -> Drawn | FloatArray:
    """Make the draws of `simulate_variance_ratios`, or its answer where there are none or they take too much room."""
    spectrum, live = _live(eigenvalues)
    few = live.size == 0 or n_observations < MIN_OBSERVATIONS_PER_FACTOR * live.size
    if few or n_simulations * live.size**2 * 8 > BATCH_BYTES:
        return simulate_variance_ratios(eigenvalues, n_observations, n_simulations, rng)
    truth = spectrum[live] / spectrum[live[-1]]
    parts = [
        _factors(truth, n_observations, min(DRAWS_AT_ONCE, n_simulations - begin), rng)
        for begin in range(0, n_simulations, DRAWS_AT_ONCE)
    ]
    return Drawn(spectrum.size, live, truth, np.concatenate(parts))


def ratios_together(days: Sequence[Drawn], products: Products) -> list[FloatArray]:
    """Return for each day what `simulate_variance_ratios` does, `[K]`, with the products of all of them made at once.

    `products` gets the draws with each row scaled by a power of two to about the same magnitude, so it may have few
    digits. When it errs by `e |a_i| |a_j|` in each element, an estimated variance is off by at most ``L e / l`` of
    itself, with `l` the smallest eigenvalue of the estimate scaled to a unit diagonal (Demmel and Veselic 1992, theorem
    2.3), however unlike the factors' variances are. With products in float64 the ratios are those of
    `simulate_variance_ratios` to the bit, since a power of two rounds nothing.
    """
    made: list[FloatArray] = [np.empty(0)] * len(days)
    for n_live in sorted({day.live.size for day in days}):
        those = [i for i, day in enumerate(days) if day.live.size == n_live]
        exponents = [np.frexp(np.sqrt(days[i].truth))[1] for i in those]
        scaled = [np.ldexp(days[i].factors, -e[:, None]) for i, e in zip(those, exponents, strict=True)]
        moments = products(np.concatenate(scaled))
        begin = 0
        for i, e in zip(those, exponents, strict=True):
            deadline.check()
            end = begin + len(days[i].factors)
            made[i] = _averaged(days[i], np.ldexp(moments[begin:end], e[:, None] + e))
            begin = end
    return made


def _averaged(day: Drawn, estimated: FloatArray) -> FloatArray:
    """Return the mean ratios of a day from what its draws estimate, `[n_draws, L, L]`."""
    drawn = _ratios(estimated, day.truth)
    total = np.zeros(day.live.size)
    for begin in range(0, len(drawn), DRAWS_AT_ONCE):
        total += drawn[begin : begin + DRAWS_AT_ONCE].sum(axis=0)
    ratios = np.ones(day.size)
    ratios[day.live] = total / len(drawn)
    return ratios


def _live(eigenvalues: FloatArray) -> tuple[FloatArray, NDArray[np.intp]]:
    """Return the eigenvalues ascending, and which are none of the null space."""
    spectrum = np.sort(eigenvalues)
    return spectrum, np.flatnonzero(spectrum > NULL_SHARE * max(spectrum[-1], 0.0))


def _drawn_ratios(truth: FloatArray, n_observations: float, n_draws: int, rng: np.random.Generator) -> FloatArray:
    """Return the ratios of each draw, `[n_draws, K]`."""
    factors = _factors(truth, n_observations, n_draws, rng)
    return _ratios(factors @ factors.transpose(0, 2, 1), truth)


def _factors(truth: FloatArray, n_observations: float, n_draws: int, rng: np.random.Generator) -> FloatArray:
    """Return the Wishart factor of each draw, `[n_draws, K, K]`."""
    n_live = truth.size
    factors = np.tril(rng.standard_normal((n_draws, n_live, n_live)), -1)
    diagonal = np.sqrt(rng.chisquare(n_observations - np.arange(n_live), size=(n_draws, n_live)))
    factors[:, np.arange(n_live), np.arange(n_live)] = diagonal
    factors *= np.sqrt(truth / n_observations)[None, :, None]
    return factors


def _ratios(estimated: FloatArray, truth: FloatArray) -> FloatArray:
    """Return true over estimated variance of the eigenvectors of each estimate, `[n_draws, K]`."""
    variances, vectors = np.linalg.eigh(estimated)
    drawn: FloatArray = np.einsum("mjk,j->mk", vectors * vectors, truth) / variances
    return drawn


def adjust_spectrum(eigenvalues: FloatArray, ratios: FloatArray, scale: float) -> FloatArray:
    """Return eigenvalues times `gamma^2`, `gamma = scale * (sqrt(ratio) - 1) + 1`; both `[K]` ascending.

    `gamma` is held at 0 or above: a large scale may not turn a small bias round.
    """
    gamma = np.maximum(scale * (np.sqrt(ratios) - 1.0) + 1.0, 0.0)
    return eigenvalues * gamma * gamma
