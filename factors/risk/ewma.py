"""Exponentially weighted sums of factor returns, one day at a time, in numba."""

import math

import numpy as np
from numba import njit

from factors.risk.arrays import FloatArray


def decay(half_life: float) -> float:
    """Return the daily decay `2^(-1 / half_life)`; infinity gives 1 (all days alike)."""
    return float(2.0 ** (-1.0 / half_life))


@njit(cache=True, nogil=True)
def regime_step(statistic: float, regime: FloatArray, regime_decay: float) -> None:
    """Add one day's squared cross-sectional bias statistic to `regime = [sum, weight, days]`, in place."""
    regime[0] = regime[0] * regime_decay + statistic
    regime[1] = regime[1] * regime_decay + 1.0
    regime[2] += 1.0


@njit(cache=True, nogil=True)
def regime_day(
    row: FloatArray,
    counts: FloatArray,
    volatility_sums: FloatArray,
    volatility_weights: FloatArray,
    regime: FloatArray,
    regime_decay: float,
    min_observations: float,
) -> None:
    """Compare a day's factor returns with the one-day variances before it; arguments as in `ewma_update`."""
    total = 0.0
    n_used = 0
    for k in range(row.size):
        if counts[1 + k] >= min_observations and not np.isnan(row[k]) and volatility_sums[0, k] > 0.0:
            total += row[k] * row[k] * volatility_weights[k] / volatility_sums[0, k]
            n_used += 1
    if n_used > 0:
        regime_step(total / n_used, regime, regime_decay)


@njit(cache=True, nogil=True)
def leaning(value: float, asymmetry: float) -> float:
    """Return a return whose square counts `1 + asymmetry` times where it is a loss, else `1 - asymmetry` times."""
    return value * math.sqrt(1.0 + asymmetry if value < 0.0 else 1.0 - asymmetry)


@njit(cache=True, nogil=True)
def add_volatilities(
    row: FloatArray,
    recent: FloatArray,
    slot: int,
    sums: FloatArray,
    weights: FloatArray,
    volatility_decay: float,
    asymmetry: float,
) -> None:
    """Add the day in `recent[slot]` to lagged sums of squares `[L + 1, K]` and their weights `[K]`, in place.

    The first factor's returns lean by `asymmetry`: volatility rises more after a market that falls than after one that
    rises (Glosten, Jagannathan and Runkle 1993). Of returns that fall and rise alike the sums keep their level.
    """
    n_slots = recent.shape[0]
    for lag in range(sums.shape[0]):
        past = recent[(slot - lag) % n_slots]
        scale = volatility_decay ** (0.5 * lag)
        for k in range(row.size):
            product = row[k] * past[k]
            if k == 0 and asymmetry > 0.0:
                product = leaning(row[0], asymmetry) * leaning(past[0], asymmetry)
            sums[lag, k] *= volatility_decay
            if not np.isnan(product):
                sums[lag, k] += scale * product
    for k in range(row.size):
        weights[k] = weights[k] * volatility_decay + (0.0 if np.isnan(row[k]) else 1.0)


@njit(cache=True, nogil=True)
def add_correlations(
    row: FloatArray,
    recent: FloatArray,
    slot: int,
    sums: FloatArray,
    weights: FloatArray,
    squared_weights: FloatArray,
    correlation_decay: float,
) -> None:
    """Add the day in `recent[slot]` to lagged products `[L + 1, K, K]` and their weights, in place."""
    n_slots = recent.shape[0]
    for lag in range(sums.shape[0]):
        past = recent[(slot - lag) % n_slots]
        scale = correlation_decay ** (0.5 * lag)
        for i in range(row.size):
            for j in range(row.size):
                product = row[i] * past[j]
                sums[lag, i, j] *= correlation_decay
                if not np.isnan(product):
                    sums[lag, i, j] += scale * product
    for i in range(row.size):
        seen = not np.isnan(row[i])
        for j in range(row.size):
            both = seen and not np.isnan(row[j])
            weights[i, j] = weights[i, j] * correlation_decay + (1.0 if both else 0.0)
    squared_weights[0] = squared_weights[0] * correlation_decay + 1.0
    squared_weights[1] = squared_weights[1] * correlation_decay * correlation_decay + 1.0


@njit(cache=True, nogil=True)
def count_day(row: FloatArray, counts: FloatArray) -> None:
    """Count a day, and each factor observed on it, in `counts` `[1 + K]`."""
    for k in range(row.size):
        counts[1 + k] += 0.0 if np.isnan(row[k]) else 1.0
    counts[0] += 1.0


@njit(cache=True, nogil=True)
def ewma_update(
    rows: FloatArray,
    counts: FloatArray,
    recent: FloatArray,
    volatility_sums: FloatArray,
    volatility_weights: FloatArray,
    correlation_sums: FloatArray,
    correlation_weights: FloatArray,
    squared_weights: FloatArray,
    regime: FloatArray,
    decays: FloatArray,
    regime_min_observations: float,
    asymmetry: float,
) -> None:
    """Add days to the sums behind the factor covariance, in place.

    With `w_t = lambda^(T - t)`, the sums are `sum_t sqrt(w_t w_(t-l)) f_t f_(t-l)'`: the autocovariances of the
    series `sqrt(w_t) f_t`. A Newey-West sum of them is therefore positive semidefinite for every decay, which the
    usual weighting (`w_t` alone) does not give.

    Parameters
    ----------
    rows
        `[n_dates, K]` factor returns, NaN for missing.
    counts
        `[1 + K]`: days seen, then days observed for each factor.
    recent
        `[R, K]`, the last `R` rows; day `n` lies at slot `n % R`.
    volatility_sums
        `[volatility_lags + 1, K]`.
    volatility_weights
        `[K]`.
    correlation_sums
        `[correlation_lags + 1, K, K]`; entry `[l, i, j]` pairs factor `i` today with `j` `l` days ago.
    correlation_weights
        `[K, K]`.
    squared_weights
        `[2]`: sums of `w` and `w^2` over days, for the effective number of observations of the correlations.
    regime
        `[3]`, see `regime_step`.
    decays
        `[3]`: of volatilities, of correlations, of the regime (0: no regime adjustment).
    regime_min_observations
        Days a factor must have been observed before it counts in the regime statistic.
    asymmetry
        Of the first factor, see `add_volatilities`.
    """
    volatility_decay, correlation_decay, regime_decay = decays[0], decays[1], decays[2]
    for t in range(rows.shape[0]):
        row = rows[t]
        if regime_decay > 0.0:
            regime_day(row, counts, volatility_sums, volatility_weights, regime, regime_decay, regime_min_observations)
        slot = int(counts[0]) % recent.shape[0]
        recent[slot] = row
        add_volatilities(row, recent, slot, volatility_sums, volatility_weights, volatility_decay, asymmetry)
        add_correlations(row, recent, slot, correlation_sums, correlation_weights, squared_weights, correlation_decay)
        count_day(row, counts)


@njit(cache=True, nogil=True)
def window_update(
    rows: FloatArray,
    counts: FloatArray,
    recent: FloatArray,
    regime: FloatArray,
    regime_decay: float,
    regime_min_observations: float,
) -> None:
    """Add days to the ring of the last `R` rows, in place; arguments as in `ewma_update`.

    The regime statistic of a day compares its returns with the mean squares of the ring before it.
    """
    n_dates, n_factors = rows.shape
    n_slots = recent.shape[0]
    for t in range(n_dates):
        row = rows[t]
        if regime_decay > 0.0:
            total = 0.0
            n_used = 0
            for k in range(n_factors):
                if counts[1 + k] < regime_min_observations or np.isnan(row[k]):
                    continue
                squares = 0.0
                n_observed = 0
                for slot in range(n_slots):
                    value = recent[slot, k]
                    if not np.isnan(value):
                        squares += value * value
                        n_observed += 1
                if squares > 0.0:
                    total += row[k] * row[k] * n_observed / squares
                    n_used += 1
            if n_used > 0:
                regime_step(total / n_used, regime, regime_decay)
        recent[int(counts[0]) % n_slots] = row
        for k in range(n_factors):
            counts[1 + k] += 0.0 if np.isnan(row[k]) else 1.0
        counts[0] += 1.0
