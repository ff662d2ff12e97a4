"""Long frames into a panel and estimates back into frames, under the column names of the settings."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from factors.errors import MissingColumnError, WrongTypeError
from factors.factor_model.settings import ModelSettings
from factors.panel.frames import parse_dates
from factors.panel.panel import Array, Panel

SCORE_COLUMNS = {"momentum": "mom", "size": "sze", "value": "val"}


def features_panel(
    feature_data: pl.DataFrame, sector_encodings: pl.DataFrame | Sequence[str] | None, settings: ModelSettings
) -> Panel:
    """Read features, and sectors beside them or in a frame of their own.

    Parameters
    ----------
    feature_data : pl.DataFrame
        The columns that `settings.columns` names, and features.
    sector_encodings : pl.DataFrame, sequence of str or None
        A frame by date and symbol (or by symbol alone) with a column of labels, or, without `make_sector_dummies`,
        with a column of 0 and 1 for each sector; or the names of such columns in `feature_data`.

    Raises
    ------
    FactorError
        As `Panel.from_frame`; a column is missing; an argument is no frame.
    """
    if not isinstance(feature_data, pl.DataFrame):
        raise WrongTypeError(
            f"`feature_data` must be a Polars DataFrame, not {type(feature_data).__name__}", field="feature_data"
        )
    date, symbol, sector = (settings.column(name) for name in ("date_col", "symbol_col", "sectors_col"))
    hot: list[str] | None = None
    if isinstance(sector_encodings, pl.DataFrame):
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
        feature_data, encoded = (_with_plain_keys(frame, date, symbol) for frame in (kept, encoded))
        feature_data = feature_data.join(encoded, on=keys, how="left", maintain_order="left")
    elif sector_encodings is not None:
        hot = list(sector_encodings)
    if sector != "sector" and sector in feature_data.columns:
        feature_data = feature_data.rename({sector: "sector"})
    return Panel.from_frame(
        feature_data,
        symbol_col=symbol,
        date_col=date,
        mkt_cap_col=settings.column("mkt_cap_col"),
        returns_col=settings.column("asset_returns_col"),
        sector_encodings=hot,
    )


def _with_plain_keys(frame: pl.DataFrame, date: str, symbol: str) -> pl.DataFrame:
    """Give calendar days and text as keys, so that frames of other types of date or symbol meet."""
    if date in frame.columns:
        frame = frame.with_columns(parse_dates(frame[date]).alias(date))
    return frame.with_columns(pl.col(symbol).cast(pl.String))


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
    """Give factor returns as a row of each date; a date without any has nulls."""
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
