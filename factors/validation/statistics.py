"""Statistics of risk forecasts out of sample."""

from statistics import NormalDist

import numpy as np

from factors.portfolio.tails import fitted_degrees_of_freedom, student_tail
from factors.risk.arrays import FloatArray

REFIT_PERIODS = 21


def standardized_outcomes(returns: FloatArray, volatility: FloatArray) -> FloatArray:
    """Return `b_t = r_t / sigma_t`, `[n_periods, P]`; NaN where the forecast is 0 or missing."""
    outcomes: FloatArray = np.divide(returns, volatility, out=np.full_like(returns, np.nan), where=volatility > 0.0)
    return outcomes


def bias_statistic(outcomes: FloatArray) -> FloatArray:
    """Return the standard deviation of standardized outcomes of each portfolio, `[P]`.

    1 for forecasts that are right, above 1 where risk was understated (USE4 Methodology Notes, appendix A). NaN with
    fewer than two outcomes.
    """
    seen = ~np.isnan(outcomes)
    count = seen.sum(axis=0)
    filled = np.where(seen, outcomes, 0.0)
    mean = np.divide(filled.sum(axis=0), count, out=np.zeros(count.size), where=count > 0)
    squares = np.where(seen, (outcomes - mean) ** 2, 0.0).sum(axis=0)
    bias: FloatArray = np.sqrt(np.divide(squares, count - 1, out=np.full(count.size, np.nan), where=count > 1))
    return bias


def rolling_bias(outcomes: FloatArray, window: int) -> FloatArray:
    """Return the bias statistic of every `window` consecutive periods, `[n_periods - window + 1, P]`."""
    if outcomes.shape[0] < window:
        return np.empty((0, outcomes.shape[1]))
    return np.array(
        [bias_statistic(outcomes[start : start + window]) for start in range(outcomes.shape[0] - window + 1)]
    )


def mean_rolling_deviation(outcomes: FloatArray, window: int) -> float:
    """Return MRAD: the mean over portfolios and windows of `|B - 1|` (USE4 Methodology Notes, appendix A).

    Perfect forecasts of normal returns give about `sqrt(1 / (pi * window))`. NaN with fewer periods than the window.
    """
    deviation = np.abs(rolling_bias(outcomes, window) - 1.0)
    known = deviation[~np.isnan(deviation)]
    return float(known.mean()) if known.size else float("nan")


def qlike(outcomes: FloatArray) -> float:
    """Return the mean of `b^2 - ln b^2 - 1` over periods and portfolios (Patton 2011), the lower the better.

    Perfect forecasts of normal returns give 1.27. Periods without a return are left out.
    """
    squares = outcomes[~np.isnan(outcomes)] ** 2
    squares = squares[squares > 0.0]
    return float((squares - np.log(squares) - 1.0).mean()) if squares.size else float("nan")


def diebold_mariano(ours: FloatArray, theirs: FloatArray, lags: int) -> tuple[float, float]:
    """Return the mean difference of QLIKE and its t statistic, negative where ours is better.

    Diebold and Mariano (1995).

    Parameters
    ----------
    ours, theirs
        `[n_periods, P]` standardized outcomes of the same portfolios; a pair counts where both have one. Losses are
        averaged over the portfolios of a period first, as these move together.
    lags
        Of the Newey-West variance of the mean. NaN with fewer than three periods, or where nothing differs.
    """
    one, other = ours * ours, theirs * theirs
    known = (one > 0.0) & (other > 0.0)
    kept = known.any(axis=1)
    one, other, known = one[kept], other[kept], known[kept]
    gap = np.where(known, (one - np.log(np.where(known, one, 1.0))), 0.0)
    gap -= np.where(known, (other - np.log(np.where(known, other, 1.0))), 0.0)
    by_period = gap.sum(axis=1) / known.sum(axis=1)
    n = by_period.size
    if n < 3:
        return float("nan"), float("nan")
    mean = by_period.mean()
    centred = by_period - mean
    variance = centred @ centred / n
    for lag in range(1, min(lags, n - 1) + 1):
        variance += 2.0 * (1.0 - lag / (lags + 1.0)) * (centred[lag:] @ centred[:-lag]) / n
    return float(mean), float(mean / np.sqrt(variance / n)) if variance > 0.0 else float("nan")


def breach_share(outcomes: FloatArray, confidence: float) -> float:
    """Return how often a loss went beyond the normal value at risk of its forecast, over periods and portfolios.

    A right forecast of normal returns gives `1 - confidence`; fat tails give more far out.
    """
    known = outcomes[~np.isnan(outcomes)]
    return float((known < NormalDist().inv_cdf(1.0 - confidence)).mean()) if known.size else float("nan")


def student_breach_share(outcomes: FloatArray, confidence: float) -> float:
    """Return how often a loss went beyond the value at risk of a Student t fitted to the periods before.

    The degrees of freedom are one number for all portfolios, fitted again every 21 periods to the outcomes so far and
    5 before the first fit, and the t has the variance of the forecast.
    """
    breaches, counted = 0, 0
    nu = np.array([5.0])
    for start in range(0, outcomes.shape[0], REFIT_PERIODS):
        if start:
            nu = fitted_degrees_of_freedom(outcomes[:start].reshape(1, -1))
        block = outcomes[start : start + REFIT_PERIODS]
        known = block[~np.isnan(block)]
        breaches += int((known < -student_tail(nu, confidence)[0][0]).sum())
        counted += known.size
    return breaches / counted if counted else float("nan")


def bias_interval(n_periods: int) -> tuple[float, float]:
    """Return the 95 % interval of the bias statistic of right forecasts of normal returns, `1 +- sqrt(2 / n)`."""
    half = float(np.sqrt(2.0 / n_periods))
    return 1.0 - half, 1.0 + half
