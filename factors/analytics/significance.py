"""What a t-statistic is worth after many factors were searched."""

import math
from statistics import NormalDist

import numpy as np

from factors.errors import FactorError
from factors.risk.arrays import FloatArray
from factors.risk.newey_west import bartlett_weights

EULER_GAMMA = 0.5772156649015329
_NORMAL = NormalDist()


def mean_t_statistic(series: FloatArray, lags: int = 0) -> float:
    """Return the t-statistic of the mean of a series `[T]`, NaN left out, with Newey-West errors of `lags` lags."""
    known = series[~np.isnan(series)]
    if known.size < 2:
        return float("nan")
    centred = known - known.mean()
    kernel = bartlett_weights(min(lags, known.size - 1))
    long_run = float(centred @ centred)
    for lag in range(1, kernel.size):
        long_run += 2.0 * kernel[lag] * float(centred[lag:] @ centred[:-lag])
    error = math.sqrt(max(long_run, 0.0) / known.size / (known.size - 1))
    return float(known.mean()) / error if error > 0.0 else float("nan")


def p_value(t_statistic: float) -> float:
    """Return the two-sided p-value of a t-statistic of many observations."""
    return float("nan") if math.isnan(t_statistic) else math.erfc(abs(t_statistic) / math.sqrt(2.0))


def adjusted_p_value(p: float, trials: int) -> float:
    r"""Return the chance that the best of `trials` independent worthless factors looks as good.

    :math:`1 - (1 - p)^n` (Sidak 1967).

    Raises
    ------
    FactorError
        For fewer than one trial.
    """
    if trials < 1:
        raise FactorError(f"trials must be at least 1, got {trials}", field="trials")
    return -math.expm1(trials * math.log1p(-p)) if p < 1.0 else 1.0


def expected_best_sharpe(trials: int, trial_variance: float) -> float:
    r"""Return what the best Sharpe ratio of `trials` worthless strategies is expected to be, per period.

    :math:`\sqrt{V} ((1 - \gamma) \Phi^{-1}(1 - 1/n) + \gamma \Phi^{-1}(1 - 1/(n e)))`, 0 for one trial.
    """
    if trials < 1:
        raise FactorError(f"trials must be at least 1, got {trials}", field="trials")
    if trials == 1:
        return 0.0
    high = _NORMAL.inv_cdf(1.0 - 1.0 / trials)
    higher = _NORMAL.inv_cdf(1.0 - 1.0 / (trials * math.e))
    return math.sqrt(trial_variance) * ((1.0 - EULER_GAMMA) * high + EULER_GAMMA * higher)


def sharpe_probability(ratio: float, threshold: float, n_periods: int, skewness: float, kurtosis: float) -> float:
    r"""Return the probability that a true Sharpe ratio lies above a threshold, all per period.

    :math:`\Phi((S - S_0) \sqrt{T - 1} / \sqrt{1 - \gamma_3 S + (\gamma_4 - 1) S^2 / 4})`, with the kurtosis of a normal
    distribution 3.
    """
    spread = 1.0 - skewness * ratio + (kurtosis - 1.0) / 4.0 * ratio**2
    if spread <= 0.0:
        return float("nan")
    return _NORMAL.cdf((ratio - threshold) * math.sqrt(n_periods - 1) / math.sqrt(spread))


def deflated_sharpe(returns: FloatArray, trials: int, trial_variance: float | None = None) -> float:
    """Return the probability that a strategy's Sharpe ratio is above what the best of `trials` would be by luck.

    Bailey and Lopez de Prado (2014), "The Deflated Sharpe Ratio".

    Parameters
    ----------
    returns
        `[T]` of one period each, not overlapping; NaN left out.
    trials
        How many strategies were tried, this one among them; 1 tests against 0.
    trial_variance
        Variance of the Sharpe ratios of the trials per period; by default that of worthless ones, `1 / T`.
    """
    known = returns[~np.isnan(returns)]
    if known.size < 3 or known.std() == 0.0:
        return float("nan")
    z = (known - known.mean()) / known.std()
    luck = expected_best_sharpe(trials, 1.0 / known.size if trial_variance is None else trial_variance)
    ratio = float(known.mean() / known.std(ddof=1))
    return sharpe_probability(ratio, luck, known.size, float((z**3).mean()), float((z**4).mean()))
