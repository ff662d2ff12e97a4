"""Experts on specific variances: half-lives with and without regime adjustment, mixed by their own past loss."""

import numpy as np
from numba import njit

from factors.risk.arrays import FloatArray
from factors.risk.events import event_day, mixture_scales
from factors.risk.hedge import RATIO_LIMIT, hedge_step
from factors.risk.regime import bounded_multiplier
from factors.risk.specific_sums import add_squares, end_day, regime_day


@njit(cache=True, nogil=True)
def judge(
    squares: FloatArray, counted: FloatArray, forecast: FloatArray, scales: FloatArray, today: FloatArray
) -> bool:
    """Set the losses `[E]` of the forecasts whose horizon has ended; False where no asset was seen in it.

    Each asset alone is a test portfolio. The loss of a forecast `v` is QLIKE, `m / v + ln v`, with `m` the mean square
    of its days, averaged over assets.

    Parameters
    ----------
    squares, counted
        `[n_assets]` sums of squares and days of the horizon.
    forecast
        `[H, n_assets]` variances forecast before it, 0 where there was none.
    scales
        `[H]` squared regime multipliers then in effect.
    """
    n_half_lives, n_assets = forecast.shape
    n_kinds = today.size // n_half_lives
    today[:] = 0.0
    n_used = 0
    for n in range(n_assets):
        if counted[n] <= 0.0 or not forecast[:, n].min() > 0.0:
            continue
        n_used += 1
        for h in range(n_half_lives):
            ratio = squares[n] / counted[n] / forecast[h, n]
            level = np.log(forecast[h, n])
            for kind in range(n_kinds):
                scale = scales[h] if kind == 1 else 1.0
                today[h * n_kinds + kind] += min(ratio / scale, RATIO_LIMIT) + level
    if n_used == 0:
        return False
    today /= n_used
    if n_kinds == 2:
        for h in range(n_half_lives):
            today[2 * h + 1] += np.log(scales[h])
    return True


@njit(cache=True, nogil=True)
def experts_update(
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
    forecast: FloatArray,
    forecast_scales: FloatArray,
    outcome: FloatArray,
    losses: FloatArray,
    event_age: FloatArray,
    event_learnt: FloatArray,
    sums_decays: FloatArray,
    decays: FloatArray,
    bounds: FloatArray,
    mixing: FloatArray,
    horizon: int,
    losses_by_day: FloatArray,
) -> None:
    """Add days to the sums of every half-life and judge the experts, in place.

    As `factors.risk.specific_sums.specific_update`, with an axis of half-lives first in `sums` and `weights`
    `[H, n_assets]` and in `regime` `[H, 3]`. Forecasts are made and judged every `horizon` days, without overlap.

    Parameters
    ----------
    forecast, forecast_scales
        `[H, n_assets]` and `[H]`, see `judge`.
    outcome
        `[2, n_assets]` sums of squares since the forecasts were made, and days counted.
    losses
        `[E]`, see `factors.risk.hedge`.
    event_age, event_learnt
        `[n_assets]` and `[2, A]`, see `factors.risk.events`; nothing is learnt where `A` is 0.
    sums_decays
        `[H]`.
    decays
        `[3]`: of autocovariances, of the regime (0: no regime adjustment), of losses, once a horizon.
    bounds
        `[3]`: lowest and highest regime multiplier; days before an asset counts.
    mixing
        `[3]`: rate of the weights, even share, and the deviations of an event.
    losses_by_day
        `[n_dates, E]` takes the losses after each day.
    """
    n_half_lives, n_assets = sums.shape
    today = np.zeros(losses.size)
    for t in range(rows.shape[0]):
        row = rows[t]
        if event_learnt.shape[1] > 0:
            scales = mixture_scales(losses, regime, mixing[0], mixing[1], bounds)
            event_day(row, history, sums, weights, scales, bounds[2], mixing[2], event_age, event_learnt)
        for n in range(n_assets):
            if not np.isnan(row[n]):
                outcome[0, n] += row[n] * row[n]
                outcome[1, n] += 1.0
        for h in range(n_half_lives):
            if decays[1] > 0.0:
                regime_day(row, history, last_cap, sums[h], weights[h], regime[h], decays[1], bounds[2])
            add_squares(row, sums[h], weights[h], sums_decays[h])
        end_day(row, caps[t], days, history, last_cap, recent, lagged_sums, decays[0])
        if int(days[0]) % horizon == 0:
            if judge(outcome[0], outcome[1], forecast, forecast_scales, today):
                hedge_step(losses, today, decays[2])
            outcome[:] = 0.0
            for h in range(n_half_lives):
                multiplier = bounded_multiplier(regime[h], bounds[0], bounds[1], bounds[2])
                forecast_scales[h] = multiplier * multiplier
                for n in range(n_assets):
                    known = history[n] >= bounds[2] and sums[h, n] > 0.0
                    forecast[h, n] = sums[h, n] / weights[h, n] if known else 0.0
        losses_by_day[t] = losses
