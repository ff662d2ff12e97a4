"""Cleaning of long frames under toraniko's names and conventions."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

Frame = pl.DataFrame | pl.LazyFrame


def _checked(df: Frame, columns: Sequence[str], message: str) -> pl.LazyFrame:
    if not isinstance(df, pl.DataFrame | pl.LazyFrame):
        raise TypeError("`df` must be a Polars DataFrame or LazyFrame, but it's missing required attributes")
    present = df.collect_schema().names()
    if not all(name in present for name in columns):
        raise ValueError(message)
    return df.lazy()


def fill_features(df: Frame, features: Sequence[str], sort_col: str, over_col: str) -> pl.LazyFrame:
    """Read features as floats, take NaN and infinities as missing, and carry the last value forward.

    Parameters
    ----------
    features : sequence of str
        Columns to fill.
    sort_col, over_col : str
        Order of the rows, and the groups that do not share values.

    Raises
    ------
    TypeError
        `df` is no Polars frame.
    ValueError
        A column is missing.
    """
    needed = [over_col, sort_col, *features]
    frame = _checked(df, needed, f"`df` must have all of {needed} as columns")
    numbers = [pl.col(name).cast(pl.Float64) for name in features]
    finite = [pl.when(pl.col(name).is_finite()).then(pl.col(name)).alias(name) for name in features]
    filled = [pl.col(name).forward_fill().over(over_col) for name in features]
    return frame.with_columns(numbers).with_columns(finite).sort(by=sort_col).with_columns(filled)


def smooth_features(df: Frame, features: Sequence[str], sort_col: str, over_col: str, window_size: int) -> pl.LazyFrame:
    """Replace features by their rolling mean over `window_size` rows; null until the window is full.

    Raises
    ------
    TypeError
        `df` is no Polars frame.
    ValueError
        A column is missing.
    """
    needed = [over_col, sort_col, *features]
    frame = _checked(df, needed, f"`df` must have all of {needed} as columns")
    means = [pl.col(name).rolling_mean(window_size=window_size).over(over_col) for name in features]
    return frame.sort(by=sort_col).with_columns(means)


def top_n_by_group(
    df: Frame,
    n: int,
    rank_var: str,
    group_var: tuple[str, ...],
    filter: bool = True,  # noqa: A002
) -> pl.LazyFrame:
    """Keep (or mark in a column `rank_mask`) the `n` largest rows of each group; ties share their mean rank, floored.

    Raises
    ------
    TypeError
        `df` is no Polars frame.
    ValueError
        A column is missing.
    """
    groups = [group_var] if isinstance(group_var, str) else list(group_var)
    message = f"`df` is missing one or more required columns: '{rank_var}' and '{group_var}'"
    frame = _checked(df, [rank_var, *groups], message)
    order = [*groups, rank_var]
    top = pl.col(rank_var).rank(descending=True).over(groups).cast(pl.Int64) <= n
    if filter:
        return frame.sort(by=order).filter(top).sort(by=order)
    return frame.sort(by=order).with_columns(pl.when(top).then(1).otherwise(0).alias("rank_mask")).sort(by=order)
