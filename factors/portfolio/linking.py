"""Linking daily contributions into those of a period."""

import numpy as np

from factors.errors import FactorError
from factors.risk.arrays import FloatArray


def carino_scale(portfolio: FloatArray, benchmark: FloatArray) -> tuple[FloatArray, float, float]:
    r"""Return the daily linking factors `[T]` and the compounded returns of portfolio and benchmark.

    :math:`k_t / k` with :math:`k_t = (\ln(1 + R_t) - \ln(1 + B_t)) / (R_t - B_t)`, and `k` the same of the compounded
    returns (Carino 1999, "Combining Attribution Effects Over Time").

    Raises
    ------
    FactorError
        For a return of -100 % or less, which has no logarithm.
    """
    if (portfolio <= -1.0).any() or (benchmark <= -1.0).any():
        raise FactorError("returns must be above -100 % to be linked", field="portfolio_returns")
    if portfolio.size == 1:
        # A day by itself is linked with nothing; by the logarithms its parts would be off in the last bit.
        return np.ones(1), float(portfolio[0]), float(benchmark[0])
    log_portfolio, log_benchmark = np.log1p(portfolio), np.log1p(benchmark)
    total_portfolio = float(np.expm1(log_portfolio.sum()))
    total_benchmark = float(np.expm1(log_benchmark.sum()))
    daily = _log_slope(portfolio, benchmark)
    overall = _log_slope(np.array([total_portfolio]), np.array([total_benchmark]))[0]
    return daily / overall, total_portfolio, total_benchmark


def _log_slope(high: FloatArray, low: FloatArray) -> FloatArray:
    """Return `(ln(1 + a) - ln(1 + b)) / (a - b)`, exact as `a` tends to `b`."""
    ratio = (high - low) / (1.0 + low)
    # log1p(x) / x tends to 1 - x / 2 + x^2 / 3; below 1e-5 the series is exact in double precision.
    small = np.abs(ratio) < 1e-5
    safe = np.where(small, 1.0, ratio)
    slope = np.where(small, 1.0 - ratio / 2.0 + ratio * ratio / 3.0, np.log1p(safe) / safe)
    result: FloatArray = slope / (1.0 + low)
    return result
