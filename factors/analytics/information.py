"""Information coefficients: how scores line up with the returns that follow."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from factors.analytics.cross_section import row_correlations
from factors.analytics.significance import mean_t_statistic
from factors.errors import FactorError
from factors.notebook.shown import Figures
from factors.risk.arrays import FloatArray, as_matrix

CorrelationMethod = Literal["pearson", "rank"]


@dataclass(frozen=True, slots=True)
class InformationSummary(Figures):
    """A series of information coefficients in figures.

    Attributes
    ----------
    n_dates
        Dates with a coefficient.
    mean, deviation
        Of the coefficients.
    ratio
        `mean / deviation`, per date.
    t_statistic
        Of the mean, with Newey-West standard errors.
    share_positive
        Share of dates with a coefficient above 0.
    """

    DRAWN: ClassVar = ("mean", "deviation", "ratio", "share_positive")

    n_dates: int
    mean: float
    deviation: float
    ratio: float
    t_statistic: float
    share_positive: float

    def _caption(self) -> str:
        return f"Information coefficients of {self.n_dates} dates"


def forward_returns(returns: FloatArray, horizon: int = 1) -> FloatArray:
    """Return what each asset makes over the `horizon` days after each date, `[n_dates, n_assets]`.

    Compounded over `t + 1 .. t + horizon`; NaN where a day is missing, and for the last `horizon` dates.

    Raises
    ------
    FactorError
        For a horizon below 1.
    """
    if horizon < 1:
        raise FactorError(f"horizon must be at least 1 day, got {horizon}", field="horizon")
    daily = as_matrix("returns", returns)
    forward = np.full(daily.shape, np.nan)
    n_starts = daily.shape[0] - horizon
    if n_starts > 0:
        compounded = np.ones((n_starts, daily.shape[1]))
        for ahead in range(1, horizon + 1):
            compounded *= 1.0 + daily[ahead : ahead + n_starts]
        forward[:n_starts] = compounded - 1.0
    return forward


def information_coefficient(
    scores: FloatArray, following: FloatArray, method: CorrelationMethod = "rank"
) -> FloatArray:
    """Return the cross-sectional correlation of scores with the returns that follow, `[n_dates]`.

    Parameters
    ----------
    scores
        `[n_dates, n_assets]`, NaN for missing.
    following
        `[n_dates, n_assets]` forward returns, see `forward_returns`.
    method
        `rank` (Spearman, ties averaged) or `pearson`, over the assets present in both; NaN for fewer than three.

    Raises
    ------
    FactorError
        For shapes that differ or another method.
    """
    left, right = as_matrix("scores", scores), as_matrix("following", following)
    if left.shape != right.shape:
        raise FactorError(f"following must have shape {left.shape}, got {right.shape}", field="following")
    if method not in {"rank", "pearson"}:
        raise FactorError(f"method must be rank or pearson, got {method!r}", field="method")
    return row_correlations(left, right, method == "rank")


def information_decay(
    scores: FloatArray, returns: FloatArray, horizons: Sequence[int], method: CorrelationMethod = "rank"
) -> FloatArray:
    """Return the mean coefficient for the single day `h` days ahead, one per horizon.

    Single days, not compounded ones, so that one sees when the information is used up.

    Parameters
    ----------
    scores, returns
        `[n_dates, n_assets]`.
    horizons
        Days ahead, each at least 1.
    method
        As in `information_coefficient`.
    """
    left, right = as_matrix("scores", scores), as_matrix("returns", returns)
    means = np.full(len(horizons), np.nan)
    for i, ahead in enumerate(horizons):
        if ahead < 1:
            raise FactorError(f"horizons must be at least 1 day, got {ahead}", field="horizons")
        if ahead < left.shape[0]:
            coefficients = information_coefficient(left[:-ahead], right[ahead:], method)
            known = coefficients[~np.isnan(coefficients)]
            means[i] = known.mean() if known.size else np.nan
    return means


def information_summary(coefficients: FloatArray, horizon: int = 1) -> InformationSummary:
    """Summarise a series of coefficients `[n_dates]`, NaN left out.

    Overlapping forward returns make the coefficients of `horizon` days hang together; the t-statistic uses
    `horizon - 1` Newey-West lags.
    """
    known = coefficients[~np.isnan(coefficients)]
    if known.size < 2:
        return InformationSummary(int(known.size), float("nan"), float("nan"), float("nan"), float("nan"), float("nan"))
    mean, deviation = float(known.mean()), float(known.std(ddof=1))
    return InformationSummary(
        n_dates=int(known.size),
        mean=mean,
        deviation=deviation,
        ratio=mean / deviation if deviation > 0.0 else float("nan"),
        t_statistic=mean_t_statistic(coefficients, horizon - 1),
        share_positive=float((known > 0.0).mean()),
    )
