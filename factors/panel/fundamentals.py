"""Point-in-time fundamentals: a statement counts from the day it became available, not from the day it is about."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from factors.errors import FactorError, MissingColumnError
from factors.panel.frames import parse_dates
from factors.panel.panel import Array, Panel

TRADED = frozenset({"returns", "market_cap", "open", "high", "low", "close", "volume", "vwap", "shares"}) | {
    "estimation_universe",
    "investment_universe",
}


def as_of(dates: NDArray[np.datetime64], available_at: NDArray[np.datetime64], values: Array) -> Array:
    """Give, on each date, the latest statement that was available by then.

    Parameters
    ----------
    dates : datetime64[D] [n_dates]
        Ascending.
    available_at : datetime64[D] [n_statements, n_assets]
        In order of the period they are about; NaT where there is no statement. A restatement or a late filing that
        arrives out of order counts from its own day on.
    values : float64 [n_statements, n_assets]

    Returns
    -------
    float64 [n_dates, n_assets]
        NaN before the first statement.
    """
    n_assets = values.shape[1]
    daily = np.full((len(dates), n_assets), np.nan)
    missing = np.isnat(available_at)
    for asset in range(n_assets):
        known = np.flatnonzero(~missing[:, asset])
        if not len(known):
            continue
        # The latest period available, not the latest arrival: a late filing about an old period does not displace.
        order = known[np.argsort(available_at[known, asset], kind="stable")]
        latest = np.maximum.accumulate(order)
        at = np.searchsorted(available_at[order, asset], dates, side="right") - 1
        filled = values[latest[np.maximum(at, 0)], asset]
        daily[:, asset] = np.where(at >= 0, filled, np.nan)
    return daily


def delayed(
    dates: NDArray[np.datetime64], symbols: tuple[str, ...], fields: dict[str, Array], keys: pl.DataFrame
) -> dict[str, Array]:
    """Let fundamentals and ratios count from the day they became available.

    Parameters
    ----------
    fields : mapping to float64 [n_dates, n_assets]
    keys : pl.DataFrame
        date, symbol and the day from which the row's fundamentals were available.
    """
    rows = np.searchsorted(dates, parse_dates(keys["date"]).to_numpy().astype("datetime64[D]"))
    codes = keys["symbol"].cast(pl.String).cast(pl.Enum(list(symbols))).to_physical().to_numpy().astype(np.intp)
    known = parse_dates(keys[:, 2].alias("date")).to_numpy().astype("datetime64[D]")
    known = np.where(np.isnat(known), dates[rows], np.maximum(known, dates[rows]))
    available = np.full((len(dates), len(symbols)), np.datetime64("NaT", "D"))
    available[rows, codes] = known
    return {
        name: values if name in TRADED or name.startswith("benchmark_") else as_of(dates, available, values)
        for name, values in fields.items()
    }


def with_fundamentals(
    panel: Panel,
    statements: pl.DataFrame,
    *,
    symbol_col: str = "symbol",
    period_col: str = "period_end",
    available_at_col: str = "available_at",
) -> Panel:
    """Add the numeric columns of a frame of statements to a panel, each known from its `available_at` on.

    Parameters
    ----------
    statements : pl.DataFrame
        One row per symbol and period: `symbol_col`, `period_col`, `available_at_col` and numeric items.

    Raises
    ------
    FactorError
        A column is missing, or a statement is available before its period ends.
    """
    for name in (symbol_col, period_col, available_at_col):
        if name not in statements.columns:
            raise MissingColumnError(f"the statements have no column {name!r}", field=name)
    keys = statements.select(
        pl.col(symbol_col).cast(pl.String).alias("symbol"),
        parse_dates(statements[period_col].alias("date")).alias("period"),
        parse_dates(statements[available_at_col].alias("date")).alias("available"),
    )
    early = keys.filter(pl.col("available") < pl.col("period"))
    if len(early):
        rows = list(early.select("available", "symbol").head(10).iter_rows())
        raise FactorError(
            "a statement is available before its period ends", field=available_at_col, rows=rows, n_rows=len(early)
        )
    order = (
        keys.with_row_index("row")
        .filter(pl.col("symbol").is_in(list(panel.symbols)))
        .sort("symbol", "period", "available")
    )
    position = {symbol: column for column, symbol in enumerate(panel.symbols)}
    columns = np.array([position[symbol] for symbol in order["symbol"]], dtype=np.intp)
    rank = order.select(pl.int_range(pl.len()).over("symbol")).to_series().to_numpy()
    depth = int(rank.max()) + 1 if len(rank) else 0
    available = np.full((depth, panel.n_assets), np.datetime64("NaT", "D"))
    available[rank, columns] = order["available"].to_numpy().astype("datetime64[D]")
    fields = dict(panel.fields)
    for name in statements.columns:
        if name in (symbol_col, period_col, available_at_col) or not statements[name].dtype.is_numeric():
            continue
        wide = np.full((depth, panel.n_assets), np.nan)
        wide[rank, columns] = statements[name].cast(pl.Float64).to_numpy()[order["row"].to_numpy()]
        fields[name] = as_of(panel.dates, available, wide)
    return Panel(panel.dates, panel.symbols, fields, panel.categories)
