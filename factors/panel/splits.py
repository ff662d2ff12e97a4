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
