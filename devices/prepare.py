"""What arrays go through on the CPU before a device with short numbers gets them: scaling, blocks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
BLOCK = 128
"""Terms that are summed in float16; blocks are added in float64. The Neural Engine's own sums are exact to 2,048 only,
and a block of 128 numbers of at most 1 stays far from 32,000, where its products overflow."""


def unit(array: Array, axes: int | tuple[int, ...] | None = None) -> tuple[Array, Array]:
    """Scale to a largest magnitude of 1 over `axes`, and give the scale (kept as axes of length 1).

    The scale is a power of two, so scaling itself rounds nothing.
    """
    largest = np.abs(array).max(axis=axes, keepdims=True, initial=0.0)
    _, exponent = np.frexp(largest)
    # Of halves, so that the inverse of the smallest number stays finite.
    exponent = np.clip(np.where(largest > 0.0, exponent, 0), -1000, 1000)
    return np.ldexp(array, -exponent), np.ldexp(1.0, exponent)


ALIKE = 1e-12
"""Values whose distance from their mean is below this share of the largest are alike: what is left is rounding."""


def unit_rows(values: Array, known: NDArray[np.bool_]) -> Array:
    """Centre the known values of each row and scale them to a largest magnitude of 1; 0 where not known."""
    count = np.maximum(known.sum(axis=1, keepdims=True), 1)
    inside = np.where(known, values, 0.0)
    inside = np.where(known, inside - inside.sum(axis=1, keepdims=True) / count, 0.0)
    largest = np.abs(inside).max(axis=1, keepdims=True, initial=0.0)
    differ = largest > ALIKE * np.abs(np.where(known, values, 0.0)).max(axis=1, keepdims=True, initial=0.0)
    scaled: Array = np.divide(inside, largest, out=np.zeros_like(inside), where=differ)
    return scaled


def padded(array: Array, axis: int, length: int) -> Array:
    """Append zeros along an axis until it has `length`."""
    missing = length - array.shape[axis]
    if missing == 0:
        return array
    widths = [(0, 0)] * array.ndim
    widths[axis] = (0, missing)
    return np.pad(array, widths)


def up_to_bucket(n: int, least: int = 1) -> int:
    """Give the power of two that holds `n`: programs are built for few shapes, and arrays padded to them."""
    return max(least, 1 << (n - 1).bit_length())


def in_blocks(left: Array, right: Array) -> tuple[Array, Array]:
    """Cut a product ``[..., m, n] x [..., n, k]`` into products of `BLOCK` terms along a new axis, to be summed.

    Returns
    -------
    float64 [..., n_blocks, m, BLOCK], float64 [..., n_blocks, BLOCK, k]
    """
    *batch, m, n = left.shape
    blocks = -(-n // BLOCK)
    left = padded(left, -1, blocks * BLOCK).reshape(*batch, m, blocks, BLOCK)
    right = padded(right, -2, blocks * BLOCK).reshape(*batch, blocks, BLOCK, right.shape[-1])
    return np.moveaxis(left, -2, -3), right
