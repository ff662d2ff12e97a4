"""Cross-sectional expressions and small statistics under toraniko's names and conventions."""

from __future__ import annotations

import numbers

import numpy as np
import polars as pl
from numpy.typing import NDArray

from factors.numeric.kernels import winsorize_rows
from factors.numeric.weights import exp_weights

__all__ = [
    "center_xsection",
    "exp_weights",
    "norm_xsection",
    "percentiles_xsection",
    "winsorize",
    "winsorize_xsection",
]

Frame = pl.DataFrame | pl.LazyFrame


def center_xsection(target_col: str, over_col: str, standardize: bool = False) -> pl.Expr:
    """Give the expression that centres a column within groups, and divides by the sample deviation if asked to.

    Nulls and NaNs do not enter the mean and the deviation (ddof 1); NaNs stay NaN.
    """
    column = pl.col(target_col)
    known = column.drop_nulls().drop_nans()
    centered = column - known.mean().over(over_col)
    return centered / known.std().over(over_col) if standardize else centered


def norm_xsection(target_col: str, over_col: str, lower: float = 0, upper: float = 1) -> pl.Expr:
    """Give the expression that rescales a column within groups to [`lower`, `upper`].

    NaNs stay NaN; a group whose values do not differ becomes `lower`.
    """
    column = pl.col(target_col)
    low = column.drop_nans().min().over(over_col)
    high = column.drop_nans().max().over(over_col)
    scaled = (column - low) / (high - low) * (upper - lower) + lower
    return pl.when(column.is_nan()).then(column).when(high != low).then(scaled).otherwise(lower)


def winsorize(data: NDArray[np.float64], percentile: float = 0.05, axis: int = 0) -> NDArray[np.float64]:
    """Clip each vector along `axis` to its symmetric percentiles; NaN stays, infinities are clipped.

    Parameters
    ----------
    data : array of one or two dimensions
    percentile : float in [0, 1]

    Raises
    ------
    ValueError
        `percentile` is outside [0, 1].
    TypeError
        `percentile` is not a number.
    """
    if not isinstance(percentile, numbers.Real):
        raise TypeError("`percentile` must be a numeric type, such as an int or float")
    if not 0 <= percentile <= 1:
        raise ValueError("`percentile` must be between 0 and 1")
    values = np.asarray(data)
    if values.size == 0:
        return values.astype(np.float64)
    if percentile > 0.5 or values.ndim not in (1, 2):
        finite = np.where(np.isfinite(values), values, np.nan)
        low = np.nanpercentile(finite, percentile * 100, axis=axis, keepdims=True)
        high = np.nanpercentile(finite, (1 - percentile) * 100, axis=axis, keepdims=True)
        return np.clip(values, low, high)
    rows = values.reshape(1, -1) if values.ndim == 1 else (values.T if axis % 2 == 0 else values)
    clipped = np.array(rows, dtype=np.float64, order="C")
    winsorize_rows(clipped, np.ones(clipped.shape, dtype=np.bool_), float(percentile))
    if values.ndim == 1:
        return clipped[0]
    return clipped.T.copy() if axis % 2 == 0 else clipped


def winsorize_xsection(df: Frame, data_cols: tuple[str, ...], group_col: str, percentile: float = 0.05) -> Frame:
    """Clip columns within groups to their symmetric percentiles.

    Rows come back sorted by group (their order inside a group is kept); nulls come back as NaN, as toraniko gives them.

    Raises
    ------
    TypeError
        `df` is no Polars frame, or `percentile` no number.
    """
    if isinstance(df, pl.LazyFrame):
        schema = {name: pl.Float64() if name in data_cols else kind for name, kind in df.collect_schema().items()}
        return df.map_batches(lambda frame: _winsorized(frame, data_cols, group_col, percentile), schema=schema)
    if isinstance(df, pl.DataFrame):
        return _winsorized(df, data_cols, group_col, percentile)
    raise TypeError("`df` must be a Polars DataFrame or LazyFrame")


def _winsorized(df: pl.DataFrame, data_cols: tuple[str, ...], group_col: str, percentile: float) -> pl.DataFrame:
    ordered = df.sort(group_col, maintain_order=True)
    sizes = ordered.select(pl.col(group_col).rle()).to_series().struct.field("len").to_numpy()
    ends = np.cumsum(sizes)
    columns = []
    for name in data_cols:
        values = ordered[name].cast(pl.Float64).to_numpy().astype(np.float64)
        parts = [winsorize(values[end - size : end], percentile) for size, end in zip(sizes, ends, strict=True)]
        columns.append(pl.Series(name, np.concatenate(parts) if parts else values, dtype=pl.Float64))
    return ordered.with_columns(columns)


def percentiles_xsection(
    target_col: str, over_col: str, lower_pct: float, upper_pct: float, fill_val: float = 0.0
) -> pl.Expr:
    """Give the expression that keeps what lies at or beyond the two percentiles of its group and fills the rest."""
    column = pl.col(target_col)
    low = column.drop_nans().quantile(lower_pct).over(over_col)
    high = column.drop_nans().quantile(upper_pct).over(over_col)
    return pl.when((column <= low) | (column >= high)).then(column).otherwise(fill_val)
