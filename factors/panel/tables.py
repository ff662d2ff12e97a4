"""Tables of other libraries and files as Polars frames."""

from __future__ import annotations

import gzip
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from factors.errors import EmptyFrameError, FactorError, MissingColumnError, WrongTypeError, first_line
from factors.panel.csv_text import fault_of_csv
from factors.panel.dates import parse_dates
from factors.panel.intake import DEFAULT, Intake
from factors.panel.meaning import CLASSIFICATIONS, IDENTITIES

SUFFIXES = ".parquet, .csv, .csv.gz, .arrow, .arrows, .ipc or .feather"


def as_frame(source: Any, intake: Intake = DEFAULT, what: str = "frame") -> pl.DataFrame:
    """Give a table as a Polars frame.

    Parameters
    ----------
    source
        A Polars frame (lazy or not), a pandas frame (its index becomes columns, a MultiIndex too), a pyarrow table or
        record batch, anything with the Arrow C stream interface, or the path of a Parquet, CSV or Arrow IPC file.
    intake : Intake
    what : str
        What the table is called in errors.

    Raises
    ------
    WrongTypeError
        It is no table.
    FactorError
        The file cannot be read, or holds several rows a day and `intake.intraday` refuses them.
    """
    frame = _read(source, intake, what)
    if intake.intraday == "combine":
        frame = combined_days(frame, intake)
    return frame


def _read(source: Any, intake: Intake, what: str) -> pl.DataFrame:
    if isinstance(source, pl.DataFrame):
        return source
    if isinstance(source, pl.LazyFrame):
        return source.collect()
    if isinstance(source, str | Path):
        return read_file(Path(source))
    if hasattr(source, "reset_index") and hasattr(source, "dtypes") and hasattr(source, "columns"):
        return _of_pandas(source, intake, what)
    if isinstance(source, pl.Series) or hasattr(source, "to_frame"):
        raise WrongTypeError(f"the {what} is a single column: give a table with date, symbol and fields", field=what)
    if hasattr(source, "__arrow_c_stream__") or hasattr(source, "__arrow_c_array__"):
        return pl.DataFrame(source)
    raise WrongTypeError(
        f"the {what} must be a Polars, pandas or pyarrow table or a file's path, not {type(source).__name__}",
        field=what,
    )


def _of_pandas(source: Any, intake: Intake, what: str) -> pl.DataFrame:
    """Read a pandas frame without pyarrow; what the index holds becomes columns."""
    named = [name for name in source.index.names if name is not None]
    n_levels = source.index.nlevels
    if named or n_levels > 1:
        # An index whose column is there too (set_index(drop=False)) says nothing new.
        twice = [level for level, name in enumerate(source.index.names) if name is not None and name in source.columns]
        levels = [level for level in range(n_levels) if level not in twice]
        source = source.reset_index(level=twice, drop=True) if twice else source
        source = source.reset_index() if levels else source
    labels = [str(label) for label in source.columns]
    if source.columns.nlevels > 1:
        raise WrongTypeError(
            f"the {what} has columns of {source.columns.nlevels} levels: stack() the symbols into rows first",
            field=what,
        )
    if len(set(labels)) < len(labels):
        raise FactorError(f"the {what} has a column twice", field=what)
    series = [_column(label, source.iloc[:, number]) for number, label in enumerate(labels)]
    frame = pl.DataFrame(series)
    if not named and intake.date_col not in labels:
        # A DatetimeIndex or PeriodIndex without a name holds the dates; of another one nobody knows.
        if str(source.index.dtype).startswith(("datetime", "period")):
            return frame.with_columns(_column(intake.date_col, source.index.to_series()))
        if n_levels > 1 or source.index.dtype.kind not in "iu":
            names = intake.date_col if n_levels == 1 else [intake.date_col, intake.symbol_col]
            message = f"the {what} has no column {intake.date_col!r}, and its index has no name: rename_axis({names!r})"
            raise MissingColumnError(message, field=intake.date_col)
    return frame


def _column(name: str, values: Any) -> pl.Series:
    kind = str(values.dtype)
    if kind.startswith("datetime64"):
        # Of a time zone, the clock's own time: what day a row is of.
        naive = values.dt.tz_localize(None) if getattr(values.dtype, "tz", None) is not None else values
        return pl.Series(name, naive.to_numpy().astype("datetime64[us]"))
    if kind.startswith("period"):
        return pl.Series(name, values.dt.end_time.to_numpy().astype("datetime64[us]"))
    if getattr(values.dtype, "kind", "O") in "fiub" and isinstance(values.dtype, np.dtype):
        return pl.Series(name, values.to_numpy())
    missing = values.isna().to_numpy()
    plain = [None if gone else value for value, gone in zip(values.tolist(), missing, strict=True)]
    plain = [value.item() if isinstance(value, np.generic) else value for value in plain]
    kinds = {type(value) for value in plain if value is not None}
    if len(kinds) > 1 and kinds <= {int, float}:
        return pl.Series(name, plain, dtype=pl.Float64, strict=False)
    if len(kinds) > 1 and kinds <= {int, float, str}:  # as in JSON, numbers with text between are text
        return pl.Series(name, [value if value is None else str(value) for value in plain], dtype=pl.String)
    try:
        return pl.Series(name, plain)
    except (pl.exceptions.PolarsError, TypeError) as error:
        mixed = sorted(kind.__name__ for kind in kinds)
        raise WrongTypeError(f"column {name!r} mixes {', '.join(mixed)}", field=name) from error


def read_file(path: Path, n_rows: int | None = None) -> pl.DataFrame:
    """Read a Parquet, CSV or Arrow IPC file; columns of a CSV hold numbers or text, dates are read later.

    Raises
    ------
    FactorError
        There is no such file, its name ends otherwise, or it is not what its name says.
    """
    kind = path.suffix.lower()
    if not path.is_file():
        raise FactorError(f"there is no file {path}", field="path")
    try:
        if kind in (".parquet", ".pq"):
            return pl.read_parquet(path, n_rows=n_rows)
        if kind == ".csv" or path.name.lower().endswith(".csv.gz"):
            return read_csv(path, n_rows=n_rows)
        if kind in (".arrow", ".arrows", ".ipc", ".feather"):
            with path.open("rb") as source:
                is_file = source.read(6) == b"ARROW1"
            return pl.read_ipc(path, n_rows=n_rows) if is_file else pl.read_ipc_stream(path, n_rows=n_rows)
    except (pl.exceptions.PolarsError, OSError, ValueError) as error:
        raise FactorError(f"{path} is not a readable {kind[1:]} file: {first_line(error)}", field="path") from None
    raise FactorError(f"{path} must be {SUFFIXES}", field="path")


def read_csv(path: Path, n_rows: int | None = None) -> pl.DataFrame:
    """Read a CSV as columns of text, without blank lines; `typed` then makes numbers of them.

    Raises
    ------
    ValueError
        What `fault_of_csv` says, of the head alone where no rows are wanted.
    """
    opened: Any = gzip.open if path.suffix.lower() == ".gz" else Path.open
    with opened(path, "rb") as file:
        content = file.readline() if n_rows == 0 else file.read()
    fault = fault_of_csv(content)
    if fault is not None:
        raise ValueError(fault)
    return without_blanks(pl.read_csv(io.BytesIO(content), infer_schema=False, n_rows=n_rows))


def without_blanks(frame: pl.DataFrame) -> pl.DataFrame:
    """Give a CSV's table without blank lines, and without the row numbers that pandas writes in front."""
    if frame.columns[:1] == [""] and frame[""].str.contains(r"^\d+$").all():
        frame = frame.drop("")
    return frame.filter(~pl.all_horizontal(pl.all().is_null())) if frame.width else frame


def typed(frame: pl.DataFrame, intake: Intake) -> pl.DataFrame:
    """Make numbers of texts: of every column of a table of nothing but text (a CSV), else where `na_values` are given.

    A column becomes one of numbers (or truth values) when each of its values is one or stands for a missing one; it
    stays text otherwise, so that what reads it can name it. Symbols, dates, classifications and identities stay text,
    and so do codes: columns where a value begins with 0 and another digit.
    """
    if not intake.na_values and any(dtype != pl.String for dtype in frame.schema.values()):
        return frame
    names = intake.names
    kept = {"symbol", "date", intake.available_at_col, *CLASSIFICATIONS, *IDENTITIES}
    return frame.with_columns(
        _numbers(frame[column], intake.na_values)
        for column, dtype in frame.schema.items()
        if dtype == pl.String and names.get(column, column) not in kept
    )


def _numbers(text: pl.Series, na_values: Sequence[str]) -> pl.Series:
    stripped = text.str.strip_chars()
    known = stripped.set(stripped.is_in(["", *na_values]), None)
    if known.str.contains(r"^[+-]?0\d").any():
        return text
    for dtype in (pl.Int64, pl.Float64):
        cast = known.cast(dtype, strict=False)
        if cast.null_count() == known.null_count():
            return cast
    truth = known.str.to_lowercase()
    if truth.drop_nulls().is_in(["true", "false"]).all():
        return truth == "true"
    return text


def combined_days(frame: pl.DataFrame, intake: Intake) -> pl.DataFrame:
    """Make one row a day and symbol: returns compounded, volumes summed, the day's range, the last of all else."""
    for column in (intake.date_col, intake.symbol_col):
        if column not in frame.columns:
            raise MissingColumnError(f"the frame has no column {column!r}", field=column)
    if frame.is_empty():
        raise EmptyFrameError("the frame has no rows", field="frame")
    names = intake.names
    keys = [intake.date_col, intake.symbol_col]
    how = {"returns": _compounded, "volume": pl.Expr.sum, "amount": pl.Expr.sum, "open": _first, "high": pl.Expr.max,
           "low": pl.Expr.min}  # fmt: skip
    columns = [column for column in frame.columns if column not in keys]
    day = parse_dates(frame[intake.date_col].alias("date"), intake.date_format).alias(intake.date_col)
    ordered = frame.with_columns(day.alias("__day")).sort(intake.date_col, maintain_order=True)
    return (
        ordered.group_by("__day", intake.symbol_col, maintain_order=True)
        .agg(how.get(names.get(column, column), _last)(pl.col(column)).alias(column) for column in columns)
        .rename({"__day": intake.date_col})
    )


def _compounded(column: pl.Expr) -> pl.Expr:
    return pl.when(column.count() > 0).then((1.0 + column.cast(pl.Float64)).product() - 1.0)


def _first(column: pl.Expr) -> pl.Expr:
    return column.drop_nulls().first()


def _last(column: pl.Expr) -> pl.Expr:
    return column.drop_nulls().last()
