"""A formula on a posted table of bars of any length: days, minutes, or anything between."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import polars as pl

from contracts.errors import InvalidInput
from contracts.frames import decode
from contracts.grid import POSTED_LAYERS, check_grid
from contracts.requests import EvaluateFormula
from contracts.settings import settings
from factors.library import Expression, Library, Translation, evaluate
from factors.library.language.errors import FieldsError

FIELD = "frame_data"
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
    frame = decode(request.frame_data)
    for name in (request.time_col, request.symbol_col):
        if name not in frame.columns:
            raise InvalidInput(f"{FIELD} has no column {name!r}", field=f"{FIELD}.{name}")
    frame = frame.with_columns(_times(frame.get_column(request.time_col)))
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


def _times(times: pl.Series) -> pl.Series:
    """Read times that came as text, ISO 8601; with an offset the time of day counts as it is written."""
    if times.dtype != pl.String:
        return times
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
