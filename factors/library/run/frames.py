"""Formulas over a long table of bars: days, or minutes, or anything between."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from factors.library.compile.compiler import Library, compile_library
from factors.library.definitions.catalogue import Definition
from factors.library.language.conventions import Conventions
from factors.library.language.errors import FieldsError
from factors.library.language.syntax import Expression

if TYPE_CHECKING:
    import polars as pl


def evaluate(
    formulas: Library | Mapping[str, str | Expression | Definition],
    frame: pl.DataFrame,
    *,
    time_col: str = "date",
    symbol_col: str = "symbol",
    bar: Any = None,
    conventions: Conventions | None = None,
    threads: int = 1,
) -> pl.DataFrame:
    """Compute formulas over a table with one row per time and symbol.

    Parameters
    ----------
    formulas : Library, or mapping of id to text, Expression or Definition
    frame : pl.DataFrame
        `time_col` of dates or timestamps (with a time zone, its local time counts), `symbol_col`, and the columns that
        the formulas read by their names: numbers for fields, text or whole numbers for groups. Rows in any order.
    time_col, symbol_col : str
    bar : timedelta64, optional
        The length of a bar, as in `Library.run`.
    conventions : Conventions, optional
        As in `compile_library`.
    threads : int

    Returns
    -------
    pl.DataFrame
        Time, symbol and a column a formula, sorted by time and symbol; the rows of the input. Null where undefined.

    Raises
    ------
    FieldsError
        A missing column, one of the wrong type, a missing time or symbol, or a time and symbol that occur twice.
    FormulaError
        With the id.
    """
    import polars as pl

    library = formulas if isinstance(formulas, Library) else compile_library(formulas, conventions)
    for name in (time_col, symbol_col, *library.fields, *library.groups):
        if name not in frame.columns:
            raise FieldsError(f"the table has no column {name!r}")
    table = frame.select(_time(frame.get_column(time_col)), pl.col(symbol_col).cast(pl.String).alias("symbol"), *(
        _numbers(frame.get_column(name)) for name in library.fields
    ), *(_codes(frame.get_column(name)) for name in library.groups))  # fmt: skip
    missing = table.get_column("time").null_count() + table.get_column("symbol").null_count()
    if missing:
        raise FieldsError(f"{missing} times or symbols are missing")
    table = table.sort("time", "symbol")
    twice = table.select("time", "symbol").is_duplicated()
    if twice.any():
        time, symbol = table.select("time", "symbol").filter(twice).row(0)
        raise FieldsError(f"{symbol!r} occurs more than once at {time}")
    times = table.get_column("time").unique().sort()
    symbols = table.get_column("symbol").unique().sort()
    rows = times.search_sorted(table.get_column("time")).to_numpy()
    columns = symbols.search_sorted(table.get_column("symbol")).to_numpy()
    shape = (len(times), len(symbols))

    def wide(name: str, missing: float) -> np.ndarray[Any, Any]:
        out = np.full(shape, missing)
        out[rows, columns] = table.get_column(name).to_numpy()
        return out

    found = library.run(
        {name: wide(name, np.nan) for name in library.fields},
        groups={name: wide(name, -1.0) for name in library.groups},
        dates=times.to_numpy().astype("datetime64[D]" if frame.schema[time_col] == pl.Date else "datetime64[us]"),
        threads=threads,
        bar=bar,
    )
    values = [pl.Series(name, found[name][rows, columns]).fill_nan(None) for name in library.ids]
    keys = [table.get_column("time").alias(time_col), table.get_column("symbol").alias(symbol_col)]
    return pl.DataFrame([*keys, *values])


def _time(times: pl.Series) -> pl.Series:
    import polars as pl

    if times.dtype == pl.Date:
        return times.alias("time")
    if isinstance(times.dtype, pl.Datetime):
        return times.dt.replace_time_zone(None).dt.cast_time_unit("us").alias("time")
    raise FieldsError(f"the column {times.name!r} is of {times.dtype}; expected dates or timestamps")


def _numbers(values: pl.Series) -> pl.Series:
    import polars as pl

    if not (values.dtype.is_numeric() or values.dtype in (pl.Boolean, pl.Null)):
        raise FieldsError(f"the column {values.name!r} is of {values.dtype}; expected numbers")
    return values.cast(pl.Float64).fill_null(float("nan"))


def _codes(values: pl.Series) -> pl.Series:
    """Number the labels in their order; a missing one is -1."""
    import polars as pl

    if values.dtype.is_float():
        raise FieldsError(f"the column {values.name!r} is of {values.dtype}; expected labels")
    return (values.cast(pl.String).rank("dense").cast(pl.Float64) - 1.0).fill_null(-1.0)
