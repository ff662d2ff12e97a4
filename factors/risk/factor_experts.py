"""Experts on factor volatilities: half-lives with and without regime adjustment, mixed by their own past loss.

All share one matrix of correlations, so that a mixture of their covariances is the product, entry by entry, of the
correlations and of a mixture of volatilities, and is positive semidefinite as they are (Schur).
"""

import numpy as np
from numba import njit

from factors.risk.arrays import FloatArray
from factors.risk.ewma import add_correlations, add_volatilities, count_day, regime_day
from factors.risk.hedge import RATIO_LIMIT, hedge_step
from factors.risk.newey_west import newey_west_variances
from factors.risk.regime import bounded_multiplier


@njit(cache=True, nogil=True)
def judge(row: FloatArray, recent: FloatArray, day: int, pending: FloatArray, today: FloatArray) -> bool:
    """Set today's losses `[E]` of the forecasts whose horizon ends with `row`; False where none can be judged.

    The test portfolios are the first factor alone and with one unit of each other: the exposures of a market, of its
    sectors, and of a market that leans to a style. The loss of a forecast `v` is QLIKE, `r^2 / v + ln v`, averaged over
    portfolios; `r` is the sum of the days of the horizon and `v` the variance of that sum.

    Parameters
    ----------
    recent
        `[R, K]` the days before `row`, of which day `n` lies at slot `n % R`.
    day
        Number of `row`.
    pending
        `[horizon, E, K]` forecasts of the test portfolios' daily variances; those of day `n` lie at slot `n % horizon`.
    """
    horizon, n_experts, n_factors = pending.shape
    forecast = pending[day % horizon]
    made = row.copy()
    for back in range(1, horizon):
        made += recent[(day - back) % recent.shape[0]]
    today[:] = 0.0
    n_used = 0
    for k in range(n_factors):
        outcome = made[0] + (made[k] if k > 0 else 0.0)
        if np.isnan(outcome) or not forecast[:, k].min() > 0.0:
            continue
        n_used += 1
        for e in range(n_experts):
            variance = forecast[e, k] * horizon
            today[e] += min(outcome * outcome / variance, RATIO_LIMIT) + np.log(variance)
    if n_used > 0:
        today /= n_used
    return n_used > 0


@njit(cache=True, nogil=True)
def forecast_portfolios(
    volatility_sums: FloatArray,
    volatility_weights: FloatArray,
    correlation_sums: FloatArray,
    correlation_weights: FloatArray,
    multipliers: FloatArray,
    observed: FloatArray,
    min_observations: float,
    forecast: FloatArray,
) -> None:
    """Fill `[E, K]` with the experts' daily variances of the test portfolios, NaN where there is none yet."""
    n_half_lives, n_factors = volatility_weights.shape
    n_kinds = forecast.shape[0] // n_half_lives
    scale = np.zeros(n_factors)
    with_first = np.zeros(n_factors)
    n_lags = correlation_sums.shape[0]
    for lag in range(n_lags):
        kernel = (1.0 - lag / n_lags) * (1.0 if lag == 0 else 2.0)
        for k in range(n_factors):
            scale[k] += kernel * correlation_sums[lag, k, k]
            with_first[k] += 0.5 * kernel * (correlation_sums[lag, 0, k] + correlation_sums[lag, k, 0])
    forecast[:] = np.nan
    for k in range(n_factors):
        known = observed[k] >= min_observations and observed[0] >= min_observations
        if not known or not (scale[0] > 0.0 and scale[k] > 0.0) or correlation_weights[0, k] <= 0.0:
            continue
        first, other = scale[0] / correlation_weights[0, 0], scale[k] / correlation_weights[k, k]
        correlation = with_first[k] / correlation_weights[0, k] / np.sqrt(first * other)
        for h in range(n_half_lives):
            a = long_run_variance(volatility_sums[h], volatility_weights[h], 0)
            b = long_run_variance(volatility_sums[h], volatility_weights[h], k)
            variance = a if k == 0 else a + b + 2.0 * correlation * np.sqrt(a * b)
            for kind in range(n_kinds):
                multiplier = multipliers[h] if kind == 1 else 1.0
                forecast[h * n_kinds + kind, k] = variance * multiplier * multiplier


@njit(cache=True, nogil=True)
def long_run_variance(sums: FloatArray, weights: FloatArray, k: int) -> float:
    """Return one factor's Newey-West variance from lagged sums `[L + 1, K]`."""
    n_lags = sums.shape[0]
    total = sums[0, k]
    for lag in range(1, n_lags):
        total += 2.0 * (1.0 - lag / n_lags) * sums[lag, k]
    return max(total / weights[k], 0.0) if weights[k] > 0.0 else 0.0


@njit(cache=True, nogil=True)
def experts_update(
    rows: FloatArray,
    counts: FloatArray,
    recent: FloatArray,
    volatility_sums: FloatArray,
    volatility_weights: FloatArray,
    correlation_sums: FloatArray,
    correlation_weights: FloatArray,
    squared_weights: FloatArray,
    fourth_sums: FloatArray,
    regime: FloatArray,
    pending: FloatArray,
    losses: FloatArray,
    volatility_decays: FloatArray,
    decays: FloatArray,
    bounds: FloatArray,
    asymmetry: float,
    losses_by_day: FloatArray,
) -> None:
    """Add days to the sums of every half-life and judge the experts, in place.

    As `factors.risk.ewma.ewma_update`, with an axis of half-lives first in `volatility_sums` `[H, L + 1, K]`,
    `volatility_weights` `[H, K]` and `regime` `[H, 3]`.

    Parameters
    ----------
    fourth_sums
        `[K]` of fourth powers, decayed as the correlations are.
    pending
        `[horizon, E, K]`, see `judge`. Expert `h * kinds + kind` has half-life `h`; kind 1 is regime-adjusted.
    losses
        `[E]`, see `factors.risk.hedge`.
    volatility_decays
        `[H]`.
    decays
        `[3]`: of correlations, of the regime (0: no regime adjustment), of losses.
    bounds
        `[3]`: lowest and highest regime multiplier; days before a factor counts.
    asymmetry
        Of the first factor, see `factors.risk.ewma.add_volatilities`.
    losses_by_day
        `[n_dates, E]` takes the losses after each day.
    """
    today = np.zeros(losses.size)
    multipliers = np.ones(volatility_decays.size)
    for t in range(rows.shape[0]):
        row = rows[t]
        day = int(counts[0])
        if judge(row, recent, day, pending, today):
            hedge_step(losses, today, decays[2])
        losses_by_day[t] = losses
        slot = day % recent.shape[0]
        if decays[1] > 0.0:
            for h in range(volatility_decays.size):
                regime_day(row, counts, volatility_sums[h], volatility_weights[h], regime[h], decays[1], bounds[2])
                multipliers[h] = bounded_multiplier(regime[h], bounds[0], bounds[1], bounds[2])
        recent[slot] = row
        for h in range(volatility_decays.size):
            add_volatilities(
                row, recent, slot, volatility_sums[h], volatility_weights[h], volatility_decays[h], asymmetry
            )
        add_correlations(row, recent, slot, correlation_sums, correlation_weights, squared_weights, decays[0])
        for k in range(row.size):
            fourth_sums[k] = fourth_sums[k] * decays[0] + (0.0 if np.isnan(row[k]) else row[k] ** 4)
        count_day(row, counts)
        forecast_portfolios(
            volatility_sums,
            volatility_weights,
            correlation_sums,
            correlation_weights,
            multipliers,
            counts[1:],
            bounds[2],
            pending[day % pending.shape[0]],
        )


def excess_kurtosis(state: dict[str, FloatArray]) -> float:
    """Return by how many times, less one, tails raise the sampling variance of a covariance; 0 for normal returns.

    For elliptical returns it is a third of the excess kurtosis (Muirhead 1982, section 1.6); here the median over
    factors, and never below 0.
    """
    weights = np.diag(state["correlation_weights"])
    squares = np.diag(state["correlation_sums"][0])
    known = squares > 0.0
    if not known.any():
        return 0.0
    ratios = state["fourth_sums"][known] * weights[known] / squares[known] ** 2
    return max(float(np.median(ratios)) / 3.0 - 1.0, 0.0)


def mixed_second_moments(state: dict[str, FloatArray], scales: FloatArray) -> FloatArray:
    """Return `[K, K]` mixed products of volatilities, `sum_h scales_h s_h s_h'` with each half-life's `s_h`."""
    roots = np.sqrt(
        [
            newey_west_variances(sums, weights)
            for sums, weights in zip(state["volatility_sums"], state["volatility_weights"], strict=True)
        ]
    )
    mixed: FloatArray = (roots.T * scales) @ roots
    return mixed
