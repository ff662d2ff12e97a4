"""Exponential weights over a window; apart from factors.math, so that kernels do without Polars."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def exp_weights(window: int, half_life: int) -> NDArray[np.float64]:
    """Give `window` weights that halve every `half_life` steps back; the latest, last, is 1.

    Raises
    ------
    TypeError, ValueError
        An argument is not an integer, or not positive.
    """
    for name, value in (("window", window), ("half_life", half_life)):
        if not isinstance(value, int):
            raise TypeError(f"`{name}` must be an integer type")
        if value <= 0:
            raise ValueError(f"`{name}` must be a strictly positive integer")
    weights: NDArray[np.float64] = np.exp(-np.log(2) / half_life * np.arange(window))[::-1]
    return weights
