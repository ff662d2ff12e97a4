"""What a model gives of a day that it has not taken."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from factors.panel.panel import Array, Panel
from factors.returns.regression import CrossSections


@dataclass(frozen=True)
class PeekedDay:
    """A day as `update` would take it: the same bits.

    Attributes
    ----------
    panel : Panel
        One row, adjusted for corporate actions.
    scores : float64 [n_styles, n_assets]
    estimation : bool [n_assets]
    market_return : float
    exposures : float64 [n_assets, K]
        Of the day; NaN outside the coverage universe.
    fits : CrossSections
        Of one date.
    """

    panel: Panel
    scores: Array
    estimation: NDArray[np.bool_]
    market_return: float
    exposures: Array
    fits: CrossSections
