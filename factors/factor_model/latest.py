"""The last date of a model, as questions about it need it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from factors.panel.panel import Array
from factors.risk.linked import Linked


@dataclass(frozen=True)
class Latest:
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
