"""The last date of a model, as questions about it need it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from factors.notebook.shown import Shown
from factors.panel.panel import Array
from factors.risk.linked import Linked

if TYPE_CHECKING:
    import polars as pl
    from matplotlib.axes import Axes

    from factors.notebook.style import Picture


@dataclass(frozen=True)
class Latest(Shown):
    """What answers questions about the last date: exposures, covariance and specific risk.

    Attributes
    ----------
    date : datetime64[D]
    symbols, factor_names, style_names, sector_names : tuple of str
    exposures : float64 [n_assets, K]
        Rows of assets without a cap on the date are NaN.
    covered : bool [n_assets]
    market_cap : float64 [n_assets]
        As given, not smoothed.
    factor_covariance : float64 [K, K]
        Daily.
    specific_variance : float64 [n_assets]
        Daily; NaN where nothing is known.
    linked : Linked
        Assets of one issuer, whose specific returns are correlated.
    """

    date: np.datetime64
    symbols: tuple[str, ...]
    factor_names: tuple[str, ...]
    style_names: tuple[str, ...]
    sector_names: tuple[str, ...]
    exposures: Array
    covered: NDArray[np.bool_]
    market_cap: Array
    factor_covariance: Array
    specific_variance: Array
    linked: Linked = field(default_factory=Linked)

    FORMS: ClassVar[Mapping[str, str]] = {"volatility": ".3%"}

    def to_polars(self) -> pl.DataFrame:
        """Give a row for each asset: symbol, covered, market_cap, its exposures, and specific_volatility a day."""
        import polars as pl

        exposures = [pl.Series(name, self.exposures[:, k]).fill_nan(None) for k, name in enumerate(self.factor_names)]
        return pl.DataFrame(
            [
                pl.Series("symbol", self.symbols, dtype=pl.String),
                pl.Series("covered", self.covered),
                pl.Series("market_cap", self.market_cap).fill_nan(None),
                *exposures,
                pl.Series("specific_volatility", np.sqrt(self.specific_variance)).fill_nan(None),
            ]
        )

    def volatilities(self) -> Array:
        """Give the predicted volatility of each factor a day, float64 [K]."""
        found: Array = np.sqrt(np.maximum(np.diag(self.factor_covariance), 0.0))
        return found

    def correlations(self) -> Array:
        """Give the predicted correlations of the factors, float64 [K, K]; NaN for a factor without risk."""
        deviation = self.volatilities()
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(self.factor_covariance / deviation[:, None] / deviation[None, :])

    def plot(self, axes: Axes | None = None, what: Literal["volatility", "correlation"] = "volatility") -> Picture:
        """Draw the factors' predicted volatilities, or their correlations as a heat map.

        Raises
        ------
        FactorError
            Without matplotlib, which the extra `report` brings.
        """
        from factors.notebook.style import draw

        if what == "volatility":
            return draw(self._draw, axes)
        from factors.notebook.charts import heat

        title = f"Predicted factor correlations, {self.date}"
        return draw(
            lambda own: heat(own, self.factor_names, self.correlations(), title=title), axes, (7.2, 6.0)
        )  # fmt: skip

    def _draw(self, axes: Axes) -> None:
        from factors.notebook.charts import bars

        title = f"Predicted factor volatility a day, {self.date}"
        bars(axes, self.factor_names, self.volatilities(), title=title, form=".2%")

    def _caption(self) -> str:
        return (
            f"Risk model of {self.date}: {int(self.covered.sum())} of {len(self.symbols)} names covered, "
            f"{len(self.factor_names)} factors; volatility a day"
        )

    def _repr_html_(self) -> str:
        from factors.notebook.table import of_rows

        order = np.argsort(-self.volatilities(), kind="stable")
        rows = [(self.factor_names[k], float(self.volatilities()[k])) for k in order]
        return of_rows(("factor", "volatility"), rows, self._caption(), self.FORMS)
