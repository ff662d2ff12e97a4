"""Long frames into a panel and estimates back into frames, under the column names of the settings."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from factors.errors import MissingColumnError
from factors.factor_model.settings import ModelSettings
from factors.panel.dates import parse_dates
from factors.panel.intake import Intake
from factors.panel.panel import Array, Panel
from factors.panel.tables import as_frame

SCORE_COLUMNS = {"momentum": "mom", "size": "sze", "value": "val"}


def features_panel(feature_data: Any, sector_encodings: Any, settings: ModelSettings) -> Panel:
    """Read features, and sectors beside them or in a frame of their own.

    Parameters
    ----------
    feature_data : pl.DataFrame, or what `factors.panel.tables.as_frame` takes
        The columns that `settings.columns` and `settings.intake` name, and features.
    sector_encodings : a table, sequence of str or None
        A table by date and symbol (or by symbol alone) with a column of labels, or, without `make_sector_dummies`,
        with a column of 0 and 1 for each sector; or the names of such columns in `feature_data`.

    Raises
    ------
    FactorError
        As `Panel.from_frame`; a column is missing; an argument is no frame.
    """
    intake = settings.read_as
    date, symbol, sector = intake.date_col, intake.symbol_col, settings.column("sectors_col")
    feature_data = as_frame(feature_data, intake, "feature_data")
    hot: list[str] | None = None
    if sector_encodings is not None and not isinstance(sector_encodings, list | tuple):
        sector_encodings = as_frame(sector_encodings, Intake(), "sector_encodings")
        keys = [name for name in (date, symbol) if name in sector_encodings.columns]
        if symbol not in keys:
            raise MissingColumnError(f"`sector_encodings` has no column {symbol!r}", field=symbol)
        names = [name for name in sector_encodings.columns if name not in keys]
        if settings.make_sector_dummies:
            if sector not in names:
                raise MissingColumnError(f"`sector_encodings` has no column {sector!r}", field=sector)
            names = [sector]
        else:
            hot = names
        for name in keys:
            if name not in feature_data.columns:
                raise MissingColumnError(f"`feature_data` has no column {name!r}", field=name)
        kept = feature_data.select(name for name in feature_data.columns if name not in names)
        encoded = sector_encodings.select(*keys, *names)
        feature_data, encoded = (_with_plain_keys(frame, intake) for frame in (kept, encoded))
        feature_data = feature_data.join(encoded, on=keys, how="left", maintain_order="left")
    elif sector_encodings is not None:
        hot = list(sector_encodings)
    if sector != "sector" and sector in feature_data.columns:
        feature_data = feature_data.rename({sector: "sector"})
    return Panel.from_frame(feature_data, intake=replace(intake, intraday="refuse"), sector_encodings=hot)


def _with_plain_keys(frame: pl.DataFrame, intake: Intake) -> pl.DataFrame:
    """Give calendar days and text as keys, so that frames of other types of date or symbol meet."""
    date = intake.date_col
    if date in frame.columns:
        frame = frame.with_columns(parse_dates(frame[date].alias("date"), intake.date_format).alias(date))
    return frame.with_columns(pl.col(intake.symbol_col).cast(pl.String))


def scores_frame(
    settings: ModelSettings,
    dates: NDArray[np.datetime64],
    symbols: tuple[str, ...],
    styles: tuple[str, ...],
    scores: Array,
    covered: NDArray[np.bool_],
) -> pl.DataFrame:
    """Give scores [n_dates, n_styles, n_assets] as rows of date and symbol, one for each covered asset.

    A missing score is null. Momentum, size and value are called by their `score_col`, the others by their names.
    """
    frame, rows, columns = _keys(settings, dates, symbols, covered)
    found = []
    for number, style in enumerate(styles):
        short = SCORE_COLUMNS.get(style)
        name = style if short is None else getattr(settings.style_factors, short).score_col
        found.append(pl.Series(name, scores[rows, number, columns]).fill_nan(None))
    return frame.with_columns(found)


def residuals_frame(
    settings: ModelSettings, dates: NDArray[np.datetime64], symbols: tuple[str, ...], residuals: Array
) -> pl.DataFrame:
    """Give specific returns as rows of date and symbol in the column `res_ret_col`."""
    frame, rows, columns = _keys(settings, dates, symbols, ~np.isnan(residuals))
    return frame.with_columns(pl.Series(settings.res_ret_col, residuals[rows, columns]))


def factor_returns_frame(
    settings: ModelSettings, dates: NDArray[np.datetime64], factors: tuple[str, ...], factor_returns: Array
) -> pl.DataFrame:
    """Give factor returns as a row of each date; null where a factor was not estimated."""
    columns = [pl.Series(name, factor_returns[:, k]).fill_nan(None) for k, name in enumerate(factors)]
    return pl.DataFrame([pl.Series(settings.column("date_col"), dates.astype("datetime64[D]")), *columns])


def _keys(
    settings: ModelSettings, dates: NDArray[np.datetime64], symbols: tuple[str, ...], where: NDArray[np.bool_]
) -> tuple[pl.DataFrame, NDArray[np.intp], NDArray[np.intp]]:
    rows, columns = np.nonzero(where)
    names = np.asarray(symbols, dtype=object)[columns].tolist()
    frame = pl.DataFrame(
        {
            settings.column("date_col"): pl.Series(dates[rows].astype("datetime64[D]")),
            settings.column("symbol_col"): pl.Series(names, dtype=pl.String),
        }
    )
    return frame, rows, columns
