"""Cleaning of features, recorded so that new days are cleaned as the old ones were."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from factors.errors import MissingColumnError
from factors.numeric.kernels import forward_fill, rolling_sum, winsorize_rows
from factors.numeric.window import Window
from factors.panel.panel import Array, Panel
from factors.setting import Count, Days, Fraction, Name, settings_class


@settings_class
class Recipe:
    """What is done to features before anything is estimated, in this order.

    Attributes
    ----------
    to_winsorize : mapping of field to fraction
        Clipped on each date to the symmetric percentiles.
    to_fill : tuple of field
        Missing values take the asset's last one.
    to_smooth : mapping of field to window
        Replaced by the mean of the values present in the last `window` dates.
    top_n : int or None
        The estimation universe of a date: the largest by cap.
    """

    to_winsorize: Mapping[Name, Fraction] = field(default_factory=dict)
    to_fill: tuple[Name, ...] = ()
    to_smooth: Mapping[Name, Days] = field(default_factory=dict)
    top_n: Count | None = None

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields that are changed."""
        return tuple(dict.fromkeys([*self.to_winsorize, *self.to_fill, *self.to_smooth]))

    def named_by(self, name: str) -> str:
        """Say which argument names a field: its path, as ``to_smooth.price``."""
        return (
            "to_fill" if name in self.to_fill else f"to_{'winsorize' if name in self.to_winsorize else 'smooth'}.{name}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Give JSON-able values."""
        return {**asdict(self), "to_fill": list(self.to_fill)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Recipe:
        """Read what `to_dict` gave."""
        return cls(
            dict(values.get("to_winsorize") or {}),
            tuple(values.get("to_fill") or ()),
            dict(values.get("to_smooth") or {}),
            values.get("top_n"),
        )


class Cleaner:
    """Applies a recipe to consecutive parts of a panel; what earlier days leave behind is carried.

    Fields of the recipe that the panel does not have are an error, except those that settings name by default.
    """

    def __init__(self, recipe: Recipe, *, optional: tuple[str, ...] = ()) -> None:
        self.recipe = recipe
        self.optional = optional
        self._last: dict[str, Array] = {}
        self._windows: dict[str, Window] = {}

    def apply(self, panel: Panel, *, keep: bool = True) -> dict[str, Array]:
        """Give the changed fields of the next days, [n_new, n_assets]; where they are not kept, nothing is carried."""
        changed: dict[str, Array] = {}
        for name in self.recipe.fields:
            if name not in panel.fields:
                if name in self.optional:
                    continue
                raise MissingColumnError(f"the panel has no field {name!r} to clean", field=name)
            changed[name] = self._clean(name, np.array(panel.fields[name], dtype=np.float64), keep=keep)
        return changed

    def state(self) -> dict[str, Array]:
        """Give what the next day needs: last values and the rows of the smoothing windows."""
        state = {f"fill/{name}": values.copy() for name, values in self._last.items()}
        return state | {f"smooth/{name}": window.values.T.copy() for name, window in self._windows.items()}

    def restore(self, state: Mapping[str, Array]) -> None:
        """Take up what `state` gave."""
        for key, values in state.items():
            kind, _, name = key.partition("/")
            if kind == "fill":
                self._last[name] = np.array(values)
            elif kind == "smooth":
                self._windows[name] = Window(self.recipe.to_smooth[name])
                self._windows[name].push(np.ascontiguousarray(values.T))

    def _clean(self, name: str, values: Array, *, keep: bool) -> Array:
        n_new, n_assets = values.shape
        if name in self.recipe.to_winsorize:
            winsorize_rows(values, np.ones(values.shape, dtype=np.bool_), self.recipe.to_winsorize[name])
        if name in self.recipe.to_fill:
            last = self._last.get(name, np.empty(0))
            last = np.concatenate([last, np.full(n_assets - len(last), np.nan)])
            forward_fill(values, last)
            if keep:
                self._last[name] = last
        if name in self.recipe.to_smooth:
            window = self.recipe.to_smooth[name]
            held = self._windows.setdefault(name, Window(window))
            joined = held.push(values) if keep else held.peek(values)
            smooth = np.empty_like(values)
            rolling_sum(joined, np.ones(window), 0, 1, True, len(joined) - n_new, 0, n_assets, smooth)
            # A name that has left has no mean of what it was.
            smooth[np.isnan(values)] = np.nan
            return smooth
        return values


def estimation_mask(caps: Array, codes: NDArray[np.int16] | None, chosen: Array | None = None) -> NDArray[np.bool_]:
    """Say which assets may be in the estimation universe: a positive cap, a known sector, and `chosen` above 0."""
    mask = covered(caps)
    if codes is not None:
        mask &= codes >= 0
    if chosen is not None:
        mask &= chosen > 0.0
    return mask


def covered(caps: Array) -> NDArray[np.bool_]:
    """Say which assets are in the coverage universe: a positive cap."""
    mask: NDArray[np.bool_] = np.isfinite(caps) & (caps > 0.0)
    return mask
