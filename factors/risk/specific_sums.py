"""Exponentially weighted sums of specific returns, one day at a time, in numba; assets are the contiguous axis."""

import numpy as np
from numba import njit

from factors.risk.arrays import FloatArray
from factors.risk.ewma import regime_step


@njit(cache=True, nogil=True)
def regime_day(
    row: FloatArray,
    history: FloatArray,
    last_cap: FloatArray,
    sums: FloatArray,
    weights: FloatArray,
    regime: FloatArray,
    regime_decay: float,
    min_observations: float,
) -> None:
    """Compare a day's specific returns with the variances before it; arguments as in `specific_update`."""
    total = 0.0
    total_cap = 0.0
    for n in range(row.size):
        known = history[n] >= min_observations and sums[n] > 0.0 and last_cap[n] > 0.0
        if known and not np.isnan(row[n]):
            total += last_cap[n] * row[n] * row[n] * weights[n] / sums[n]
            total_cap += last_cap[n]
    if total_cap > 0.0:
        regime_step(total / total_cap, regime, regime_decay)


@njit(cache=True, nogil=True)
def add_squares(row: FloatArray, sums: FloatArray, weights: FloatArray, sums_decay: float) -> None:
    """Add a day's squares to `sums` `[n_assets]` and count it in `weights`, in place."""
    for n in range(row.size):
        seen = not np.isnan(row[n])
        sums[n] = sums[n] * sums_decay + (row[n] * row[n] if seen else 0.0)
        weights[n] = weights[n] * sums_decay + (1.0 if seen else 0.0)


@njit(cache=True, nogil=True)
def end_day(
    row: FloatArray,
    caps: FloatArray,
    days: FloatArray,
    history: FloatArray,
    last_cap: FloatArray,
    recent: FloatArray,
    lagged_sums: FloatArray,
    lagged_decay: float,
) -> None:
    """Count a day, keep its caps `[n_assets]` and its row, and add it to the lagged sums, in place."""
    n_slots = recent.shape[0]
    slot = int(days[0]) % n_slots
    recent[slot] = row
    for n in range(row.size):
        history[n] += 0.0 if np.isnan(row[n]) else 1.0
        if not np.isnan(caps[n]):
            last_cap[n] = caps[n]
    for lag in range(lagged_sums.shape[0]):
        past = recent[(slot - lag) % n_slots]
        scale = lagged_decay ** (0.5 * lag)
        for n in range(row.size):
            product = row[n] * past[n]
            lagged_sums[lag, n] = lagged_sums[lag, n] * lagged_decay + (0.0 if np.isnan(product) else scale * product)
    days[0] += 1.0


@njit(cache=True, nogil=True)
def specific_update(
    rows: FloatArray,
    caps: FloatArray,
    days: FloatArray,
    history: FloatArray,
    last_cap: FloatArray,
    recent: FloatArray,
    sums: FloatArray,
    weights: FloatArray,
    lagged_sums: FloatArray,
    regime: FloatArray,
    decays: FloatArray,
    regime_min_observations: float,
) -> None:
    """Add days to the sums behind the specific variances, in place.

    Sums decay by calendar day; a missing day adds nothing, so an asset that was suspended keeps its variance and
    learns faster when it trades again.

    Parameters
    ----------
    rows
        `[n_dates, n_assets]` specific returns, NaN for missing.
    caps
        `[n_dates, n_assets]` market capitalisations, NaN for unknown.
    days
        `[1]` days seen.
    history
        `[n_assets]` days observed.
    last_cap
        `[n_assets]` the capitalisation known before the day, which weighs the day's regime statistic.
    recent
        `[R, n_assets]` the last `R` rows; day `n` lies at slot `n % R`.
    sums, weights
        `[n_assets]` of `w u^2` and of `w`.
    lagged_sums
        `[L + 1, n_assets]` of `sqrt(w_t w_(t-l)) u_t u_(t-l)`, see `factors.risk.ewma.ewma_update`.
    regime
        `[3]`, see `regime_step`.
    decays
        `[3]`: of variances, of autocovariances, of the regime (0: no regime adjustment).
    regime_min_observations
        Days an asset must have been observed before it counts in the regime statistic.
    """
    for t in range(rows.shape[0]):
        row = rows[t]
        if decays[2] > 0.0:
            regime_day(row, history, last_cap, sums, weights, regime, decays[2], regime_min_observations)
        add_squares(row, sums, weights, decays[0])
        end_day(row, caps[t], days, history, last_cap, recent, lagged_sums, decays[1])


@njit(cache=True)
def window_mean_squares(recent: FloatArray) -> FloatArray:
    """Return `[n_assets]` mean squares of the ring `[R, n_assets]`, NaN where nothing was observed."""
    n_slots, n_assets = recent.shape
    squares = np.zeros(n_assets)
    counts = np.zeros(n_assets)
    for slot in range(n_slots):
        for n in range(n_assets):
            value = recent[slot, n]
            if not np.isnan(value):
                squares[n] += value * value
                counts[n] += 1.0
    for n in range(n_assets):
        squares[n] = squares[n] / counts[n] if counts[n] > 0.0 else np.nan
    return squares
