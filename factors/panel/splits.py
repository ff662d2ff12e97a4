"""Splits that no column tells of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


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


def joined(parts: list[tuple[Splits, int]]) -> Splits:
    """Join splits of one panel's stretches, each with the number of its first row in the panel."""
    return Splits(
        np.concatenate([splits.rows + first for splits, first in parts]),
        np.concatenate([splits.columns for splits, _ in parts]),
        np.concatenate([splits.ratios for splits, _ in parts]),
        np.concatenate([splits.raw_prices for splits, _ in parts]),
    )
