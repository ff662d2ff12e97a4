"""What a factor is worth: information coefficients, quantile returns, turnover, correlation, momentum and trend."""

from factors.analytics.factor_returns import FactorTrend, factor_correlation, factor_momentum, factor_trend
from factors.analytics.information import (
    InformationSummary,
    forward_returns,
    information_coefficient,
    information_decay,
    information_summary,
)
from factors.analytics.quantiles import assign_quantiles, quantile_returns, quantile_spread
from factors.analytics.turnover import quantile_turnover, rank_autocorrelation

__all__ = [
    "FactorTrend",
    "InformationSummary",
    "assign_quantiles",
    "factor_correlation",
    "factor_momentum",
    "factor_trend",
    "forward_returns",
    "information_coefficient",
    "information_decay",
    "information_summary",
    "quantile_returns",
    "quantile_spread",
    "quantile_turnover",
    "rank_autocorrelation",
]
