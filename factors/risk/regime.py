"""Volatility regime adjustment."""

import math

from numba import njit

from factors.risk.arrays import FloatArray


@njit(cache=True, nogil=True)
def bounded_multiplier(regime: FloatArray, low: float, high: float, min_observations: float) -> float:
    """Return what `regime_multiplier` does."""
    if regime[2] < max(min_observations, 1.0) or regime[1] <= 0.0:
        return 1.0
    return min(max(math.sqrt(regime[0] / regime[1]), low), high)


def regime_multiplier(regime: FloatArray, clip: tuple[float, float], min_observations: int) -> float:
    """Return the volatility multiplier `sqrt(sum_t w_t B_t^2 / sum_t w_t)`, held within `clip`.

    `B_t^2` is the mean across the cross-section of squared returns over the squared one-day volatilities forecast
    the day before. One-day forecasts (without the Newey-West correction) are compared with one-day returns: the
    adjustment is for the level of volatility, and must not undo the correction for serial correlation.

    Parameters
    ----------
    regime
        `[sum of w B^2, sum of w, days]`.
    clip
        Lowest and highest multiplier.
    min_observations
        Days below which the multiplier is 1.

    Notes
    -----
    USE4 Methodology Notes (2011), section 4.3.
    """
    return float(bounded_multiplier(regime, float(clip[0]), float(clip[1]), float(min_observations)))
