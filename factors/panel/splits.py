"""Splits that no column tells of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Splits:
    """Splits that the shares tell of: the first days of the new shares, each [n].

    Attributes
    ----------
    rows, columns : int64
        Of a panel.
    ratios : float64
        New shares for an old one.
    raw_prices : bool
        Whether the close jumped with the shares.
    """

    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    ratios: NDArray[np.float64]
    raw_prices: NDArray[np.bool_]


NO_SPLITS = Splits(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0), np.empty(0, np.bool_))


def joined(parts: list[tuple[Splits, int]]) -> Splits:
    """Join splits of one panel's stretches, each with the number of its first row in the panel."""
    return Splits(
        np.concatenate([splits.rows + first for splits, first in parts]),
        np.concatenate([splits.columns for splits, _ in parts]),
        np.concatenate([splits.ratios for splits, _ in parts]),
        np.concatenate([splits.raw_prices for splits, _ in parts]),
    )


@dataclass(frozen=True)
class CarriedSplits:
    """All such splits of a model so far, which its days were carried over; each [n], in the order of the days.

    Attributes
    ----------
    days : int64
        Since 1970.
    columns, ratios, raw_prices
        As of `Splits`.
    """

    days: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    columns: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    ratios: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    raw_prices: NDArray[np.bool_] = field(default_factory=lambda: np.empty(0, dtype=np.bool_))

    def after(self, dates: NDArray[np.datetime64], splits: Splits) -> CarriedSplits:
        """Give them with those of the next days."""
        if not len(splits.columns):
            return self
        order = np.argsort(splits.rows, kind="stable")
        days = dates.astype("datetime64[D]").view(np.int64)[splits.rows]
        new = (days, splits.columns, splits.ratios, splits.raw_prices)
        held = (self.days, self.columns, self.ratios, self.raw_prices)
        return CarriedSplits(*(np.concatenate([a, b[order]]) for a, b in zip(held, new, strict=True)))

    def factors(self, dates: NDArray[np.datetime64]) -> dict[int, tuple[Array, Array]]:
        """Give, by column, the factors of numbers of shares and of prices on each day, [n_dates] each."""
        days = dates.astype("datetime64[D]").view(np.int64)
        made: dict[int, tuple[Array, Array]] = {}
        for day, column, ratio, raw in zip(self.days, self.columns, self.ratios, self.raw_prices, strict=True):
            shares, prices = made.setdefault(int(column), (np.ones(len(days)), np.ones(len(days))))
            since = days >= day
            shares[since] *= ratio
            if raw:
                prices[since] *= ratio
        return made

    def state(self) -> dict[str, NDArray[Any]]:
        """Give everything as arrays."""
        return {name: getattr(self, name) for name in ("days", "columns", "ratios", "raw_prices")}

    @classmethod
    def restored(cls, state: Mapping[str, NDArray[Any]]) -> CarriedSplits:
        """Take up what `state` gave."""
        return cls(**{name: np.array(values) for name, values in state.items()})


def before_factor(values: Array, factor: Array) -> Array:
    """Give numbers that, times the factor, are these to the bit, where there are such numbers; else the nearest."""
    found = values / factor
    for way in (np.inf, -np.inf):
        other = np.nextafter(found, way)
        found = np.where((found * factor != values) & (other * factor == values), other, found)
    return found
