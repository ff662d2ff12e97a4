"""Correlation between factors, and momentum and trend of their returns."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from factors.analytics.cross_section import row_correlations
from factors.errors import FactorError
from factors.notebook.named import UNNAMED, Named, Names
from factors.risk.arrays import FloatArray, as_matrix
from factors.risk.shrinkage import pairwise_covariance

if TYPE_CHECKING:
    import polars as pl
    from matplotlib.axes import Axes


@dataclass(frozen=True, slots=True)
class FactorTrend(Named):
    """Straight line through the cumulative log return of the last days, `[n_dates, K]` each.

    Attributes
    ----------
    slope
        Per day.
    r_squared
        Share of the variation that the line explains; with the sign of the slope it says how steady the trend is.
    names
        Of dates and factors, where they were given (`named`).
    """

    FORMS: ClassVar[Mapping[str, str]] = {"slope": ".4%", "r_squared": ".1%"}

    slope: FloatArray
    r_squared: FloatArray
    names: Names = UNNAMED

    def to_polars(self) -> "pl.DataFrame":
        """Give a row for each date and factor."""
        return self.frame({"slope": self.slope, "r_squared": self.r_squared}, "dates", "factors")

    def _axes(self) -> Mapping[str, int]:
        return {"dates": self.slope.shape[0], "factors": self.slope.shape[1]}

    def _draw(self, axes: "Axes") -> None:
        from factors.notebook.charts import bars

        bars(
            axes, self.names.of("factors", self.slope.shape[1]), self.slope[-1], form=".3%",
            title="Slope of the cumulative return on the last date, per day",
        )  # fmt: skip


def factor_correlation(factors: FloatArray | Sequence[FloatArray], *, ranked: bool = False) -> FloatArray:
    """Return the correlation between factors, `[K, K]`.

    Parameters
    ----------
    factors
        Either factor returns `[n_dates, K]` (correlation over time, each pair over the days both have), or `K`
        panels of scores `[n_dates, n_assets]` (mean over dates of the correlation across assets).
    ranked
        For scores: Spearman instead of Pearson.

    Returns
    -------
    FloatArray
        NaN where a factor does not vary.
    """
    if isinstance(factors, np.ndarray) and factors.ndim == 2:
        covariance = pairwise_covariance(as_matrix("factors", factors))
        deviation = np.sqrt(np.diag(covariance))
        scale = np.divide(1.0, deviation, out=np.full_like(deviation, np.nan), where=deviation > 0.0)
        correlation: FloatArray = covariance * scale[:, None] * scale[None, :]
        return correlation
    panels = [as_matrix("factors", panel) for panel in factors]
    result = np.full((len(panels), len(panels)), np.nan)
    for i, left in enumerate(panels):
        for j, right in enumerate(panels[: i + 1]):
            if left.shape != right.shape:
                raise FactorError(f"factors must have one shape, got {left.shape} and {right.shape}", field="factors")
            by_date = row_correlations(left, right, ranked)
            known = by_date[~np.isnan(by_date)]
            result[i, j] = result[j, i] = known.mean() if known.size else np.nan
    return result


def factor_momentum(factor_returns: FloatArray, window: int = 252, lag: int = 21) -> FloatArray:
    """Return each factor's cumulative return over `window` days ending `lag` days ago, `[n_dates, K]`.

    NaN until the window is full, and where a day in it is missing.

    Raises
    ------
    FactorError
        For a window below 1 or a negative lag.
    """
    if window < 1 or lag < 0:
        raise FactorError(f"window must be at least 1 and lag not negative, got {window} and {lag}", field="window")
    logs = np.log1p(as_matrix("factor_returns", factor_returns))
    momentum = np.full(logs.shape, np.nan)
    first = window + lag - 1
    if first < logs.shape[0]:
        sums = np.lib.stride_tricks.sliding_window_view(logs, window, axis=0).sum(axis=-1)
        momentum[first:] = np.expm1(sums[: logs.shape[0] - first])
    return momentum


def factor_trend(factor_returns: FloatArray, window: int = 126) -> FactorTrend:
    """Fit a line through the cumulative log return of the last `window` days on each date.

    NaN until the window is full, and where a day in it is missing.

    Raises
    ------
    FactorError
        For a window below 3.
    """
    if window < 3:
        raise FactorError(f"window must be at least 3 days, got {window}", field="window")
    logs = np.log1p(as_matrix("factor_returns", factor_returns))
    slope, r_squared = np.full(logs.shape, np.nan), np.full(logs.shape, np.nan)
    if logs.shape[0] >= window:
        time = np.arange(window) - 0.5 * (window - 1)
        # Cumulated inside each window, so that a missing day is forgotten when it has left.
        paths = np.cumsum(np.lib.stride_tricks.sliding_window_view(logs, window, axis=0), axis=-1)
        paths = paths - paths.mean(axis=-1, keepdims=True)
        cross, squares = paths @ time, (paths * paths).sum(axis=-1)
        slope[window - 1 :] = cross / (time @ time)
        explained = cross * cross / (time @ time)
        flat = np.where(np.isnan(squares), np.nan, 0.0)
        r_squared[window - 1 :] = np.divide(explained, squares, out=flat, where=squares > 0.0)
    return FactorTrend(slope, r_squared)
