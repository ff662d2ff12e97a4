"""Everything that is asked of a factor on one sheet: figures as JSON-able values, and the same as a page."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from factors.analytics.information import (
    forward_returns,
    information_coefficient,
    information_decay,
    information_summary,
)
from factors.analytics.quantiles import assign_quantiles, quantile_returns, quantile_spread
from factors.analytics.significance import (
    adjusted_p_value,
    deflated_sharpe,
    degrees_of_freedom,
    mean_t_statistic,
    not_overlapping,
    p_value,
)
from factors.analytics.turnover import quantile_turnover, rank_autocorrelation
from factors.errors import FactorError
from factors.notebook.shown import Shown
from factors.panel.frequency import periods_per_year
from factors.risk.arrays import FloatArray, as_matrix
from factors.setting import Count, settings_class

if TYPE_CHECKING:
    import polars as pl
    from matplotlib.axes import Axes

    from factors.notebook.style import Picture

CORRELATED_EVERY = 21
"""Scores are compared with others on every so manyth date: how alike they are moves slowly."""
Ahead = Annotated[tuple[Annotated[int, Field(strict=True, ge=1, le=504)], ...], Field(min_length=1, max_length=504)]


@settings_class
class TearSheetSettings:
    """How a factor is looked at.

    Parameters
    ----------
    horizons
        Days ahead of the forward returns.
    n_quantiles
        Groups of names by score.
    decay_days
        Single days ahead at which the information is measured.
    trials
        How many factors were tried before this one was chosen, it among them: significance is deflated by it.
    """

    horizons: Ahead = (1, 5, 21)
    n_quantiles: Annotated[int, Field(strict=True, ge=2, le=100)] = 5
    decay_days: Ahead = (1, 2, 3, 5, 10, 21, 42, 63)
    trials: Count = 1


@dataclass(frozen=True, slots=True)
class TearSheet(Shown):
    """A factor in figures.

    Attributes
    ----------
    name
        The factor's.
    figures
        JSON-able; a figure that is not defined is None.
    """

    name: str
    figures: dict[str, Any]

    FORMS: ClassVar[Mapping[str, str]] = {
        "ic": ".4f", "ic_t": ".2f", "p_after_trials": ".3g", "spread": ".3%", "spread_t": ".2f",
    }  # fmt: skip

    def to_polars(self) -> "pl.DataFrame":
        """Give a row for each horizon: days, the information coefficient and the spread with their t-statistics."""
        import polars as pl

        rows = [
            {
                "days": row["days"],
                "ic": row["ic"]["mean"],
                "ic_t": row["ic"]["t_statistic"],
                "p_after_trials": row["ic"]["p_value_after_trials"],
                "spread": row["spread"]["mean"],
                "spread_t": row["spread"]["t_statistic"],
                **{f"quantile_{q + 1}": mean for q, mean in enumerate(row["quantile_returns"])},
            }
            for row in self.figures["horizons"]
        ]
        return pl.DataFrame(rows, infer_schema_length=None)

    def plot(
        self, axes: "Axes | None" = None, what: Literal["quantiles", "decay", "months"] = "quantiles"
    ) -> "Picture":
        """Draw the mean returns of the quantiles, the information by days ahead, or by month.

        Raises
        ------
        FactorError
            Without matplotlib, which the extra `report` brings.
        """
        from factors.notebook.style import draw

        return draw(lambda own: self._draw(own, what), axes)

    def _draw(self, axes: "Axes", what: str = "quantiles") -> None:
        from factors.notebook.charts import columns

        if what == "quantiles":
            groups = {f"{row['days']} days ahead": row["quantile_returns"] for row in self.figures["horizons"]}
            labels = [str(q + 1) for q in range(len(next(iter(groups.values()))))]
            title = f"{self.name}: mean return by quantile, less the mean of all"
            columns(axes, labels, groups, title=title, percent=True)
            return
        rows, label = (
            (self.figures["decay"], "days_ahead") if what == "decay" else (self.figures["ic_by_month"], "month")
        )
        title = f"{self.name}: rank IC by {'days ahead' if what == 'decay' else 'month'}"
        columns(axes, [str(row[label]) for row in rows], {"rank IC": [row["mean_ic"] for row in rows]}, title=title)

    def _caption(self) -> str:
        found = self.figures
        return f"{self.name}: {found['first_date']} to {found['last_date']}, {found['settings']['trials']} tried"

    def to_html(self) -> str:
        """Give one page that needs no network."""
        from factors.analytics.tear_sheet_page import page

        return page(self)


def tear_sheet(
    scores: FloatArray,
    returns: FloatArray,
    dates: NDArray[np.datetime64] | Sequence[Any],
    settings: TearSheetSettings | None = None,
    name: str = "factor",
    others: Mapping[str, FloatArray] | None = None,
) -> TearSheet:
    """Judge scores by the returns that follow.

    A score of date `t` is judged by the days after it only; the last `h` dates have no forward return of `h` days and
    are left out. Forward returns of `h` days overlap, so t-statistics have `h - 1` Newey-West lags, p-values the
    degrees of freedom that these leave, and the deflated Sharpe ratio is taken of dates that lie `h` apart.

    Parameters
    ----------
    scores, returns
        `[n_dates, n_assets]`, NaN for missing; simple daily returns.
    dates
        `[n_dates]`.
    settings
        See `TearSheetSettings`.
    name
        Of the factor.
    others
        Other factors' scores by name, `[n_dates, n_assets]` each, which it is correlated with: ranks across names on
        every 21st date, the last one among them.

    Raises
    ------
    FactorError
        Shapes that do not match, or fewer dates than the longest horizon needs.
    """
    chosen = settings or TearSheetSettings()
    S, R = as_matrix("scores", scores), as_matrix("returns", returns)
    days = np.asarray(dates, "datetime64[D]")
    if S.shape != R.shape or len(days) != len(S):
        raise FactorError(f"returns must be {S.shape} and dates {len(S)}: {R.shape}, {len(days)}", field="returns")
    if len(S) <= max(chosen.horizons) + 1:
        raise FactorError(f"{len(S)} dates are too few for a horizon of {max(chosen.horizons)} days", field="horizons")
    quantiles = assign_quantiles(S, chosen.n_quantiles)
    there = ~np.isnan(R)
    known = ~np.isnan(S) & there
    covered = known.sum(axis=1) / np.maximum(there.sum(axis=1), 1)
    year = periods_per_year(days)
    figures: dict[str, Any] = {
        "name": name,
        "first_date": str(days[0]),
        "last_date": str(days[-1]),
        "n_dates": len(days),
        "n_assets": S.shape[1],
        "coverage": float(covered.mean()),
        "settings": asdict(chosen),
        "periods_per_year": year,
        "horizons": [_horizon(S, R, h, chosen, year) for h in chosen.horizons],
        "decay": [
            {"days_ahead": day, "mean_ic": ic}
            for day, ic in zip(chosen.decay_days, information_decay(S, R, chosen.decay_days).tolist(), strict=True)
        ],
        "turnover": [
            {
                "days": h,
                "top": _mean(quantile_turnover(quantiles, chosen.n_quantiles, h)),
                "bottom": _mean(quantile_turnover(quantiles, 1, h)),
                "rank_autocorrelation": _mean(rank_autocorrelation(S, h)),
            }
            for h in chosen.horizons
        ],
        "correlations": _correlations(S, others or {}),
        "ic_by_month": _by_month(days, information_coefficient(S, forward_returns(R, 1))),
    }
    return TearSheet(name, _defined(figures))


def _horizon(S: FloatArray, R: FloatArray, horizon: int, settings: TearSheetSettings, year: float) -> dict[str, Any]:
    """Give the figures of one horizon."""
    following = forward_returns(R, horizon)
    coefficients = information_coefficient(S, following)
    summary = information_summary(coefficients, horizon)
    means = quantile_returns(S, following, settings.n_quantiles)
    spread = quantile_spread(S, following, settings.n_quantiles)
    chosen = not_overlapping(spread, horizon)
    apart = spread[chosen]
    deviation = float(apart.std(ddof=1)) if apart.size > 1 else float("nan")
    # A score that speaks once a month bets twelve times a year, however short each bet is.
    between = (chosen[-1] - chosen[0]) / (chosen.size - 1) if chosen.size > 1 else float("nan")
    t_spread = mean_t_statistic(spread, horizon - 1)
    p_ic = p_value(summary.t_statistic, degrees_of_freedom(coefficients, horizon - 1))
    return {
        "days": horizon,
        # Dates at the end whose returns are not known yet judge nothing; overlapping ones share days.
        "purged_dates": horizon,
        "overlap_lags": horizon - 1,
        "ic": {
            **asdict(summary),
            "p_value": p_ic,
            "p_value_after_trials": float("nan") if math.isnan(p_ic) else adjusted_p_value(p_ic, settings.trials),
        },
        "quantile_returns": [_mean(column) for column in means.T],
        "spread": {
            "mean": _mean(spread),
            "t_statistic": t_spread,
            "annual_ratio": float(apart.mean()) / deviation * math.sqrt(year / between)
            if deviation > 0.0
            else float("nan"),
            "deflated_sharpe": deflated_sharpe(apart, settings.trials),
        },
    }


def _correlations(S: FloatArray, others: Mapping[str, FloatArray]) -> list[dict[str, Any]]:
    """Give the mean rank correlation with other scores, on the dates that they are looked at."""
    rows = np.arange(len(S) - 1, -1, -CORRELATED_EVERY)[::-1]
    out = []
    for name, panel in others.items():
        other = as_matrix("others", panel)
        if other.shape != S.shape:
            raise FactorError(f"others must be {S.shape}: {name} is {other.shape}", field="others")
        by_date = information_coefficient(S[rows], other[rows])
        out.append({"factor": name, "mean_rank": _mean(by_date), "n_dates": int(np.isfinite(by_date).sum())})
    return out


def _mean(series: FloatArray) -> float:
    known = series[~np.isnan(series)]
    return float(known.mean()) if known.size else float("nan")


def _by_month(days: NDArray[np.datetime64], series: FloatArray) -> list[dict[str, Any]]:
    months = days.astype("datetime64[M]")
    return [{"month": str(month), "mean_ic": _mean(series[months == month])} for month in np.unique(months)]


def _defined(value: Any) -> Any:
    """Replace what is not a number by None, all the way down."""
    if isinstance(value, dict):
        return {key: _defined(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_defined(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
