"""Long frames into wide arrays, with the errors that name column and rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from factors.errors import (
    MAX_ROWS_NAMED,
    DuplicateRowError,
    EmptyFrameError,
    FactorError,
    MissingColumnError,
    NegativeCapError,
    NonFiniteError,
    WrongTypeError,
)

CATEGORY_FIELDS = ("sector", "industry", "subindustry")
UNKNOWN = "Unknown"
MAX_CATEGORIES = 32_000
NUMERIC_FIELDS = frozenset(
    {"returns", "market_cap", "open", "high", "low", "close", "volume", "vwap", "shares"}
    | {"book_price", "sales_price", "cf_price"}
)

Codes = tuple[NDArray[np.int16], tuple[str, ...]]
Wide = tuple[NDArray[np.datetime64], tuple[str, ...], dict[str, NDArray[np.float64]], dict[str, Codes]]


def read_frame(
    frame: pl.DataFrame,
    names: Mapping[str, str],
    sector_encodings: Sequence[str] | None,
    required: tuple[str, ...],
) -> Wide:
    """Scatter a long frame into wide arrays.

    Parameters
    ----------
    frame : pl.DataFrame
    names : mapping of column to canonical name
    sector_encodings : one-hot columns, or None
    required : canonical fields that must be present

    Returns
    -------
    dates [n_dates], symbols, fields {name: float64 [n_dates, n_assets]}, categories {name: (codes, names)}
    """
    frame = _canonical(frame, names, required)
    dates, rows = _dates(frame)
    symbols, columns = _symbols(frame)
    shape = (len(dates), len(symbols))
    cells = rows.astype(np.int64) * shape[1] + columns
    _refuse_duplicates(frame, cells, shape)
    frame, encoded = _encoded_sector(frame, sector_encodings)
    fields: dict[str, NDArray[np.float64]] = {}
    categories: dict[str, Codes] = {}
    if encoded is not None:
        categories["sector"] = (_scatter_codes(encoded[0], cells, shape), encoded[1])
    columns_of = {name: column for column, name in names.items()}
    numeric = NUMERIC_FIELDS | set(required)
    for name in frame.columns:
        series = frame[name]
        if name in ("date", "symbol") or (encoded is not None and name == "sector"):
            continue
        text = series.dtype in (pl.String, pl.Categorical, pl.Enum) and name not in numeric
        if name in CATEGORY_FIELDS or text:
            codes, labels = _category(series, sector_encodings if name == "sector" else None)
            categories[name] = (_scatter_codes(codes, cells, shape), labels)
        elif not series.dtype.is_temporal() or name in numeric:
            fields[name] = _scatter(_numeric(series, frame, columns_of.get(name, name)), cells, shape)
    return dates, symbols, fields, categories


def _canonical(frame: pl.DataFrame, names: Mapping[str, str], required: tuple[str, ...]) -> pl.DataFrame:
    if not isinstance(frame, pl.DataFrame):
        raise WrongTypeError(f"the frame must be a Polars DataFrame, not {type(frame).__name__}", field="frame")
    for column, name in names.items():
        if column != name and name in frame.columns and column in frame.columns:
            raise FactorError(f"the frame has both {column!r} and {name!r}, which name the same thing", field=name)
    frame = frame.rename({column: name for column, name in names.items() if column in frame.columns})
    columns_of = {name: column for column, name in names.items()}
    for name in ("date", "symbol", *required):
        if name not in frame.columns:
            column = columns_of.get(name, name)
            raise MissingColumnError(f"the frame has no column {column!r}", field=column)
    if frame.is_empty():
        raise EmptyFrameError("the frame has no rows", field="frame")
    return frame


def _dates(frame: pl.DataFrame) -> tuple[NDArray[np.datetime64], NDArray[np.intp]]:
    days = parse_dates(frame["date"])
    if days.null_count():
        symbols = frame["symbol"].filter(days.is_null()).head(MAX_ROWS_NAMED)
        raise FactorError(
            "a row has no date", field="date", rows=[(None, symbol) for symbol in symbols], n_rows=days.null_count()
        )
    values = days.to_numpy().astype("datetime64[D]")
    dates, rows = np.unique(values, return_inverse=True)
    return dates, rows


def parse_dates(series: pl.Series) -> pl.Series:
    """Read a column as calendar days.

    Dates pass; datetimes give their day in their own time zone; text is ISO 8601 and must not mix offsets.
    """
    dtype = series.dtype
    if dtype == pl.Date:
        return series
    if isinstance(dtype, pl.Datetime):
        return series.dt.date()
    if dtype != pl.String:
        raise WrongTypeError(f"column 'date' is {dtype}, not a date, datetime or ISO text", field="date")
    text = series.str.strip_chars()
    offsets = text.str.extract(r"T?\d\d:\d\d.*?(Z|[+-]\d\d:?\d\d)$").drop_nulls().unique()
    if len(offsets) > 1:
        raise FactorError(f"column 'date' mixes the time zones {sorted(offsets)}", field="date")
    days = text.str.slice(0, 10).str.to_date("%Y-%m-%d", strict=False)
    bad = text.filter(days.is_null() & text.is_not_null())
    if len(bad):
        raise FactorError(f"column 'date' holds {bad[0]!r}, which is not an ISO date", field="date", n_rows=len(bad))
    return days


def _symbols(frame: pl.DataFrame) -> tuple[tuple[str, ...], NDArray[np.intp]]:
    series = frame["symbol"]
    if series.dtype in (pl.Categorical, pl.Enum):
        series = series.cast(pl.String)
    if series.dtype != pl.String:
        raise WrongTypeError(f"column 'symbol' is {series.dtype}, not text", field="symbol")
    if series.null_count():
        dates = frame["date"].filter(series.is_null()).head(MAX_ROWS_NAMED)
        raise FactorError(
            "a row has no symbol", field="symbol", rows=[(date, None) for date in dates], n_rows=series.null_count()
        )
    unique = series.unique().sort()
    codes = series.cast(pl.Enum(unique)).to_physical().to_numpy()
    return tuple(unique.to_list()), codes.astype(np.intp)


def _refuse_duplicates(frame: pl.DataFrame, cells: NDArray[np.int64], shape: tuple[int, int]) -> None:
    seen = np.zeros(shape[0] * shape[1], dtype=bool)
    seen[cells] = True
    if int(seen.sum()) == len(cells):
        return
    _, first = np.unique(cells, return_index=True)
    repeated = np.setdiff1d(np.arange(len(cells)), first)
    raise DuplicateRowError(
        "the same date and symbol occur more than once",
        field="symbol",
        rows=_rows(frame, repeated),
        n_rows=len(repeated),
    )


def _rows(frame: pl.DataFrame, positions: NDArray[np.intp]) -> list[tuple[Any, Any]]:
    named = frame[positions[:MAX_ROWS_NAMED].tolist()]
    return list(zip(named["date"].to_list(), named["symbol"].to_list(), strict=True))


def _numeric(series: pl.Series, frame: pl.DataFrame, column: str) -> NDArray[np.float64]:
    """Read a field; errors name the caller's `column`."""
    if series.dtype == pl.Null:
        return np.full(len(series), np.nan)
    if not (series.dtype.is_numeric() or series.dtype == pl.Boolean):
        raise WrongTypeError(f"column {column!r} is {series.dtype}, not a number", field=column)
    values: NDArray[np.float64] = series.cast(pl.Float64).to_numpy().astype(np.float64)
    infinite = np.isinf(values)
    if series.name in ("returns", "market_cap"):
        _refuse(infinite, NonFiniteError, f"column {column!r} holds an infinite value", column, frame)
    elif infinite.any():
        values = np.where(infinite, np.nan, values)
    if series.name == "returns":
        _refuse(values < -1.0, NonFiniteError, "a return is below -100 %", column, frame)
    if series.name == "market_cap":
        _refuse(values < 0.0, NegativeCapError, "a market capitalisation is negative", column, frame)
    return values


def _refuse(bad: NDArray[np.bool_], error: type[FactorError], message: str, column: str, frame: pl.DataFrame) -> None:
    if bad.any():
        at = np.flatnonzero(bad)
        raise error(message, field=column, rows=_rows(frame, at), n_rows=len(at))


def _category(series: pl.Series, more: Sequence[str] | None) -> tuple[NDArray[np.int16], tuple[str, ...]]:
    """Codes and sorted labels; null is "Unknown" for the known classifications."""
    if series.dtype in (pl.Categorical, pl.Enum, pl.Null) or series.dtype.is_integer():
        series = series.cast(pl.String)
    if series.dtype != pl.String:
        raise WrongTypeError(f"column {series.name!r} is {series.dtype}, not text", field=series.name)
    if series.name in CATEGORY_FIELDS:
        series = series.fill_null(UNKNOWN)
    labels = tuple(sorted({*series.drop_nulls().unique().to_list(), *(more or ())}))
    if len(labels) > MAX_CATEGORIES:
        raise FactorError(f"column {series.name!r} has more than {MAX_CATEGORIES} categories", field=series.name)
    codes = series.cast(pl.Enum(labels)).to_physical().cast(pl.Int32).fill_null(-1)
    return codes.to_numpy().astype(np.int16), labels


def _encoded_sector(
    frame: pl.DataFrame, encodings: Sequence[str] | None
) -> tuple[pl.DataFrame, tuple[NDArray[np.int16], tuple[str, ...]] | None]:
    """Read one-hot sector columns; a row with none of them set is of the sector "Unknown"."""
    present = [name for name in encodings or () if name in frame.columns]
    if not present:
        if encodings and "sector" not in frame.columns:
            raise MissingColumnError(
                f"the frame has neither a column 'sector' nor {encodings[0]!r}", field="sector_encodings"
            )
        return frame, None
    absent = [name for name in encodings or () if name not in frame.columns]
    if absent:
        raise MissingColumnError(f"the frame has no sector column {absent[0]!r}", field=absent[0])
    present = sorted(present)
    hot = np.column_stack([np.nan_to_num(_numeric(frame[name], frame, name)) for name in present])
    bad = np.flatnonzero(~np.isin(hot, (0.0, 1.0)).all(axis=1) | (hot.sum(axis=1) > 1.0))
    if len(bad):
        raise FactorError(
            "the sector columns of a row must be 0 or 1, with at most one 1",
            field="sector_encodings",
            rows=_rows(frame, bad),
            n_rows=len(bad),
        )
    codes = np.where(hot.any(axis=1), hot.argmax(axis=1), len(present)).astype(np.int16)
    labels = tuple(present) if (codes < len(present)).all() else (*present, UNKNOWN)
    return frame.drop(present), (codes, labels)


def _scatter(values: NDArray[np.float64], cells: NDArray[np.int64], shape: tuple[int, int]) -> NDArray[np.float64]:
    wide = np.full(shape[0] * shape[1], np.nan)
    wide[cells] = values
    return wide.reshape(shape)


def _scatter_codes(codes: NDArray[np.int16], cells: NDArray[np.int64], shape: tuple[int, int]) -> NDArray[np.int16]:
    wide = np.full(shape[0] * shape[1], -1, dtype=np.int16)
    wide[cells] = codes
    return wide.reshape(shape)
