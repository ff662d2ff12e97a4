"""The mixin of everything that a notebook shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    import polars as pl
    from matplotlib.axes import Axes

    from factors.notebook.style import Picture


class Shown:
    """A result that shows itself: `to_polars` as a frame, `plot` as a picture, and as a table in a notebook.

    A class says what its frame is and what is drawn of it (`to_polars`, `_draw`); the rest follows. Nothing that draws
    is loaded before it is asked for.
    """

    __slots__ = ()
    FORMS: ClassVar[Mapping[str, str]] = {}
    """Python's formats of columns, for the table."""

    def to_polars(self) -> pl.DataFrame:
        """Give the result as a polars frame; what is missing is null."""
        raise NotImplementedError

    def plot(self, axes: Axes | None = None) -> Picture:
        """Draw the result, in a figure of its own or in the axes that are given.

        Raises
        ------
        FactorError
            Without matplotlib, which the extra `report` brings; or there is nothing to draw.
        """
        from factors.notebook.style import draw

        return draw(self._draw, axes)

    def _repr_html_(self) -> str:
        from factors.notebook.table import of_frame

        return of_frame(self.to_polars(), self._caption(), self.FORMS)

    def _caption(self) -> str:
        """Give the line above the table."""
        return type(self).__name__

    def _draw(self, axes: Axes) -> None:
        raise NotImplementedError


class Figures(Shown):
    """A dataclass of single figures: a row of its own, and bars of those that are of one unit."""

    __slots__ = ()
    DRAWN: ClassVar[tuple[str, ...]] = ()
    """The fields that are drawn beside each other."""
    FORM: ClassVar[str] = ".3g"

    def to_polars(self) -> pl.DataFrame:
        """Give one row with a column for each figure; what is not known is null."""
        import polars as pl

        names = [one.name for one in fields(self)]  # type: ignore[arg-type]
        row: dict[str, Any] = {name: [getattr(self, name)] for name in names}
        return pl.DataFrame(row, nan_to_null=True)

    def _draw(self, axes: Axes) -> None:
        from factors.notebook.charts import bars

        values = [getattr(self, name) for name in self.DRAWN]
        bars(axes, [name.replace("_", " ") for name in self.DRAWN], values, title=self._caption(), form=self.FORM)
