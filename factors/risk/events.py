"""What follows an event: a name that moved far beyond its risk stays restless for days, by how much is learnt."""

import numpy as np
from numba import njit

from factors.risk.arrays import FloatArray
from factors.risk.regime import bounded_multiplier

# Half-life in days of what is learnt, and days of names that say "as any other" before anything is.
HALF_LIFE_DAYS = 252.0
PRIOR_NAME_DAYS = 100.0
# A squared return counts up to this many times its variance, so that one name does not speak for all.
LIMIT = 50.0
# Bounds of what a variance is multiplied by.
LOWEST, HIGHEST = 0.5, 5.0


@njit(cache=True, nogil=True)
def mixture_scales(
    losses: FloatArray, regime: FloatArray, learning_rate: float, even_share: float, bounds: FloatArray
) -> FloatArray:
    """Return `[H]` what `Experts.scales` does."""
    n_half_lives = regime.shape[0]
    n_kinds = losses.size // n_half_lives
    weights = np.exp(-learning_rate * (losses - losses.min()))
    weights = (1.0 - even_share) * weights / weights.sum() + even_share / losses.size
    scales = np.zeros(n_half_lives)
    for h in range(n_half_lives):
        scales[h] = weights[h * n_kinds]
        if n_kinds == 2:
            multiplier = bounded_multiplier(regime[h], bounds[0], bounds[1], bounds[2])
            scales[h] += weights[2 * h + 1] * multiplier * multiplier
    return scales


@njit(cache=True, nogil=True, error_model="numpy")
def mixed_variances(sums: FloatArray, weights: FloatArray, scales: FloatArray) -> FloatArray:
    """Return `[n_assets]` variances of the mixture, NaN for names that were never seen."""
    variances = np.zeros(sums.shape[1])
    for h in range(scales.size):
        scale = scales[h]
        for n in range(variances.size):
            variances[n] += scale * (sums[h, n] / weights[h, n])
    return variances


@njit(cache=True, nogil=True)
def event_day(
    row: FloatArray,
    history: FloatArray,
    sums: FloatArray,
    weights: FloatArray,
    scales: FloatArray,
    min_observations: float,
    deviations: float,
    event_age: FloatArray,
    learnt: FloatArray,
) -> None:
    """Learn from a day's specific returns `[n_assets]` before they enter `sums`, and note the names that moved far.

    Parameters
    ----------
    sums, weights
        `[H, n_assets]` as the day before left them, and `scales` `[H]` of their mixture.
    min_observations
        Days an asset must have been observed before it counts.
    deviations
        An event is a return beyond so many of its forecast deviations.
    event_age
        `[n_assets]` days since each name's last event; infinity before the first.
    learnt
        `[2, A]` by days since the event, from 0 on: sums of squared returns over variances, and name-days.
    """
    learnt *= 0.5 ** (1.0 / HALF_LIFE_DAYS)
    n_ages = learnt.shape[1]
    variances = mixed_variances(sums, weights, scales)
    for n in range(row.size):
        age = event_age[n]
        event_age[n] = age + 1.0
        if np.isnan(row[n]) or history[n] < min_observations or not variances[n] > 0.0:
            continue
        ratio = row[n] * row[n] / variances[n]
        if age < n_ages:
            learnt[0, int(age)] += min(ratio, LIMIT)
            learnt[1, int(age)] += 1.0
        if ratio > deviations * deviations:
            event_age[n] = 0.0


def event_multipliers(event_age: FloatArray, learnt: FloatArray, horizon_days: int) -> FloatArray:
    """Return `[n_assets]` by what variances are multiplied over the days of the horizon, 1 where no event was near.

    A day's multiplier is what was learnt for its distance from the event, leaning on 1 by `PRIOR_NAME_DAYS`; that of
    a horizon is the mean of its days.
    """
    n_ages = learnt.shape[1]
    by_age = np.clip((PRIOR_NAME_DAYS + learnt[0]) / (PRIOR_NAME_DAYS + learnt[1]), LOWEST, HIGHEST)
    ahead = np.ones(n_ages + horizon_days)
    ahead[:n_ages] = by_age
    means = np.array([ahead[age : age + horizon_days].mean() for age in range(n_ages)])
    near = event_age < n_ages
    multipliers = np.ones(event_age.size)
    multipliers[near] = means[event_age[near].astype(np.int64)]
    return multipliers
