"""Values of compiled formulas, as a notebook shows them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from factors.errors import FactorError
from factors.library.kernels.types import F8
from factors.notebook.shown import Shown

if TYPE_CHECKING:
    import polars as pl
    from matplotlib.axes import Axes

    from factors.notebook.style import Picture

BINS = 40


class FactorValues(dict[str, F8], Shown):
    """Arrays `[n_dates, n_assets]` by factor, NaN where there is no value; a dict that shows itself.

    Attributes
    ----------
    dates : datetime64 [n_dates]
    symbols : tuple of str
        The names of the asset axis where they were given (`named`); else they are numbered.
    """

    FORMS: ClassVar[Mapping[str, str]] = {"known": ".1%"}

    def __init__(
        self, values: Iterable[tuple[str, F8]], dates: NDArray[np.datetime64], symbols: Sequence[str] = ()
    ) -> None:
        super().__init__(values)
        self.dates = np.asarray(dates)
        self.symbols = tuple(symbols)

    def named(self, symbols: Sequence[str]) -> Self:
        """Give the same arrays with names for their columns.

        Raises
        ------
        FactorError
            As many names as there are no columns.
        """
        wide = next(iter(self.values())).shape[1] if self else 0
        if len(symbols) != wide:
            raise FactorError(f"the values are of {wide} names, and {len(symbols)} were given", field="symbols")
        return type(self)(self.items(), self.dates, symbols)

    def to_polars(self) -> pl.DataFrame:
        """Give a row for each date and name that has a value of any factor, and a column for each factor."""
        import polars as pl

        if not self:
            return pl.DataFrame(schema={"date": pl.Date, "symbol": pl.String})
        known = np.logical_or.reduce([np.isfinite(values) for values in self.values()])
        rows, columns = np.nonzero(known)
        symbols = np.asarray(self._symbols(), dtype=object)
        keys = [
            pl.Series("date", self.dates[rows]),
            pl.Series("symbol", symbols[columns].tolist(), dtype=pl.String),
        ]
        found = (pl.Series(name, values[rows, columns]).fill_nan(None) for name, values in self.items())
        return pl.DataFrame([*keys, *found])

    def plot(self, axes: Axes | None = None, factor: str | None = None) -> Picture:
        """Draw how a factor's values lie on the last date that has any; by default the first factor's.

        Raises
        ------
        FactorError
            An unknown factor, or one without any value; without matplotlib, which the extra `report` brings.
        """
        from factors.notebook.style import draw

        chosen = next(iter(self), "") if factor is None else factor
        if chosen not in self:
            raise FactorError(f"there are no values of {chosen!r}; there are {', '.join(self)}", field="factor")
        return draw(lambda own: self._draw(own, chosen), axes)

    def _draw(self, axes: Axes, factor: str = "") -> None:
        from factors.notebook.charts import histogram

        values = self[factor]
        seen = np.flatnonzero(np.isfinite(values).any(axis=1))
        if not seen.size:
            raise FactorError(f"{factor} has no value on any date", field="factor")
        row = values[seen[-1]]
        known = row[np.isfinite(row)]
        title = f"{factor} on {self.dates[seen[-1]]}: {known.size} of {row.size} names"
        histogram(axes, known, title=title, bins=BINS)

    def _repr_html_(self) -> str:
        from factors.notebook.table import of_rows

        rows: list[tuple[Any, ...]] = []
        for name, values in self.items():
            last = values[-1] if len(values) else np.empty(0)
            known = last[np.isfinite(last)]
            least, mean, most = (
                (float(known.min()), float(known.mean()), float(known.max())) if known.size else (None, None, None)
            )
            rows.append((name, known.size / max(last.size, 1), least, mean, most))
        when = f" to {self.dates[-1]}" if len(self.dates) else ""
        caption = f"Values of {len(self)} factors on {len(self.dates)} dates{when}; of the last date:"
        return of_rows(("factor", "known", "least", "mean", "largest"), rows, caption, self.FORMS)

    def _symbols(self) -> list[str]:
        wide = next(iter(self.values())).shape[1]
        return list(self.symbols) or [f"asset {n + 1}" for n in range(wide)]
