"""Prices, volumes, a benchmark and company statements for the sample market."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from factors.panel.panel import Array

QUARTERS_BEFORE = 24
QUARTER_DAYS = 91


@dataclass(frozen=True)
class Reports:
    """Statements as arrays.

    Attributes
    ----------
    available_at : datetime64[D] [n_quarters, n_assets]
    known : mapping of item to float64 [n_quarters, n_assets]
        Flows over twelve months under their plain name, over the quarter with the suffix `_q`; stocks at quarter end.
    """

    available_at: NDArray[np.datetime64]
    known: dict[str, Array]


def prices(
    rng: np.random.Generator,
    moves: Array,
    caps: Array,
    trading: NDArray[np.bool_],
    quiet: NDArray[np.bool_],
    liquidity: Array,
    volatility: Array,
) -> dict[str, Array]:
    """Give open, high, low, close, volume, vwap, market_cap and shares, [n_dates, n_assets].

    On a quiet day nothing trades: volume is 0 and every price is the close of the day before.
    """
    shape = moves.shape
    first_price = np.exp(rng.normal(3.6, 0.6, shape[1]))
    close = first_price * np.cumprod(1.0 + moves, axis=0)
    shares = caps / close
    previous = np.vstack([first_price, close[:-1]])
    opened = previous * np.exp(0.4 * volatility * rng.standard_normal(shape, dtype=np.float32))
    opened = np.where(quiet, close, opened)
    upper, lower = np.maximum(opened, close), np.minimum(opened, close)
    active = np.where(quiet, 0.0, volatility)
    high = upper * np.exp(0.5 * active * np.abs(rng.standard_normal(shape, dtype=np.float32)))
    low = lower * np.exp(-0.5 * active * np.abs(rng.standard_normal(shape, dtype=np.float32)))
    vwap = np.clip((opened + high + low + close) / 4.0, low, high)
    busy = 1.5 * np.abs(moves) / volatility
    noise = 0.35 * rng.standard_normal(shape, dtype=np.float32)
    turnover = np.exp(-5.3 + 0.6 * liquidity + 0.3 * (busy - 1.0) + noise)
    volume = np.where(quiet, 0.0, np.round(shares * turnover))
    fields = {"open": opened, "high": high, "low": low, "close": close, "volume": volume, "vwap": vwap}
    fields = {name: np.where(trading, values, np.nan) for name, values in fields.items()}
    return fields | {"market_cap": caps, "shares": shares}


def share_changes(rng: np.random.Generator, dates: NDArray[np.datetime64], reports: Reports) -> Array:
    """Give the factor by which shares grow on each day: 1, but on some report dates; three in ten buy back steadily."""
    n_assets = reports.available_at.shape[1]
    grown = np.ones((len(dates), n_assets))
    steady = np.where(rng.random(n_assets) < 0.3, -0.004, np.where(rng.random(n_assets) < 0.3, 0.003, 0.0))
    for quarter in reports.available_at:
        row = np.searchsorted(dates, quarter)
        size = np.where(rng.random(n_assets) < 0.3, rng.normal(0.0, 0.025, n_assets), 0.0) + steady
        inside = np.flatnonzero(~np.isnat(quarter) & (quarter >= dates[0]) & (row < len(dates)))
        grown[row[inside], inside] *= np.exp(size[inside])
    return grown


def payouts(dates: NDArray[np.datetime64], reports: Reports) -> Array:
    """Give the dividends of a quarter, in currency, on their ex-date: a week after the report."""
    paid = np.zeros((len(dates), reports.available_at.shape[1]))
    for quarter, amount in zip(reports.available_at, reports.known["dividends_q"], strict=True):
        ex = quarter + np.timedelta64(7, "D")
        row = np.searchsorted(dates, ex)
        inside = np.flatnonzero(~np.isnat(ex) & (ex >= dates[0]) & (row < len(dates)))
        paid[row[inside], inside] += amount[inside]
    return paid


def benchmark(fields: dict[str, Array], returns: Array) -> dict[str, Array]:
    """Give the cap-weighted index of the market as fields that are equal across assets; its return holds dividends."""
    close, caps = fields["close"], fields["market_cap"]
    weights = np.vstack([caps[:1], caps[:-1]])
    previous = np.vstack([close[:1], close[:-1]])
    held = np.isfinite(weights * previous * close)
    total = np.where(held, weights, 0.0).sum(axis=1)
    total[total == 0.0] = 1.0

    def index_move(values: Array) -> Array:
        moves: Array = np.where(held, weights * (values / previous - 1.0), 0.0).sum(axis=1) / total
        return moves

    level: Array = np.multiply(1000.0, np.cumprod(1.0 + index_move(close)), dtype=np.float64)
    before = np.concatenate([[1000.0], level[:-1]])
    series: dict[str, Array] = {name: before * (1.0 + index_move(fields[name])) for name in ("open", "high", "low")}
    total_return = index_move(previous * (1.0 + returns))
    series |= {"close": level, "return": total_return, "volume": np.nansum(fields["volume"], axis=1)}
    shape = close.shape
    wide = {name: np.repeat(values, shape[1]) for name, values in series.items()}
    return {f"benchmark_{name}": values.reshape(shape) for name, values in wide.items()}


def fundamentals(
    rng: np.random.Generator, symbols: tuple[str, ...], dates: NDArray[np.datetime64], log_cap: Array
) -> tuple[pl.DataFrame, Reports]:
    """Give quarterly statements from six years before the first date on, available 30 to 75 days after the quarter."""
    n_assets = len(symbols)
    span = int((dates[-1] - dates[0]) / np.timedelta64(1, "D"))
    n_quarters = QUARTERS_BEFORE + span // QUARTER_DAYS + 1
    ends = dates[0] + (np.arange(n_quarters) - QUARTERS_BEFORE) * QUARTER_DAYS
    cap = np.exp(log_cap)
    flows = _flows(rng, n_quarters, cap)
    stocks = _stocks(rng, flows, cap)
    lag = rng.integers(30, 76, (n_quarters, n_assets))
    available = ends[:, None] + lag.astype("timedelta64[D]")
    # Some companies never report research, some skip a filing.
    flows["rnd"][:, rng.random(n_assets) < 0.4] = np.nan
    available[rng.random(available.shape) < 0.005] = np.datetime64("NaT", "D")
    known = {f"{name}_q": values for name, values in flows.items()}
    known |= {name: _trailing_year(values) for name, values in flows.items()} | stocks
    stacked = {name: values.T.ravel() for name, values in known.items()}
    frame = pl.DataFrame(
        {
            "symbol": np.repeat(np.asarray(symbols), n_quarters),
            "period_end": np.tile(ends.astype("datetime64[D]"), n_assets),
            "available_at": available.T.ravel().astype("datetime64[D]"),
            **stacked,
        }
    )
    return frame.filter(pl.col("available_at").is_not_null()).with_columns(pl.col(pl.Float64).fill_nan(None)), Reports(
        available, known
    )


def _trailing_year(quarterly: Array) -> Array:
    total = np.full_like(quarterly, np.nan)
    total[3:] = quarterly[3:] + quarterly[2:-1] + quarterly[1:-2] + quarterly[:-3]
    return total


def _flows(rng: np.random.Generator, n_quarters: int, cap: Array) -> dict[str, Array]:
    """Items over a quarter, in currency, [n_quarters, n_assets]."""
    n_assets = len(cap)
    shape = (n_quarters, n_assets)
    trend = rng.normal(0.015, 0.012, n_assets)
    quarter = np.arange(n_quarters)[:, None]
    season = 0.05 * np.sin(np.pi / 2.0 * (quarter + rng.integers(0, 4, n_assets)))
    yearly = cap * np.exp(rng.normal(-0.8, 0.8, n_assets))
    path = trend * (quarter - QUARTERS_BEFORE) + np.cumsum(rng.normal(0.0, 0.02, shape), axis=0)
    sales = yearly / 4.0 * np.exp(path + season)
    gross = sales * np.clip(rng.normal(0.38, 0.1, n_assets) + rng.normal(0.0, 0.01, shape), 0.05, 0.9)
    ebitda = sales * np.clip(rng.normal(0.2, 0.09, n_assets) + rng.normal(0.0, 0.015, shape), -0.1, 0.5)
    ebit = ebitda - 0.04 * sales
    interest = sales * np.abs(rng.normal(0.012, 0.006, n_assets))
    earnings = 0.77 * (ebit - interest) + sales * rng.normal(0.0, 0.01, shape)
    pays = rng.random(n_assets) < 0.7
    return {
        "sales": sales,
        "gross_profit": gross,
        "ebitda": ebitda,
        "ebit": ebit,
        "interest": interest,
        "earnings": earnings,
        "cash_flow": earnings + 0.04 * sales + sales * rng.normal(0.0, 0.015, shape),
        "capex": sales * np.clip(rng.normal(0.05, 0.015, n_assets) + rng.normal(0.0, 0.004, shape), 0.005, 0.3),
        "rnd": sales * np.clip(rng.normal(0.05, 0.03, n_assets), 0.001, 0.3) * np.ones(shape),
        "dividends": np.where(pays, 0.35 * np.maximum(earnings, 0.0), 0.0),
    }


def _stocks(rng: np.random.Generator, flows: dict[str, Array], cap: Array) -> dict[str, Array]:
    """Items at the end of a quarter, in currency, [n_quarters, n_assets]."""
    n_assets = len(cap)
    start = cap * np.exp(rng.normal(-1.2, 0.7, n_assets))
    # Retained earnings build book; buybacks hold it to a floor so that its logarithm exists.
    book = np.maximum(start + np.cumsum(0.5 * (flows["earnings"] - flows["dividends"]), axis=0), 0.3 * start)
    debt = book * np.exp(rng.normal(-0.6, 0.6, n_assets) + np.cumsum(rng.normal(0.0, 0.03, book.shape), axis=0))
    other = flows["sales"] * 4.0 * np.exp(rng.normal(-1.2, 0.3, n_assets))
    assets = book + debt + other
    current_liabilities = other * 0.7
    return {
        "book": book,
        "debt": debt,
        "long_term_debt": debt * np.clip(rng.normal(0.75, 0.1, n_assets), 0.2, 1.0),
        "assets": assets,
        "cash": assets * np.clip(rng.normal(0.1, 0.04, n_assets), 0.01, 0.4),
        "liabilities": assets - book,
        "current_assets": assets * np.clip(rng.normal(0.4, 0.08, n_assets), 0.1, 0.8),
        "current_liabilities": current_liabilities,
        "receivables": flows["sales"] * 4.0 * 0.12,
        "inventory": flows["sales"] * 4.0 * np.clip(rng.normal(0.1, 0.04, n_assets), 0.0, 0.3),
        "ppe": assets * np.clip(rng.normal(0.35, 0.1, n_assets), 0.05, 0.8),
    }
