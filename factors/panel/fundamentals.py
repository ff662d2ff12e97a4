"""Point-in-time fundamentals: an item counts from the day it became known, not from the day it is about."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from factors.errors import FactorError, MissingColumnError
from factors.panel.dates import parse_dates
from factors.panel.intake import DEFAULT, Intake
from factors.panel.meaning import counts_until_next, is_numeric
from factors.panel.panel import Array, Panel
from factors.panel.quality.report import Finding
from factors.panel.tables import as_frame, typed
from factors.panel.values import numbers_of

if TYPE_CHECKING:
    from factors.panel.frames import Wide

Days = NDArray[np.datetime64]


def as_of(
    dates: Days,
    available_at: Days,
    values: Array,
    periods: Days | None = None,
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
    days = parse_dates(series.alias("date"), intake.date_format)
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
    rows = np.searchsorted(dates, _days(parse_dates(table[intake.date_col].alias("date"), intake.date_format)))
    names = table[intake.symbol_col].cast(pl.String).cast(pl.Enum(list(wide.symbols)))
    codes = names.to_physical().to_numpy().astype(np.intp)
    known = _days(known_from(table[intake.available_at_col], intake))
    known = np.where(np.isnat(known), dates[rows], np.maximum(known, dates[rows]))
    available = np.full((len(dates), len(wide.symbols)), np.datetime64("NaT", "D"))
    available[rows, codes] = known
    about = np.broadcast_to(dates[:, None], available.shape)
    limit = intake.fundamentals_max_age_days
    return {
        name: as_of(dates, available, values, about, limit) if counts_until_next(name) else values
        for name, values in wide.fields.items()
    }


def with_fundamentals(
    panel: Panel,
    statements: Any,
    *,
    symbol_col: str = "symbol",
    period_col: str = "period_end",
    available_at_col: str = "available_at",
    intake: Intake = DEFAULT,
) -> Panel:
    """Add the numeric columns of a table of statements to a panel, each item known from its `available_at` on.

    Parameters
    ----------
    statements : pl.DataFrame, or what `as_frame` takes
        One row per symbol and period: `symbol_col`, `period_col`, `available_at_col` and numeric items. A missing item
        leaves the one before it in force.
    intake : Intake
        The format of dates, the age limit, and from when a release after the close counts.

    Returns
    -------
    Panel
        Its findings count statements of symbols that the panel does not have, restatements, and values that lapsed.

    Raises
    ------
    FactorError
        A column is missing, an item of known meaning is no number, or a statement is available before its period ends.
    """
    statements = typed(as_frame(statements, intake), replace(intake, symbol_col=symbol_col, date_col=period_col))
    for name in (symbol_col, period_col, available_at_col):
        if name not in statements.columns:
            raise MissingColumnError(f"the statements have no column {name!r}", field=name)
    keys = statements.select(
        pl.col(symbol_col).cast(pl.String).alias("symbol"),
        parse_dates(statements[period_col].alias("date"), intake.date_format).alias("period"),
        parse_dates(statements[available_at_col].alias("date"), intake.date_format).alias("released"),
        known_from(statements[available_at_col], intake).alias("available"),
    )
    early = keys.filter(pl.col("released") < pl.col("period"))
    if len(early):
        rows = list(early.select("released", "symbol").head(10).iter_rows())
        raise FactorError(
            "a statement is available before its period ends", field=available_at_col, rows=rows, n_rows=len(early)
        )
    items = _items(statements, keys, (symbol_col, period_col, available_at_col))
    order = (
        keys.with_row_index("row")
        .filter(pl.col("symbol").is_in(list(panel.symbols)))
        .sort("symbol", "period", "available")
    )
    position = {symbol: column for column, symbol in enumerate(panel.symbols)}
    columns = np.array([position[symbol] for symbol in order["symbol"]], dtype=np.intp)
    rank = order.select(pl.int_range(pl.len()).over("symbol")).to_series().to_numpy()
    depth = int(rank.max()) + 1 if len(rank) else 0
    available, about = (np.full((depth, panel.n_assets), np.datetime64("NaT", "D")) for _ in range(2))
    available[rank, columns] = _days(order["available"])
    about[rank, columns] = _days(order["period"])
    fields = dict(panel.fields)
    lapsed = np.zeros(panel.shape, dtype=np.bool_)
    chosen = order["row"].to_numpy()
    for name, values in items.items():
        wide = np.full((depth, panel.n_assets), np.nan)
        wide[rank, columns] = values[chosen]
        fields[name] = as_of(panel.dates, available, wide, about, intake.fundamentals_max_age_days, lapsed)
    found = _findings(panel, keys, items, lapsed)
    return replace(panel, fields=fields, findings=(*panel.findings, *found))


def _items(statements: pl.DataFrame, keys: pl.DataFrame, others: tuple[str, ...]) -> dict[str, Array]:
    named = keys.select(pl.col("available").alias("date"), "symbol")
    return {
        name: numbers_of(statements[name], named, name)
        for name in statements.columns
        if name not in others and (is_numeric(name) or statements[name].dtype.is_numeric())
    }


def _findings(
    panel: Panel, keys: pl.DataFrame, items: dict[str, Array], lapsed: NDArray[np.bool_]
) -> tuple[Finding, ...]:
    """Count statements of unknown symbols, restatements, and names whose items lapsed."""
    unmatched = keys.filter(~pl.col("symbol").is_in(list(panel.symbols)))
    values = keys.with_columns(pl.Series(name, of_item).fill_nan(None) for name, of_item in items.items())
    several = values.group_by("symbol", "period").agg(
        pl.len(), pl.col("available").max(), *(pl.col(name).drop_nulls().n_unique().alias(name) for name in items)
    )
    again = (
        several.filter((pl.col("len") > 1) & pl.any_horizontal(pl.col(name) > 1 for name in items))
        if items
        else several.head(0)
    )
    gone = np.flatnonzero(lapsed.any(axis=0))
    first = lapsed[:, gone].argmax(axis=0)
    found = (
        Finding.of("statements_unmatched", unmatched.select("available", "symbol").iter_rows()),
        Finding.of("statements_restated", again.select("available", "symbol").iter_rows()),
        Finding.of(
            "statements_too_old",
            [(panel.dates[row], panel.symbols[column]) for row, column in zip(first, gone, strict=True)],
        ),
    )
    return tuple(finding for finding in found if finding.n_rows)


def _days(series: pl.Series) -> Days:
    return series.to_numpy().astype("datetime64[D]")
