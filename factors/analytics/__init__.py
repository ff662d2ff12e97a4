"""What a factor is worth: information coefficients, quantile returns, turnover, correlation, momentum and trend."""

from factors.analytics.factor_returns import FactorTrend, factor_correlation, factor_momentum, factor_trend
from factors.analytics.information import (
    InformationSummary,
    forward_returns,
    information_coefficient,
    information_decay,
    information_summary,
)
from factors.analytics.performance import Performance, crowding, performance
from factors.analytics.quantiles import assign_quantiles, quantile_returns, quantile_spread
from factors.analytics.significance import adjusted_p_value, deflated_sharpe, mean_t_statistic
from factors.analytics.tear_sheet import TearSheet, TearSheetSettings, tear_sheet
from factors.analytics.turnover import quantile_turnover, rank_autocorrelation

__all__ = [
    "FactorTrend",
    "InformationSummary",
    "Performance",
    "TearSheet",
    "TearSheetSettings",
    "adjusted_p_value",
    "assign_quantiles",
    "crowding",
    "deflated_sharpe",
    "factor_correlation",
    "factor_momentum",
    "factor_trend",
    "forward_returns",
    "information_coefficient",
    "information_decay",
    "information_summary",
    "mean_t_statistic",
    "performance",
    "quantile_returns",
    "quantile_spread",
    "quantile_turnover",
    "rank_autocorrelation",
    "tear_sheet",
]
