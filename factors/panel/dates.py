"""Columns of calendar days, in the forms in which dates are written."""

from __future__ import annotations

import datetime as dt
import re

import polars as pl

from factors.errors import FactorError, WrongTypeError, first_line

ISO = r"^\d{4}-\d{2}-\d{2}([T ]([01]\d|2[0-3]):[0-5]\d(:[0-5]\d([.,]\d+)?)?\s*(Z|[+-]\d{2}:?\d{2})?)?$"
ISO_BASIC = r"^\d{8}$"
OFFSET = r"\s*(Z|[+-]\d\d:?\d\d)$"
TIME_PARTS = frozenset("HIklTRrXc")
"""Letters of a format that stand for a time of day."""
PLAIN = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
EXAMPLES = 3
# What a whole number can be: a day as YYYYMMDD, or a time since 1970 as pandas writes it, to 2199; no two ranges meet.
BASIC_DAYS = (19_000_101, 22_000_101)
EPOCHS = {"ms": 10**3, "us": 10**6, "ns": 10**9}
LONGEST_S, SHORTEST_S = 7_258_118_400, 86_400 * 1000


def parse_dates(series: pl.Series, date_format: str | None = None) -> pl.Series:
    """Read a column as calendar days.

    Dates pass; datetimes give their day in their own time zone; text is ISO 8601 (2020-01-31, 20200131, with or without
    a time of day) and must not mix offsets, or is written as `date_format` says; whole numbers are 20200131 or the
    milli-, micro- or nanoseconds since 1970 that pandas writes.

    Raises
    ------
    WrongTypeError
        A column of another type.
    FactorError
        A text that is no such date; names the series and the first ones.
    """
    dtype = series.dtype
    if dtype == pl.Date:
        return series
    if isinstance(dtype, pl.Datetime):
        return series.dt.date()
    if dtype in (pl.Categorical, pl.Enum):
        series = series.cast(pl.String)
    elif dtype.is_integer() or (dtype.is_float() and (series.drop_nulls() % 1 == 0).all()):
        series = series.cast(pl.Int64)
        if date_format is None:
            return _of_numbers(series)
        series = series.cast(pl.String)
    elif dtype == pl.Null:
        return series.cast(pl.Date)
    elif dtype != pl.String:
        raise WrongTypeError(f"column {series.name!r} is {dtype}, not a date, datetime or ISO text", field=series.name)
    if date_format is None and (day := _same_day(series)) is not None:
        return pl.Series(series.name, [day], dtype=pl.Date).new_from_index(0, len(series))
    text = series.str.strip_chars()
    if date_format is not None:
        return _of_format(text, date_format)
    _refuse_mixed_zones(text)
    days = text.str.slice(0, 10).str.to_date("%Y-%m-%d", strict=False)
    basic = text.str.contains(ISO_BASIC)
    if basic.any():
        days = days.zip_with(~basic.fill_null(value=False), text.str.to_date("%Y%m%d", strict=False))
    wrong = text.is_not_null() & (days.is_null() | ~(basic | text.str.contains(ISO)))
    if wrong.any():
        raise _not_dates(text.filter(wrong), "which is not an ISO date", hint=True)
    return days


def _same_day(text: pl.Series) -> dt.date | None:
    """Give the day of a column that holds one alone, as that of a bar does, written plainly; None for all else."""
    first = text.first()
    if not isinstance(first, str) or PLAIN.fullmatch(first) is None or not (text == first).all(ignore_nulls=False):
        return None
    try:
        return dt.date.fromisoformat(first)
    except ValueError:
        return None


def times_of(series: pl.Series, date_format: str | None = None) -> pl.Series:
    """Give the time of day, on its own clock, of each value that `parse_dates` reads; null where it has none."""
    none = pl.Series(series.name, [None], dtype=pl.Time).new_from_index(0, len(series))
    dtype = series.dtype
    if isinstance(dtype, pl.Datetime):
        return series.dt.time()
    if dtype in (pl.Categorical, pl.Enum):
        series = series.cast(pl.String)
    elif dtype.is_numeric():
        series = series.cast(pl.Int64)
        if date_format is None:
            moments = _moments(series)
            return none if moments is None else moments.dt.time()
        series = series.cast(pl.String)
    elif dtype != pl.String:
        return none
    text = series.str.strip_chars()
    if date_format is not None:
        return _moments_of_format(text, date_format).dt.time() if _has_time(date_format) else none
    return text.str.extract(r"[T ](\d{2}:\d{2})").str.to_time("%H:%M", strict=False)


def _has_time(date_format: str) -> bool:
    parts = re.findall(r"%[-_0]?([A-Za-z])", date_format)
    return not TIME_PARTS.isdisjoint(parts)


def _moments_of_format(text: pl.Series, date_format: str) -> pl.Series:
    """Read moments by their own clock, which must be one: Polars would move those with an offset to Greenwich."""
    plain = date_format.rstrip()
    if plain.endswith("%z"):
        _refuse_mixed_zones(text)
        text, date_format = text.str.replace(OFFSET, ""), plain.removesuffix("%z").rstrip()
    return text.str.to_datetime(date_format, strict=False)


def _refuse_mixed_zones(text: pl.Series) -> None:
    offsets = text.str.extract(rf"\d\d:\d\d.*?{OFFSET}").drop_nulls().unique()
    if len(offsets) > 1:
        raise FactorError(f"column {text.name!r} mixes the time zones {sorted(offsets)}", field=text.name)


def _of_format(text: pl.Series, date_format: str) -> pl.Series:
    try:
        if _has_time(date_format):
            days = _moments_of_format(text, date_format).dt.date()
        else:
            days = text.str.to_date(date_format, strict=False)
    except pl.exceptions.PolarsError as error:
        raise FactorError(
            f"date_format {date_format!r} cannot be read: {first_line(error)}", field="date_format"
        ) from None
    wrong = text.is_not_null() & days.is_null()
    if wrong.any():
        raise _not_dates(text.filter(wrong), f"which is not written as date_format {date_format!r}", hint=False)
    return days


def _not_dates(wrong: pl.Series, what: str, *, hint: bool) -> FactorError:
    others = wrong.unique(maintain_order=True)[1:EXAMPLES].to_list()
    message = f"column {wrong.name!r} holds {wrong[0]!r}, {what}"
    if others:
        message += f" (also {', '.join(map(repr, others))})"
    if hint:
        message += "; date_format of the intake says how dates are written, for instance '%d/%m/%Y' or '%m/%d/%Y'"
    return FactorError(message, field=wrong.name, n_rows=len(wrong))


def _moments(series: pl.Series) -> pl.Series | None:
    """Read whole numbers as times since 1970, null for null; None where they are none."""
    known = series.drop_nulls()
    if len(known):
        least, most = int(known.min()), int(known.max())  # type: ignore[arg-type]
        for unit, a_second in EPOCHS.items():
            if SHORTEST_S * a_second <= least and most < LONGEST_S * a_second:
                return series.cast(pl.Datetime(unit))  # type: ignore[arg-type]
    return None


def _of_numbers(series: pl.Series) -> pl.Series:
    known = series.drop_nulls()
    if not len(known):
        return series.cast(pl.Date)
    if BASIC_DAYS[0] <= int(known.min()) and int(known.max()) < BASIC_DAYS[1]:  # type: ignore[arg-type]
        return parse_dates(series.cast(pl.String))
    moments = _moments(series)
    if moments is not None:
        return moments.dt.date()
    raise WrongTypeError(
        f"column {series.name!r} holds the number {known[0]}, not a date, datetime or ISO text: whole numbers are read "
        "as 20200131 or as milliseconds since 1970",
        field=series.name,
    )
