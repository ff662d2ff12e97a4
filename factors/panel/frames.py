"""Long frames into wide arrays, with the errors that name column and rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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
    WrongTypeError,
)
from factors.panel.availability import release_days
from factors.panel.dates import parse_dates
from factors.panel.identity import identified, issuers_of_many
from factors.panel.intake import OWN_SETTING, Intake
from factors.panel.meaning import CLASSIFICATIONS, ID, IDENTITIES, RELEASE, is_numeric, suggestion_for, unread
from factors.panel.quality.report import Finding
from factors.panel.sectors import Coded, category, encoded_sector, labels_of
from factors.panel.tables import as_frame, typed
from factors.panel.values import numbers_of, rows_of

LABELS = frozenset({*CLASSIFICATIONS, *IDENTITIES})
TEXTS = (pl.String, pl.Categorical, pl.Enum)


@dataclass
class Wide:
    """A long frame as wide arrays [n_dates, n_assets], and what was found in its names."""

    dates: NDArray[np.datetime64]
    symbols: tuple[str, ...]
    fields: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    categories: dict[str, Coded] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    former: tuple[tuple[str, str], ...] = ()


def read_frame(
    frame: pl.DataFrame, intake: Intake, sector_encodings: Sequence[str] | None, required: tuple[str, ...]
) -> Wide:
    """Scatter a long frame into wide arrays.

    Parameters
    ----------
    frame : pl.DataFrame
    intake : Intake
    sector_encodings : one-hot columns, or None
    required : canonical fields that must be present
    """
    frame = _canonical(typed(frame, intake), intake, required)
    findings, former = [_not_read(unread(frame.columns))], tuple[tuple[str, str], ...]()
    dates, rows = _dates(frame, intake)
    symbols, columns = _symbols(frame)
    shape = (len(dates), len(symbols))
    cells = rows.astype(np.int64) * shape[1] + columns
    _refuse_duplicates(frame, cells, shape)
    if ID in frame.columns:
        symbols, columns, changes, former = identified(frame, labels_of(frame[ID]), symbols, columns, dates, rows)
        findings += changes
        shape = (len(dates), len(symbols))
        cells = rows.astype(np.int64) * shape[1] + columns
    frame, encoded, several = encoded_sector(frame, sector_encodings)
    wide = Wide(dates, symbols, findings=[*findings, *several, *issuers_of_many(frame)], former=former)
    for name, (codes, labels) in encoded.items():
        wide.categories[name] = (_scatter(codes, cells, shape, -1), labels)
    columns_of = {name: column for column, name in intake.names.items()}
    if intake.available_at_col in frame.columns:
        known = release_days(frame[intake.available_at_col], dates[rows], intake)
        wide.fields[RELEASE] = _scatter(known, cells, shape, np.nan)
        frame = frame.drop(intake.available_at_col)
    for name in frame.columns:
        series = frame[name]
        if name in ("date", "symbol") or name in encoded:
            continue
        numeric = is_numeric(name) or name in required
        if not numeric and (name in LABELS or series.dtype in TEXTS):
            _refuse_numbers_with_text(series, frame)
            codes, labels = category(series, sector_encodings if name == "sector" else None)
            wide.categories[name] = (_scatter(codes, cells, shape, -1), labels)
        elif numeric or not series.dtype.is_temporal():
            values = numbers_of(series, frame, columns_of.get(name, name))
            wide.fields[name] = _scatter(values, cells, shape, np.nan)
    return wide


def long_numbers(frame: pl.DataFrame, intake: Intake, required: tuple[str, ...]) -> pl.DataFrame:
    """Read a long frame of numbers by date and symbol and leave it long: canonical names, days, no row twice.

    Raises
    ------
    FactorError
        As `read_frame`.
    """
    frame = _canonical(typed(as_frame(frame, intake), intake), intake, required)
    dates, rows = _dates(frame, intake)
    symbols, columns = _symbols(frame)
    shape = (len(dates), len(symbols))
    _refuse_duplicates(frame, rows.astype(np.int64) * shape[1] + columns, shape)
    columns_of = {name: column for column, name in intake.names.items()}
    numbers = [
        pl.Series(name, numbers_of(frame[name], frame, columns_of.get(name, name))).fill_nan(None)
        for name in frame.columns
        if name not in ("date", "symbol") and not frame[name].dtype.is_temporal()
    ]
    return pl.DataFrame([pl.Series("date", dates[rows]), frame["symbol"].cast(pl.String), *numbers])


def _canonical(frame: pl.DataFrame, intake: Intake, required: tuple[str, ...]) -> pl.DataFrame:
    names = intake.names
    for column, name in names.items():
        if column != name and name in frame.columns and column in frame.columns:
            raise FactorError(f"the frame has both {column!r} and {name!r}, which name the same thing", field=name)
    absent = [column for column in intake.columns if column not in frame.columns and intake.columns[column] in required]
    for column in absent:
        raise MissingColumnError(f"the frame has no column {column!r}", field=column)
    frame = frame.rename({column: name for column, name in names.items() if column in frame.columns})
    columns_of = {name: column for column, name in names.items()}
    for name in ("date", "symbol", *required):
        if name not in frame.columns:
            column = columns_of.get(name, name)
            raise MissingColumnError(f"the frame has no column {column!r}{_hint(name, frame)}", field=column)
    if frame.is_empty():
        raise EmptyFrameError("the frame has no rows", field="frame")
    return frame


def _hint(name: str, frame: pl.DataFrame) -> str:
    """Name the column that may be meant; it is not taken unasked."""
    found = suggestion_for(name, frame.columns)
    if found is None:
        return ": it has a row for each date and symbol, so stack() or unpivot() a wide one" if name == "symbol" else ""
    how = f"{OWN_SETTING[name]}={found!r}" if name in OWN_SETTING else f"columns={{{found!r}: {name!r}}}"
    return f"; if {found!r} is it, say so: Intake({how})"


def _dates(frame: pl.DataFrame, intake: Intake) -> tuple[NDArray[np.datetime64], NDArray[np.intp]]:
    days = parse_dates(frame["date"], intake.date_format)
    if days.null_count():
        symbols = frame["symbol"].filter(days.is_null()).head(MAX_ROWS_NAMED)
        raise FactorError(
            "a row has no date", field="date", rows=[(None, symbol) for symbol in symbols], n_rows=days.null_count()
        )
    values = days.to_numpy().astype("datetime64[D]")
    dates, rows = np.unique(values, return_inverse=True)
    return dates, rows


def _symbols(frame: pl.DataFrame) -> tuple[tuple[str, ...], NDArray[np.intp]]:
    series = frame["symbol"]
    if series.dtype in (pl.Categorical, pl.Enum):
        series = series.cast(pl.String)
    if series.dtype != pl.String:
        raise WrongTypeError(
            f"column 'symbol' is {series.dtype}, not text: write numbers as text, with the zeros in front that they "
            "have as symbols",
            field="symbol",
        )
    if series.null_count():
        dates = frame["date"].filter(series.is_null()).head(MAX_ROWS_NAMED)
        raise FactorError(
            "a row has no symbol", field="symbol", rows=[(date, None) for date in dates], n_rows=series.null_count()
        )
    unique = series.unique().sort()
    if unique[0] == "":
        blank = series == ""
        dates = frame["date"].filter(blank).head(MAX_ROWS_NAMED)
        raise FactorError(
            "a row's symbol is empty", field="symbol", rows=[(date, "") for date in dates], n_rows=int(blank.sum())
        )
    codes = series.cast(pl.Enum(unique)).to_physical().to_numpy()
    return tuple(unique.to_list()), codes.astype(np.intp)


def _refuse_duplicates(frame: pl.DataFrame, cells: NDArray[np.int64], shape: tuple[int, int]) -> None:
    seen = np.zeros(shape[0] * shape[1], dtype=bool)
    seen[cells] = True
    if int(seen.sum()) == len(cells):
        return
    _, first = np.unique(cells, return_index=True)
    repeated = np.setdiff1d(np.arange(len(cells)), first)
    keys = frame.select("date", "symbol")
    message = "the same date and symbol occur more than once"
    if not keys[repeated.tolist()].is_duplicated().any() and keys.n_unique() == len(keys):
        message = (
            "a symbol has several times of day, and a panel has one row a day: make daily rows of them, or have "
            "intake.intraday = 'combine' compound returns, add up volumes and take the day's range and last values"
        )
    raise DuplicateRowError(message, field="symbol", rows=rows_of(frame, repeated), n_rows=len(repeated))


def _refuse_numbers_with_text(series: pl.Series, frame: pl.DataFrame) -> None:
    """Refuse a column of no known meaning that is mostly numbers with some text between."""
    if series.name in LABELS or series.dtype != pl.String:
        return
    known = series.drop_nulls()
    numbers = known.str.strip_chars().cast(pl.Float64, strict=False).is_not_null().sum()
    if len(known) > numbers > len(known) / 2:
        numbers_of(series, frame, series.name)


def _not_read(columns: Mapping[str, str]) -> Finding:
    note = "; ".join(f"{column} may be {name}: columns = {{{column!r}: {name!r}}}" for column, name in columns.items())
    return Finding.of("not_read", [(None, column) for column in columns], note=note)


def _scatter(values: NDArray[Any], cells: NDArray[np.int64], shape: tuple[int, int], fill: float) -> NDArray[Any]:
    wide = np.full(shape[0] * shape[1], fill, dtype=values.dtype)
    wide[cells] = values
    return wide.reshape(shape)
