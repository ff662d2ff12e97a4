"""From which day a value counts: the day it became known, which is later than the day it is about."""

from __future__ import annotations

import datetime as dt

import numpy as np
import polars as pl
from numpy.typing import NDArray

from factors.panel.dates import parse_dates
from factors.panel.frames import Wide
from factors.panel.intake import DEFAULT, Intake
from factors.panel.meaning import counts_until_next

Array = NDArray[np.float64]
DateArray = NDArray[np.datetime64]


def as_of(
    dates: DateArray,
    available_at: DateArray,
    values: Array,
    periods: DateArray | None = None,
    max_age_days: int | None = None,
    lapsed: NDArray[np.bool_] | None = None,
) -> Array:
    """Give, on each date, the latest value of an item that was known by then.

    Parameters
    ----------
    dates : datetime64[D] [n_dates]
        Ascending.
    available_at : datetime64[D] [n_statements, n_assets]
        In order of the period they are about; NaT where there is no statement. A restatement or a late filing that
        arrives out of order counts from its own day on.
    values : float64 [n_statements, n_assets]
        NaN where the statement does not have the item: the one before it goes on counting.
    periods : datetime64[D] [n_statements, n_assets], optional
        What the statements are about; by default the day they are available.
    max_age_days : int, optional
        A value counts for so many days after its period.
    lapsed : bool [n_dates, n_assets], optional
        Set where a value was too old.

    Returns
    -------
    float64 [n_dates, n_assets]
        NaN before the first statement.
    """
    daily = np.full((len(dates), values.shape[1]), np.nan)
    there = ~np.isnat(available_at) & ~np.isnan(values)
    about = available_at if periods is None else periods
    for asset in np.flatnonzero(there.any(axis=0)):
        known = np.flatnonzero(there[:, asset])
        # The latest period available, not the latest arrival: a late filing about an old period does not displace.
        order = known[np.argsort(available_at[known, asset], kind="stable")]
        latest = np.maximum.accumulate(order)
        at = np.searchsorted(available_at[order, asset], dates, side="right") - 1
        chosen = latest[np.maximum(at, 0)]
        counts = at >= 0
        if max_age_days is not None:
            old = counts & (dates - about[chosen, asset] > np.timedelta64(max_age_days, "D"))
            counts &= ~old
            if lapsed is not None:
                lapsed[old, asset] = True
        daily[counts, asset] = values[chosen[counts], asset]
    return daily


def known_from(series: pl.Series, intake: Intake = DEFAULT) -> pl.Series:
    """Give the day from which a release counts: the next one where its time of day is `intake.after_close` or later."""
    days = parse_dates(series, intake.date_format)
    if intake.after_close is None:
        return days
    close = dt.time.fromisoformat(intake.after_close.zfill(5))
    if isinstance(series.dtype, pl.Datetime):
        late = series.dt.time() >= close
    elif series.dtype == pl.String:
        late = series.str.extract(r"[T ](\d{2}:\d{2})") >= close.strftime("%H:%M")
    else:
        return days
    after = pl.when(late.fill_null(value=False)).then(days.dt.offset_by("1d")).otherwise(days)
    return pl.select(after).to_series()


def delayed(wide: Wide, table: pl.DataFrame, intake: Intake) -> dict[str, Array]:
    """Let fundamentals and ratios of a table count from the day they became available.

    Parameters
    ----------
    wide : Wide
        The table read as if all were known on its date.
    table : pl.DataFrame
        With the columns of date, symbol and the day from which the row's fundamentals were available.

    Returns
    -------
    mapping to float64 [n_dates, n_assets]
    """
    dates = wide.dates
    rows = np.searchsorted(dates, days_of(parse_dates(table[intake.date_col].alias("date"), intake.date_format)))
    names = table[intake.symbol_col].cast(pl.String).cast(pl.Enum(list(wide.symbols)))
    codes = names.to_physical().to_numpy().astype(np.intp)
    known = days_of(known_from(table[intake.available_at_col], intake))
    known = np.where(np.isnat(known), dates[rows], np.maximum(known, dates[rows]))
    available = np.full((len(dates), len(wide.symbols)), np.datetime64("NaT", "D"))
    available[rows, codes] = known
    about = np.broadcast_to(dates[:, None], available.shape)
    limit = intake.fundamentals_max_age_days
    return {
        name: as_of(dates, available, values, about, limit) if counts_until_next(name) else values
        for name, values in wide.fields.items()
    }


def days_of(series: pl.Series) -> DateArray:
    """Give a series of dates as days."""
    return series.to_numpy().astype("datetime64[D]")
