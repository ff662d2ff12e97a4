"""Array types and the checks that every estimator makes on its input."""

from typing import Any

import numpy as np
import numpy.typing as npt

from factors.errors import FactorError, NonFiniteError

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]


def as_matrix(name: str, values: Any, *, columns: int | None = None, finite: bool = False) -> FloatArray:
    """Return `values` as a C-contiguous float64 matrix; one row where a vector was given.

    Parameters
    ----------
    name
        What the array is called in an error.
    values
        `[rows, columns]` or `[columns]`. NaN means missing; infinities are refused.
    columns
        Columns that the array must have.
    finite
        Whether NaN is refused too.

    Raises
    ------
    FactorError
        For a wrong shape or a type that is not numeric.
    NonFiniteError
        For infinities, and for NaN where `finite`.
    """
    try:
        matrix = np.atleast_2d(np.asarray(values, dtype=np.float64))
    except (TypeError, ValueError) as error:
        raise FactorError(f"{name} must be numeric: {error}", field=name) from error
    if matrix.ndim != 2:
        raise FactorError(f"{name} must have at most two axes, got shape {matrix.shape}", field=name)
    if columns is not None and matrix.shape[1] != columns:
        raise FactorError(f"{name} must have {columns} columns, got {matrix.shape[1]}", field=name)
    bad = ~np.isfinite(matrix) if finite else np.isinf(matrix)
    if bad.any():
        row, column = np.argwhere(bad)[0]
        raise NonFiniteError(f"{name} is {matrix[row, column]} at row {row}, column {column}", field=name)
    contiguous: FloatArray = np.ascontiguousarray(matrix)
    return contiguous


def as_vector(name: str, values: Any, *, length: int | None = None, finite: bool = False) -> FloatArray:
    """Return `values` as a float64 vector `[length]`; errors as in `as_matrix`."""
    array = np.asarray(values)
    if array.ndim != 1:
        raise FactorError(f"{name} must have one axis, got shape {array.shape}", field=name)
    vector: FloatArray = as_matrix(name, array, columns=length, finite=finite)[0]
    return vector


def pad_last_axes(array: FloatArray, size: int, fill: float, n_axes: int = 1) -> FloatArray:
    """Return `array` with its last `n_axes` axes grown to `size`, new places holding `fill`."""
    missing = size - array.shape[-1]
    if missing == 0:
        return array
    widths = [(0, 0)] * (array.ndim - n_axes) + [(0, missing)] * n_axes
    return np.pad(array, widths, constant_values=fill)
