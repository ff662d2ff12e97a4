"""What a t-statistic is worth after many factors were searched."""

import math
from statistics import NormalDist

import numpy as np

from factors.errors import FactorError
from factors.risk.arrays import FloatArray, IntArray
from factors.risk.newey_west import bartlett_weights

EULER_GAMMA = 0.5772156649015329
_NORMAL = NormalDist()


def mean_t_statistic(series: FloatArray, lags: int = 0) -> float:
    """Return the t-statistic of the mean of a series `[T]`, NaN left out, with Newey-West errors of `lags` lags.

    A lag is a distance in the series, missing values counted: of scores once a month, monthly values share no days.
    """
    seen = ~np.isnan(series)
    n = int(seen.sum())
    if n < 2:
        return float("nan")
    mean = float(series[seen].mean())
    centred = np.where(seen, series - mean, 0.0)
    kernel = bartlett_weights(min(lags, series.size - 1))
    long_run = float(centred @ centred)
    for lag in range(1, kernel.size):
        long_run += 2.0 * kernel[lag] * float(centred[lag:] @ centred[:-lag])
    error = math.sqrt(max(long_run, 0.0) / n / (n - 1))
    return mean / error if error > 0.0 else float("nan")


def degrees_of_freedom(series: FloatArray, lags: int = 0) -> float:
    r"""Return how many degrees of freedom the errors of `mean_t_statistic` have, at least 0.

    :math:`n / (1 + 2 \sum_l k_l^2 m_l / n) - 1` with the kernel :math:`k_l` and :math:`m_l` pairs of values at distance
    :math:`l`: the equivalent degrees of freedom of Lazarus, Lewis, Stock and Watson (2018), for Bartlett's kernel
    :math:`3 T / 2 (L + 1)`. Without lags it is :math:`n - 1`.
    """
    seen = (~np.isnan(series)).astype(np.float64)
    n = float(seen.sum())
    if n < 2.0:
        return 0.0
    kernel = bartlett_weights(min(lags, series.size - 1))
    inflation = 1.0
    for lag in range(1, kernel.size):
        inflation += 2.0 * kernel[lag] ** 2 * float(seen[lag:] @ seen[:-lag]) / n
    return max(n / inflation - 1.0, 0.0)


def p_value(t_statistic: float, degrees: float = math.inf) -> float:
    """Return the two-sided p-value of a t-statistic with so many degrees of freedom; NaN with none."""
    if math.isnan(t_statistic) or degrees <= 0.0:
        return float("nan")
    if math.isinf(degrees):
        return math.erfc(abs(t_statistic) / math.sqrt(2.0))
    from scipy.special import stdtr

    return 2.0 * float(stdtr(degrees, -abs(t_statistic)))


def not_overlapping(series: FloatArray, horizon: int) -> IntArray:
    """Return positions of known values that lie at least `horizon` apart, each the first that does."""
    rows, out = np.flatnonzero(~np.isnan(series)), list[int]()
    for row in rows.tolist():
        if not out or row - out[-1] >= horizon:
            out.append(row)
    return np.array(out, dtype=np.int64)


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
