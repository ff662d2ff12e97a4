"""Numbers of a long frame, with the errors that name column and rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from factors.errors import MAX_ROWS_NAMED, FactorError, NegativeCapError, NonFiniteError, WrongTypeError

VALUES_NAMED = 3


def numbers_of(series: pl.Series, frame: pl.DataFrame, column: str) -> NDArray[np.float64]:
    """Read a field, float64 [n_rows]; errors name the caller's `column`, rows and first values.

    Raises
    ------
    WrongTypeError, NonFiniteError, NegativeCapError
    """
    if series.dtype == pl.Null:
        return np.full(len(series), np.nan)
    if series.dtype in (pl.String, pl.Categorical, pl.Enum):
        raise _text_for_numbers(series.cast(pl.String), frame, column)
    if not (series.dtype.is_numeric() or series.dtype == pl.Boolean):
        raise WrongTypeError(f"column {column!r} is {series.dtype}, not a number", field=column)
    values: NDArray[np.float64] = series.cast(pl.Float64).to_numpy().astype(np.float64)
    infinite = np.isinf(values)
    if series.name in ("returns", "market_cap"):
        refuse(infinite, NonFiniteError, f"column {column!r} holds an infinite value", column, frame)
    elif infinite.any():
        values = np.where(infinite, np.nan, values)
    if series.name == "returns":
        refuse(values < -1.0, NonFiniteError, "a return is below -100 %", column, frame)
    if series.name == "market_cap":
        refuse(values < 0.0, NegativeCapError, "a market capitalisation is negative", column, frame)
    return values


def _text_for_numbers(series: pl.Series, frame: pl.DataFrame, column: str) -> WrongTypeError:
    wrong = (series.is_not_null() & series.str.strip_chars().cast(pl.Float64, strict=False).is_null()).to_numpy()
    if not wrong.any():
        message = f"column {column!r} is text, not a number: it holds numbers in quotes, which are to be given without"
        return WrongTypeError(message, field=column)
    at = np.flatnonzero(wrong)
    values = ", ".join(map(repr, series.filter(wrong).unique(maintain_order=True).head(VALUES_NAMED).to_list()))
    return WrongTypeError(
        f"column {column!r} is text, not a number: it holds {values}; na_values of the intake can name what stands for "
        "a missing number",
        field=column,
        rows=rows_of(frame, at),
        n_rows=len(at),
    )


def refuse(bad: NDArray[np.bool_], error: type[FactorError], message: str, column: str, frame: pl.DataFrame) -> None:
    """Raise the error with the first bad rows of the frame, if there are any."""
    if bad.any():
        at = np.flatnonzero(bad)
        raise error(message, field=column, rows=rows_of(frame, at), n_rows=len(at))


def rows_of(frame: pl.DataFrame, positions: NDArray[np.intp], most: int = MAX_ROWS_NAMED) -> list[tuple[Any, Any]]:
    """Give date and symbol of the first of some rows."""
    named = frame[positions[:most].tolist()]
    return list(zip(named["date"].to_list(), named["symbol"].to_list(), strict=True))
