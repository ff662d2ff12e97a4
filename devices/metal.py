"""The kernels on the Metal GPU through MLX, in float32 (Metal has no float64).

MLX arrays belong to the thread that made them, so every call makes, evaluates and reads back its own: an actor computes
on the thread of whoever called. On Linux the same code runs on MLX's CPU back end, for tests.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def project(weights: Array, exposures: Array) -> Array:
    """Exposures of portfolios; see `devices.cpu.project`."""
    return _back(_in(weights) @ _in(np.nan_to_num(exposures)))


def second_moment(returns: Array, weights: Array) -> Array:
    """Weighted second moment of factor returns; see `devices.cpu.second_moment`."""
    scaled = _in(weights / weights.sum())
    values = _in(returns)
    return _back((values * scaled[:, None]).T @ values)


def weighted_sum(values: Array, weights: Array) -> Array:
    """Weighted sum over a window of days; see `devices.cpu.weighted_sum`."""
    return _back(_in(weights) @ _in(values))


def _in(array: Array) -> Any:
    import mlx.core as mx

    return mx.array(np.ascontiguousarray(array, dtype=np.float32))


def _back(value: Any) -> Array:
    import mlx.core as mx

    mx.eval(value)
    return np.array(value, dtype=np.float64)
