"""The kernels on the Metal GPU through MLX, in float32 (Metal has no float64).

MLX arrays belong to the thread that made them, so every call makes, evaluates and reads back its own, and
`devices.lanes` sends all calls to one thread. On Linux the same code runs on MLX's CPU back end, for tests. Nothing is
scaled: numbers and their products must lie in float32's range, 1e-37 to 1e38. What lies beyond becomes infinite, which
is noticed, or 0, which is an error of 1e-37. Sums over the names of a book are cut into blocks of `prepare.BLOCK`
terms, which are added in float64 on the CPU: so their error does not grow with the number of names. The other kernels
are asked for less accuracy, or sum fewer terms.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from devices.prepare import BLOCK
from factors.portfolio.risk import known_exposures

Array = NDArray[np.float64]
Known = NDArray[np.bool_]


def exposures(weights: Array, X: Array) -> Array:
    """Exposures of many books; see `devices.cpu.exposures`."""
    return _summed(_in(weights), _in(known_exposures(weights, X)))


def book_risk(weights: Array, X: Array, F: Array) -> tuple[Array, Array]:
    """Exposures of many books and gradients of their factor variances; see `devices.cpu.book_risk`."""
    known = _in(known_exposures(weights, X))
    exposed = _summed(_in(weights), known)
    gradient = _back(_in(exposed @ F) @ known.T)  # with F, K x K, in float64: it is small, and costs no digits
    gradient[:, np.isnan(X).any(axis=1)] = np.nan
    return exposed, gradient


def revalue(book_exposures: Array, shocks: Array) -> Array:
    """Profit and loss of books in scenarios; see `devices.cpu.revalue`."""
    return _back(_in(book_exposures) @ _in(shocks).T)


def grams(X: Array, weights: Array, y: Array) -> tuple[Array, Array]:
    """Weighted Gram matrices and right sides; see `devices.cpu.grams`."""
    design = _in(X)
    weighted = (design * _in(weights)[:, :, None]).transpose(0, 2, 1)
    return _back(weighted @ design), _back(weighted @ _in(y)[:, :, None])[:, :, 0]


def covariances(returns: Array, weights: Array) -> Array:
    """Weighted second moments of many histories; see `devices.cpu.covariances`."""
    history = _in(returns)
    scaled = _in(weights / weights.sum(axis=1, keepdims=True))
    return _back((history * scaled[:, :, None]).transpose(0, 2, 1) @ history)


def standardize(values: Array, known: Known, bound: float) -> Array:
    """Clipped scores; see `devices.cpu.standardize`.

    Values are centred and scaled in float64 first, so that a large common level costs no digits.
    """
    import mlx.core as mx

    from devices.prepare import unit_rows

    inside, mask, inverse = _in(unit_rows(values, known)), _in(known), _in(_inverse_count(known))
    centred = (inside - (inside * mask).sum(axis=1, keepdims=True) * inverse) * mask
    spread = mx.sqrt((centred * centred).sum(axis=1, keepdims=True) * inverse)
    scores = mx.where(spread > 0, centred / mx.maximum(spread, 1e-30), 0.0)
    return np.where(known, _back(mx.clip(scores, -bound, bound)), np.nan)


def network(inputs: Array, activations: str, *layers: Array) -> Array:
    """Answer of a network of dense layers; see `devices.cpu.network`."""
    import mlx.core as mx

    behind: dict[str, Any] = {"r": lambda x: mx.maximum(x, 0.0), "t": mx.tanh, "s": mx.sigmoid, "i": lambda x: x}
    now = _in(inputs)
    for i, letter in enumerate(activations):
        now = behind[letter](now @ _in(layers[2 * i]) + _in(layers[2 * i + 1]))
    return _back(now)


def _summed(left: Any, right: Any) -> Array:
    """Give ``left @ right`` of arrays [m, n] and [n, k], summed in blocks on the device and then in float64."""
    import mlx.core as mx

    (m, n), k = left.shape, right.shape[1]
    blocks = -(-n // BLOCK)
    missing = blocks * BLOCK - n
    if missing:
        left, right = mx.pad(left, [(0, 0), (0, missing)]), mx.pad(right, [(0, missing), (0, 0)])
    parts = left.reshape(m, blocks, BLOCK).transpose(1, 0, 2) @ right.reshape(blocks, BLOCK, k)
    made: Array = _back(parts).sum(axis=0)
    return made


def _inverse_count(known: Known) -> Array:
    made: Array = 1.0 / np.maximum(known.sum(axis=1, keepdims=True), 1)
    return made


def _in(array: NDArray[Any]) -> Any:
    import mlx.core as mx

    return mx.array(np.ascontiguousarray(array, dtype=np.float32))


def _back(value: Any) -> Array:
    import mlx.core as mx

    mx.eval(value)
    return np.array(value, dtype=np.float64)
