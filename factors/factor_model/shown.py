"""What a notebook shows of a model: its factors' volatilities and t-statistics, their returns added up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from factors.errors import FactorError
from factors.notebook.shown import Shown
from factors.panel.panel import Array
from factors.returns.date_tally import returns_told

if TYPE_CHECKING:
    import polars as pl
    from matplotlib.axes import Axes

    from factors.factor_model.model import FactorModel
    from factors.notebook.style import Picture

MOST_LINES = 6


class ShownModel(Shown):
    """The faces of `FactorModel` in a notebook."""

    FORMS: ClassVar[Mapping[str, str]] = {
        "volatility_annual": ".2%", "return_annual": ".2%", "mean_abs_t": ".2f", "share_significant": ".0%",
    }  # fmt: skip

    def to_polars(self: FactorModel) -> pl.DataFrame:  # type: ignore[misc]
        """Give the factor returns as a frame: date and a column for each factor; `factor_returns_frame` by name."""
        return self.factor_returns_frame()

    def factors_frame(self: FactorModel) -> pl.DataFrame:  # type: ignore[misc]
        """Give a row for each factor, of all dates: what it made and how it moved, a year, and how clear it was.

        `mean_abs_t` is the mean of the absolute t-statistics of its daily returns, `share_significant` how often they
        were above 2.
        """
        import polars as pl

        from factors.panel.frequency import periods_per_year

        year = periods_per_year(self.dates_)
        returns, t = self._told(), np.abs(self.t_stats_)
        counts = np.isfinite(returns).sum(axis=0)
        seen = np.isfinite(t).sum(axis=0)
        rows = []
        for k, name in enumerate(self.factor_names_):
            known, clear = returns[np.isfinite(returns[:, k]), k], t[np.isfinite(t[:, k]), k]
            rows.append(
                {
                    "factor": name,
                    "return_annual": float(known.mean() * year) if counts[k] else None,
                    "volatility_annual": float(known.std(ddof=1) * year**0.5) if counts[k] > 1 else None,
                    "mean_abs_t": float(clear.mean()) if seen[k] else None,
                    "share_significant": float((clear > 2.0).mean()) if seen[k] else None,
                }
            )
        schema = {"factor": pl.String} | dict.fromkeys(ShownModel.FORMS, pl.Float64)
        return pl.DataFrame(rows, schema=schema).select("factor", *(name for name in rows[0] if name != "factor"))

    def plot(  # type: ignore[misc]
        self: FactorModel, axes: Axes | None = None, factors: Sequence[str] | None = None
    ) -> Picture:
        """Draw factor returns added up, in an own figure or in the axes that are given.

        Parameters
        ----------
        factors
            Which; by default the market and the styles, at most six.

        Raises
        ------
        FactorError
            A factor that the model does not have; without matplotlib, which the extra `report` brings.
        """
        from factors.notebook.style import draw

        return draw(lambda own: self._draw(own, factors), axes)

    def _draw(self: FactorModel, axes: Axes, factors: Sequence[str] | None = None) -> None:  # type: ignore[misc]
        from factors.notebook.charts import lines

        known = list(self.factor_names_)
        strange = [name for name in factors or () if name not in known]
        if strange:
            raise FactorError(f"the model has no factor {strange[0]!r}; it has {', '.join(known)}", field="factors")
        default = [name for name in known if name not in self.sector_names_][:MOST_LINES]
        chosen = list(factors) if factors is not None else default
        returns = self._told()
        series = {name: np.nan_to_num(returns[:, known.index(name)]).cumsum() for name in chosen}
        lines(axes, self.dates_, series, title="Factor returns, added up", percent=True)

    def _told(self: FactorModel) -> Array:  # type: ignore[misc]
        return returns_told(self.factor_returns_, self.standard_errors_)

    def _caption(self: FactorModel) -> str:  # type: ignore[misc]
        dates = self.dates_
        return (
            f"Factor model: {len(self.symbols_)} names, {len(dates)} dates from {dates[0]} to {dates[-1]}, "
            f"{len(self.factor_names_)} factors, mean R2 {np.nanmean(self.r2_):.1%}"
        )

    def _repr_html_(self: FactorModel) -> str:  # type: ignore[misc]
        from factors.errors import StageError
        from factors.notebook.table import of_frame, of_pairs

        try:
            return of_frame(self.factors_frame(), self._caption(), self.FORMS)
        except StageError as error:
            return of_pairs({}, f"Factor model, not fitted: {error}")
