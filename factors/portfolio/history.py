"""Predicted beside realised: a book's risk day after day, as it was known, against what then happened."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from factors.errors import FactorError
from factors.notebook.named import UNNAMED, Named, Names
from factors.numeric import deadline
from factors.risk.arrays import BoolArray, FloatArray, as_matrix
from factors.risk.linked import Linked
from factors.validation.statistics import bias_statistic, breach_share, qlike, standardized_outcomes

if TYPE_CHECKING:
    import polars as pl
    from matplotlib.axes import Axes


@dataclass(frozen=True, slots=True)
class RiskHistory(Named):
    """One row a day, `T` days; row `t` is known at the close of `t` and speaks of `t + 1`. Daily units.

    Attributes
    ----------
    total, factor, specific
        `[T]` predicted volatilities of the book; of its active weights, with a benchmark. NaN on a day on which nothing
        that it holds is covered.
    exposures
        `[T, K]`, NaN on such a day.
    realised
        `[T]` the return of the next day at these weights; NaN on the last day.
    standardized
        `[T]` realised over total.
    breaches
        `[T]` whether the loss went beyond the normal value at risk.
    uncovered_share
        `[T]` share of gross weight in names without exposures or specific risk, which are left out.
    bias
        Standard deviation of `standardized`: 1 where risk was right, above 1 where it was understated.
    breach_share
        How often the value at risk was exceeded; `1 - confidence` is right.
    qlike
        Mean of `b^2 - ln b^2 - 1`, the lower the better.
    names
        Of dates and factors; see `named`.
    """

    total: FloatArray
    factor: FloatArray
    specific: FloatArray
    exposures: FloatArray
    realised: FloatArray
    standardized: FloatArray
    breaches: BoolArray
    uncovered_share: FloatArray
    bias: float
    breach_share: float
    qlike: float
    names: Names = UNNAMED

    def to_polars(self) -> "pl.DataFrame":
        """Give a row for each day: predicted volatilities, the return of the next day, whether it broke the limit."""
        import polars as pl

        columns = {
            "total": self.total, "factor": self.factor, "specific": self.specific, "realised": self.realised,
            "standardized": self.standardized, "uncovered_share": self.uncovered_share,
        }  # fmt: skip
        made = [pl.Series(name, values).fill_nan(None) for name, values in columns.items()]
        return pl.DataFrame([pl.Series("date", self._dates()), *made, pl.Series("breach", self.breaches)])

    def _dates(self) -> np.ndarray:
        return np.asarray(self.names.dates) if self.names.dates else np.arange(1, self.total.size + 1)

    def _axes(self) -> Mapping[str, int]:
        return {"dates": self.total.size, "factors": self.exposures.shape[1]}

    def _caption(self) -> str:
        return f"Bias {self.bias:.2f} (1 is right), losses beyond the limit on {self.breach_share:.1%} of days"

    def _draw(self, axes: "Axes") -> None:
        from factors.notebook.charts import lines
        from factors.notebook.style import ORANGE

        at = self._dates()
        lines(axes, at, {"predicted": self.total, "down as much": -self.total}, title=self._caption(), percent=True)
        axes.plot(at, self.realised, ".", markersize=2, color="#59636e", label="realised, next day")
        broke = self.breaches
        axes.plot(at[broke], self.realised[broke], "x", markersize=5, color=ORANGE, label="loss beyond the limit")
        axes.legend(frameon=False, fontsize=7, loc="upper left", bbox_to_anchor=(1.0, 1.0))


def risk_history(
    weights: FloatArray,
    exposures: Sequence[FloatArray] | FloatArray,
    covariances: Sequence[FloatArray],
    specific_variance: FloatArray,
    returns: FloatArray,
    *,
    linked: Linked | Sequence[Linked] | None = None,
    confidence: float = 0.99,
) -> RiskHistory:
    """Predict a book's risk on every day and set it beside the return of the next.

    Parameters
    ----------
    weights
        `[T, N]` at the close of each day; active weights for active risk.
    exposures
        `[N, K]` of each day, NaN for names that were not covered.
    covariances
        `[K, K]` of each day, as known at its close.
    specific_variance
        `[T, N]`, NaN where unknown.
    returns
        `[T, N]`; row `t + 1` judges the forecast of row `t`. A name without a return earns nothing.
    linked
        Assets of one issuer, the same on all days or those of each.
    confidence
        Level of the value at risk.

    Raises
    ------
    FactorError
        Shapes that do not match.
    """
    W = as_matrix("weights", weights, finite=True)
    n_days, n_assets = W.shape
    R = as_matrix("returns", returns, columns=n_assets)
    D = as_matrix("specific_variance", specific_variance, columns=n_assets)
    if not len(exposures) == len(covariances) == len(R) == len(D) == n_days:
        raise FactorError(f"exposures, covariances, risk and returns must be of {n_days} days", field="exposures")
    links = [linked or Linked()] * n_days if linked is None or isinstance(linked, Linked) else list(linked)
    if len(links) != n_days:
        raise FactorError(f"linked must be of {n_days} days, got {len(links)}", field="linked")
    exposed = np.empty((n_days, covariances[0].shape[0]))
    parts = np.empty((n_days, 3))  # factor variance, specific variance, uncovered share
    for t in range(n_days):
        deadline.check()
        X = exposures[t]
        covered = ~(np.isnan(X).any(axis=1) | np.isnan(D[t]))
        w = np.where(covered, W[t], 0.0)
        exposed[t] = w @ np.where(covered[:, None], X, 0.0)
        size = np.abs(W[t])
        gross = size.sum()
        own = w @ links[t].times(w[None, :], np.where(covered, D[t], 0.0))[0]
        parts[t] = (
            exposed[t] @ covariances[t] @ exposed[t],
            own,
            size[~covered].sum() / gross if gross > 0.0 else 0.0,
        )
    blank = parts[:, 2] >= 1.0
    parts[blank, :2] = exposed[blank] = np.nan
    factor, specific = np.sqrt(np.maximum(parts[:, 0], 0.0)), np.sqrt(np.maximum(parts[:, 1], 0.0))
    total = np.hypot(factor, specific)
    realised = np.full(n_days, np.nan)
    realised[:-1] = (W[:-1] * np.nan_to_num(R[1:])).sum(axis=1)
    outcomes = standardized_outcomes(realised[:, None], total[:, None])
    return RiskHistory(
        total=total,
        factor=factor,
        specific=specific,
        exposures=exposed,
        realised=realised,
        standardized=outcomes[:, 0],
        breaches=np.array([breach_share(row[:, None], confidence) > 0.0 for row in outcomes]),
        uncovered_share=parts[:, 2],
        bias=float(bias_statistic(outcomes)[0]),
        breach_share=breach_share(outcomes, confidence),
        qlike=qlike(outcomes),
    )
