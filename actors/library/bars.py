"""A formula on a posted table of bars of any length: days, minutes, or anything between."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import polars as pl

from actors.reading.features import in_table, intake_of
from contracts.errors import InvalidInput, first_line
from contracts.frames import decode
from contracts.grid import POSTED_LAYERS, check_grid
from contracts.requests import EvaluateFormula
from contracts.settings import settings
from factors.errors import FactorError
from factors.library import Expression, Library, Translation, evaluate
from factors.library.language.errors import FieldsError
from factors.panel.intake import DEFAULT, Intake
from factors.panel.tables import typed
from factors.panel.values import numbers_of

FIELD = "frame_data"
OF_BARS = ("columns", "date_format", "na_values", "returns_col", "mkt_cap_col")
"""Settings of an intake that say how bars are read; all others are of days."""
DATE_FORMAT = "intake.date_format"
CELLS_MOST = 1_000_000
"""Values of the bars that an answer shows, times by symbols."""


def on_bars(request: EvaluateFormula, library: Library, threads: int) -> tuple[dict[str, float], dict[str, Any], int]:
    """Compute a formula over the table of a request.

    Returns
    -------
    (values of the last bar by symbol, what else is told, symbols)

    Raises
    ------
    InvalidInput
        Names the column or the field of the request.
    TableTooLarge
        Its times and symbols span too large a grid.
    """
    assert request.frame_data is not None
    intake = _intake(request)
    frame = decode(request.frame_data)
    for name in (request.time_col, request.symbol_col):
        if name not in frame.columns:
            raise InvalidInput(f"{FIELD} has no column {name!r}", field=f"{FIELD}.{name}")
    frame = frame.with_columns(_times(frame.get_column(request.time_col), intake.date_format))
    frame = _numbers(frame, library, intake)
    n_times, n_symbols = (frame.get_column(name).n_unique() for name in (request.time_col, request.symbol_col))
    check_grid(
        n_times, n_symbols, len(library.fields) + len(library.groups), layers=POSTED_LAYERS,
        limit_mb=settings().posted_grid_limit_mb, setting="FACTOR_ENGINE_POSTED_GRID_LIMIT_MB", field=FIELD,
    )  # fmt: skip
    shown = min(request.bars, n_times)
    if shown * n_symbols > CELLS_MOST:
        raise InvalidInput(
            f"{shown} bars of {n_symbols} symbols are {shown * n_symbols} values; at most {CELLS_MOST} are shown",
            field="bars",
        )
    bar = None if request.bar_s is None else np.timedelta64(round(request.bar_s * 1e6), "us")
    try:
        found = evaluate(
            library, frame, time_col=request.time_col, symbol_col=request.symbol_col, bar=bar, threads=threads
        )
    except FieldsError as error:
        raise InvalidInput(f"{FIELD}: {error}", field=FIELD) from None
    except ValueError as error:  # of the times and the bar's length
        raise InvalidInput(f"{FIELD}: {error}", field=FIELD) from None
    table = found.rename({request.time_col: "time", request.symbol_col: "symbol"})
    times = table.get_column("time").unique().sort().tail(shown)
    wide = table.filter(pl.col("time").is_in(times.implode())).pivot("symbol", index="time", values="formula")
    symbols = sorted(name for name in wide.columns if name != "time")
    wide = wide.sort("time").select("time", *symbols)
    last = wide.row(-1, named=True)
    values = {symbol: last[symbol] for symbol in symbols if last[symbol] is not None}
    about = {
        "times": [time.isoformat() for time in wide.get_column("time")],
        "n_bars": n_times,
        "by_symbol": {symbol: wide.get_column(symbol).to_list() for symbol in symbols},
    }
    return values, about, n_symbols


def _intake(request: EvaluateFormula) -> Intake:
    """Give how the table is read. Raises `InvalidInput` for a setting that means nothing for bars."""
    given = request.intake or {}
    idle = [name for name in given if name in Intake.__dataclass_fields__ and name not in OF_BARS]
    if idle:
        raise InvalidInput(
            f"intake.{idle[0]} does nothing for {FIELD}, which is computed as it is",
            field=f"intake.{idle[0]}",
            rows=idle,
        )
    intake = intake_of(request, DEFAULT)
    return intake.called(date_col=request.time_col, symbol_col=request.symbol_col)


def _numbers(frame: pl.DataFrame, library: Library, intake: Intake) -> pl.DataFrame:
    """Make numbers of the columns that the formula reads, under the names of its fields."""
    names = {column: name for column, name in intake.names.items() if name not in ("date", "symbol")}
    given = {column: name for column, name in names.items() if column in frame.columns and name not in frame.columns}
    frame = typed(frame, intake).rename(given)
    keys = frame.select(pl.col(intake.date_col).alias("date"), pl.col(intake.symbol_col).alias("symbol"))
    own = {name: column for column, name in names.items()}
    made = []
    for name in library.fields:
        if name in frame.columns and frame.schema[name] == pl.String:
            try:
                made.append(pl.Series(name, numbers_of(frame.get_column(name), keys, own.get(name, name))))
            except FactorError as error:
                raise in_table(FIELD, error, intake) from None
    return frame.with_columns(made)


def _times(times: pl.Series, date_format: str | None = None) -> pl.Series:
    """Read times that came as text, ISO 8601 or of a format; with an offset the time of day counts as it is written."""
    if times.dtype != pl.String:
        return times
    if date_format is not None:
        try:
            found = times.str.strip_chars().str.to_datetime(date_format, strict=False, time_unit="us")
        except pl.exceptions.PolarsError as error:
            raise InvalidInput(
                f"date_format {date_format!r} cannot be read: {first_line(error)}", field=DATE_FORMAT
            ) from None
        wrong = (found.is_null() & times.is_not_null()).arg_true().to_list()
        if wrong:
            message = f"{FIELD}: {times[wrong[0]]!r} is not written as date_format {date_format!r}"
            raise InvalidInput(message, field=f"{FIELD}.{times.name}", rows=wrong)
        return found
    read: dict[str, dt.datetime] = {}
    for row, text in enumerate(times):
        if text is None or text in read:
            continue
        try:
            read[text] = dt.datetime.fromisoformat(text).replace(tzinfo=None)
        except ValueError:
            raise InvalidInput(
                f"{FIELD}: {text!r} is no date or time (2024-01-02T09:31:00)", field=f"{FIELD}.{times.name}", rows=[row]
            ) from None
    return pl.Series(times.name, [None if text is None else read[text] for text in times], dtype=pl.Datetime("us"))


def formula_details(
    request: EvaluateFormula, expression: Expression, library: Library, translation: Translation | None
) -> dict[str, Any]:
    """Say what is computed, and of what it was translated."""
    return {
        "warmup": library.warmup["formula"],
        "inputs": list(library.inputs["formula"]),
        "registered_as": request.register_as,
        "conventions": expression.conventions.name,
        **shown(translation),
    }


def shown(translation: Translation | None) -> dict[str, Any]:
    """Give what an answer says of a translation: nothing where there was none."""
    if translation is None:
        return {}
    conventions, notes = translation.conventions.name, list(translation.notes)
    return {"translation": {"formula": translation.text, "conventions": conventions, "notes": notes}}
