"""From which day a value counts: the day it became known, which is later than the day it is about."""

from __future__ import annotations

import datetime as dt

import numpy as np
import polars as pl
from numpy.typing import NDArray

from factors.panel.dates import parse_dates, times_of
from factors.panel.intake import DEFAULT, Intake

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
    late = times_of(series, intake.date_format) >= close
    after = pl.when(late.fill_null(value=False)).then(days.dt.offset_by("1d")).otherwise(days)
    return pl.select(after).to_series()


def release_days(series: pl.Series, dates: DateArray, intake: Intake) -> Array:
    """Give the day since 1970 from which each row's statements count, NaN where that is the row's own day.

    Parameters
    ----------
    series : pl.Series [n_rows]
        When the row became known.
    dates : datetime64[D] [n_rows]
    """
    known = days_of(known_from(series, intake))
    later = ~np.isnat(known) & (known > dates)
    return np.where(later, known.astype(np.int64), np.nan)


def days_of(series: pl.Series) -> DateArray:
    """Give a series of dates as days."""
    return series.to_numpy().astype("datetime64[D]")
