"""What a predictor is worth beside a plain factor: rank information coefficients, and how far apart they are."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from factors.analytics import (
    InformationSummary,
    adjusted_p_value,
    forward_returns,
    information_coefficient,
    information_summary,
    mean_t_statistic,
)
from factors.analytics.significance import degrees_of_freedom, p_value
from factors.notebook.shown import Shown

if TYPE_CHECKING:
    import polars as pl
    from matplotlib.axes import Axes

Z_95 = 1.959963984540054


@dataclass(frozen=True)
class Judged(Shown):
    """Two scores over the same names and dates.

    Attributes
    ----------
    horizon
        Days of the forward returns that they are held against.
    own, plain
        Information coefficients of the predictor and of the factor.
    difference
        Mean of the daily differences.
    interval
        Of 95 %, with Newey-West errors of ``horizon - 1`` lags.
    t_statistic
        Of the difference.
    trials
        How many predictors were tried, this one among them.
    p_adjusted
        The chance that the best of so many worthless ones differs as much.
    """

    horizon: int
    own: InformationSummary
    plain: InformationSummary
    difference: float
    interval: tuple[float, float]
    t_statistic: float
    trials: int
    p_adjusted: float

    def to_polars(self) -> pl.DataFrame:
        """Give a row for the predictor, the factor, and their difference; what a row has none of is null."""
        import polars as pl

        own, plain = (one.to_polars().with_columns(of=pl.lit(name)) for name, one in self._two())
        low, high = self.interval
        told = {"of": "difference", "mean": self.difference, "low": low, "high": high, "t_statistic": self.t_statistic,
                "p_adjusted": self.p_adjusted}  # fmt: skip
        difference = pl.DataFrame({name: [value] for name, value in told.items()}, nan_to_null=True)
        found = pl.concat([own, plain, difference], how="diagonal")
        return found.select("of", pl.exclude("of"))

    def _two(self) -> tuple[tuple[str, InformationSummary], tuple[str, InformationSummary]]:
        return ("predictor", self.own), ("factor", self.plain)

    def _caption(self) -> str:
        return f"Information coefficient over {self.horizon} days, after {self.trials} trials"

    def _draw(self, axes: Axes) -> None:
        from factors.notebook.charts import bars

        means = [*(one.mean for _, one in self._two()), self.difference]
        bars(axes, ["predictor", "factor", "difference"], means, title=self._caption())


def judge(
    scores: NDArray[np.float64],
    plain: NDArray[np.float64],
    returns: NDArray[np.float64],
    horizon: int,
    trials: int,
) -> Judged:
    """Hold a predictor against a plain factor, on the names and dates that both have.

    Parameters
    ----------
    scores, plain, returns : float64 [n_dates, n_assets]
        NaN where missing; predictions out of sample.
    trials : int
        At least 1.
    """
    both = np.isfinite(scores) & np.isfinite(plain)
    following = forward_returns(returns, horizon)
    of = [information_coefficient(np.where(both, values, np.nan), following) for values in (scores, plain)]
    apart = of[0] - of[1]
    known = apart[np.isfinite(apart)]
    mean = float(known.mean()) if known.size else math.nan
    t = mean_t_statistic(apart, horizon - 1)
    reach = Z_95 * abs(mean / t) if t and math.isfinite(t) else math.nan
    p = p_value(t, degrees_of_freedom(apart, horizon - 1))
    return Judged(
        horizon,
        information_summary(of[0], horizon),
        information_summary(of[1], horizon),
        mean,
        (mean - reach, mean + reach),
        t,
        trials,
        adjusted_p_value(p, trials) if math.isfinite(p) else math.nan,
    )
