"""Point-in-time fundamentals: an item counts from the day it became known, not from the day it is about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from factors.errors import FactorError, MissingColumnError
from factors.panel.availability import as_of, days_of, known_from
from factors.panel.axis import positions
from factors.panel.dates import parse_dates
from factors.panel.intake import DEFAULT, Intake
from factors.panel.meaning import is_numeric
from factors.panel.panel import Array, Panel
from factors.panel.quality.report import Finding
from factors.panel.tables import as_frame, typed
from factors.panel.values import numbers_of

__all__ = ["as_of", "with_fundamentals"]


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
        A column is missing, an item of known meaning is no number, a statement has no symbol, period or release, or is
        available before its period ends.
    """
    statements = typed(as_frame(statements, intake), replace(intake, symbol_col=symbol_col, date_col=period_col))
    for name in (symbol_col, period_col, available_at_col):
        if name not in statements.columns:
            raise MissingColumnError(f"the statements have no column {name!r}", field=name)
    keys = statements.select(
        pl.col(symbol_col).cast(pl.String).alias("symbol"),
        parse_dates(statements[period_col], intake.date_format).alias("period"),
        parse_dates(statements[available_at_col], intake.date_format).alias("released"),
        known_from(statements[available_at_col], intake).alias("available"),
    )
    _refuse_unnamed(keys, {"symbol": symbol_col, "period": period_col, "released": available_at_col})
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
    position = positions(panel.symbols)
    columns = np.array([position[symbol] for symbol in order["symbol"]], dtype=np.intp)
    rank = order.select(pl.int_range(pl.len()).over("symbol")).to_series().to_numpy()
    depth = int(rank.max()) + 1 if len(rank) else 0
    available, about = (np.full((depth, panel.n_assets), np.datetime64("NaT", "D")) for _ in range(2))
    available[rank, columns] = days_of(order["available"])
    about[rank, columns] = days_of(order["period"])
    fields = dict(panel.fields)
    lapsed = np.zeros(panel.shape, dtype=np.bool_)
    chosen = order["row"].to_numpy()
    for name, values in items.items():
        wide = np.full((depth, panel.n_assets), np.nan)
        wide[rank, columns] = values[chosen]
        fields[name] = as_of(panel.dates, available, wide, about, intake.fundamentals_max_age_days, lapsed)
    found = _findings(panel, keys, items, lapsed)
    for name in items:  # what rows told of the item, it replaces
        fields.pop(f"raw_{name}", None)
    return replace(panel, fields=fields, findings=(*panel.findings, *found))


def _refuse_unnamed(keys: pl.DataFrame, columns: Mapping[str, str]) -> None:
    """Raise for statements of no symbol, of no period, or without a day of release: they would be left out unseen."""
    for key, column in columns.items():
        without = keys.filter(pl.col(key).is_null())
        if len(without):
            rows = list(without.select("released", "symbol").head(10).iter_rows())
            raise FactorError(f"a statement has no {column!r}", field=column, rows=rows, n_rows=len(without))


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
