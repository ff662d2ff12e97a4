"""Names of a result's axes: the mathematics works on positions, a person reads names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from factors.errors import FactorError
from factors.notebook.shown import Shown

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True, slots=True)
class Names:
    """Names along the axes of a result; an axis without any is numbered."""

    portfolios: tuple[str, ...] = ()
    factors: tuple[str, ...] = ()
    assets: tuple[str, ...] = ()
    scenarios: tuple[str, ...] = ()
    dates: tuple[np.datetime64, ...] = ()

    def of(self, axis: str, length: int) -> list[str]:
        """Give the names of an axis, or ``factor 1``, ``factor 2``, ... where it has none."""
        given = getattr(self, axis)
        return [str(one) for one in given] if given else [f"{axis[:-1]} {n + 1}" for n in range(length)]


UNNAMED = Names()


class Named(Shown):
    """A frozen dataclass with a field `names`, whose arrays have axes that can be named."""

    __slots__ = ()
    names: Names

    def named(self, **axes: Sequence[Any]) -> Self:
        """Give the same result with names for its axes.

        Parameters
        ----------
        axes
            `portfolios`, `factors`, `assets`, `scenarios` or `dates`, as far as the result has them.

        Raises
        ------
        FactorError
            An axis that the result does not have, or as many names as it is not long.
        """
        lengths = self._axes()
        for axis, given in axes.items():
            if axis not in lengths:
                raise FactorError(
                    f"{type(self).__name__} has no axis {axis!r}; it has {', '.join(lengths)}", field=axis
                )
            if len(given) != lengths[axis]:
                raise FactorError(f"{axis} are {lengths[axis]}, and {len(given)} names were given", field=axis)
        made: dict[str, Any] = {
            axis: tuple(np.asarray(given, "datetime64[D]") if axis == "dates" else map(str, given))
            for axis, given in axes.items()
        }
        return replace(self, names=replace(self.names, **made))  # type: ignore[type-var]

    def frame(self, values: Mapping[str, NDArray[np.float64]], *axes: str) -> pl.DataFrame:
        """Give arrays over the same axes as one frame: a row for each cell, its names first; NaN is null."""
        import polars as pl

        shape = next(iter(values.values())).shape
        kinds = {"dates": "date", "portfolios": "portfolio", "factors": "factor", "assets": "asset"}
        cells = np.indices(shape).reshape(len(shape), -1)
        keys: dict[str, Any] = {}
        for axis, length, at in zip(axes, shape, cells, strict=True):
            names = self.names.of(axis, length)
            keys[kinds[axis]] = [names[n] for n in at]
        made = pl.DataFrame({**keys, **{name: array.ravel() for name, array in values.items()}}, nan_to_null=True)
        return made.with_columns(pl.col("date").str.to_date()) if self.names.dates and "dates" in axes else made

    def _axes(self) -> Mapping[str, int]:
        """Give the length of each axis that can be named."""
        raise NotImplementedError
