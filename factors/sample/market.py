"""A deterministic market with planted factors, whose truth is returned beside it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from factors.errors import SettingsError
from factors.panel.availability import as_of
from factors.panel.panel import Array, Categories, Panel
from factors.sample.fields import benchmark, fundamentals, payouts, prices, share_changes

SECTORS = (
    "Communication",
    "Consumer",
    "Energy",
    "Financials",
    "Health Care",
    "Industrials",
    "Materials",
    "Real Estate",
    "Technology",
    "Utilities",
)
STYLES = ("beta", "momentum", "size", "value", "liquidity")
MOMENTUM_LAG = 21
MOMENTUM_DECAY = 0.5 ** (1 / 126)


@dataclass(frozen=True)
class Truth:
    """What was planted.

    Attributes
    ----------
    factor_names : tuple of str
        ("market", *sectors, *styles).
    factor_returns : float64 [n_dates, K]
        Daily. Sector returns have cap-weighted mean zero on each date.
    exposures : float64 [n_dates, n_styles, n_assets]
        Known at the end of the day before, applied to the returns of the date; NaN where the asset is not listed.
    specific_volatility : float64 [n_assets]
        Daily standard deviation.
    specific_returns : float64 [n_dates, n_assets]
    """

    factor_names: tuple[str, ...]
    factor_returns: Array
    exposures: Array
    specific_volatility: Array
    specific_returns: Array


@dataclass(frozen=True)
class SampleMarket:
    """A sample panel, the statements behind its fundamentals, and the truth.

    Attributes
    ----------
    panel : Panel
    truth : Truth
    statements : pl.DataFrame
        One row per symbol and fiscal quarter: symbol, period_end, available_at, and the items of the quarter.
    """

    panel: Panel
    truth: Truth
    statements: pl.DataFrame


def sample_market(
    n_assets: int = 420,
    n_days: int = 1820,
    seed: int = 7,
    *,
    start: str = "2019-01-01",
    market_volatility: float = 0.01,
    sector_volatility: float = 0.006,
    style_volatility: float = 0.003,
    specific_volatility: float = 0.02,
    tail_df: float = 5.0,
    quiet_share: float = 0.25,
) -> SampleMarket:
    """Generate a market of daily data with planted market, sector and style factors.

    Returns of day t are ``market + sector + exposures(t-1) @ styles + specific``. Size (small minus big), momentum and
    value follow from the simulated prices; beta and liquidity are traits of the asset. The beta style's return is
    mostly the market's, so that a regression of the asset on the market finds it. Specific returns are Student t with
    `tail_df` degrees of freedom; volatility falls with size; its root mean square over assets is
    `specific_volatility`. One asset in eight lists late, one in sixteen delists, some are suspended for weeks, and
    single values are missing. The least liquid `quiet_share` of the names has days without a trade (volume and return
    0). Shares are issued and bought back; dividends are paid on ex-dates, on which the close falls by them and the
    return does not.

    Parameters
    ----------
    n_assets, n_days : int
        At least 20 assets and 30 days.
    seed : int
        The same arguments give the same bytes.
    market_volatility, sector_volatility, style_volatility, specific_volatility : float
        Daily standard deviations.
    tail_df : float
        Degrees of freedom of specific returns, above 2.
    quiet_share : float
        In [0, 1]; at 0 every listed name trades on every day.

    Returns
    -------
    SampleMarket
    """
    if n_assets < 2 * len(SECTORS) or n_days < 30 or tail_df <= 2.0:
        raise SettingsError("a sample market has at least 20 assets, 30 days and tail_df above 2", field="n_assets")
    if not 0.0 <= quiet_share <= 1.0:
        raise SettingsError(f"quiet_share is {quiet_share}; expected 0 to 1", field="quiet_share")
    rng = np.random.default_rng(seed)
    dates = np.busday_offset(np.datetime64(start, "D"), np.arange(n_days), roll="forward")
    symbols = tuple(f"S{number:04d}" for number in range(n_assets))
    alive, suspended = _listings(rng, n_days, n_assets)
    trading = alive & ~suspended
    codes, categories = _classification(rng, alive)
    log_cap = rng.normal(22.0, 1.4, n_assets)
    volatility = np.exp(-0.25 * (log_cap - 22.0) + rng.normal(0.0, 0.1, n_assets))
    volatility *= specific_volatility / np.sqrt(np.mean(volatility**2))
    traits = rng.normal(size=(2, n_assets))
    market = market_volatility * _tails(rng, n_days, 6.0) + 0.0003
    sectors = sector_volatility * rng.normal(size=(n_days, len(SECTORS)))
    styles = style_volatility * rng.normal(size=(n_days, len(STYLES)))
    styles[:, 0] = 0.9 * style_volatility * (market - 0.0003) / market_volatility + np.sqrt(0.19) * styles[:, 0]
    specific = volatility * _tails(rng, (n_days, n_assets), tail_df)
    statements, reports = fundamentals(rng, symbols, dates, log_cap)
    daily = {name: as_of(dates, reports.available_at, values) for name, values in reports.known.items()}
    quiet = _quiet_days(rng, traits[1], trading, quiet_share)
    ratios = np.stack([daily[item] for item in ("book", "sales", "cash_flow")], axis=1)
    issued, paid = share_changes(rng, dates, reports), payouts(dates, reports)
    path = _Path(trading & ~quiet, alive, codes, log_cap, traits, ratios, issued, paid)
    returns, moves, caps, exposures, sectors = path.run(market, sectors, styles, specific)
    truth = Truth(
        ("market", *SECTORS, *STYLES),
        np.column_stack([market, sectors, styles]),
        exposures,
        volatility,
        np.where(path.moving, specific, np.nan),
    )
    fields = prices(rng, moves, caps, trading, quiet, traits[1], volatility)
    fields |= {name: np.where(alive, values, np.nan) for name, values in daily.items()}
    for ratio, item in (("book_price", "book"), ("sales_price", "sales"), ("cf_price", "cash_flow")):
        fields[ratio] = fields[item] / caps
    fields |= benchmark(fields, returns)
    lost = rng.random(returns.shape) < 0.001
    fields["returns"] = np.where(trading & ~lost, returns, np.nan)
    first = alive.argmax(axis=0)
    fields["returns"][first, np.arange(n_assets)] = np.nan
    return SampleMarket(Panel(dates, symbols, fields, categories), truth, statements)


def _tails(rng: np.random.Generator, shape: int | tuple[int, int], df: float) -> Array:
    """Student t scaled to variance one."""
    draws: Array = rng.standard_t(df, shape) * np.sqrt((df - 2.0) / df)
    return draws


def _listings(rng: np.random.Generator, n_days: int, n_assets: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Where an asset is listed, and where it is suspended, [n_days, n_assets]."""
    first = np.zeros(n_assets, dtype=int)
    last = np.full(n_assets, n_days)
    order = rng.permutation(n_assets)
    late, gone = order[: n_assets // 8], order[n_assets // 8 : n_assets // 8 + n_assets // 16]
    first[late] = rng.integers(n_days // 20, max(n_days * 4 // 5, n_days // 20 + 1), len(late))
    last[gone] = rng.integers(n_days // 3, n_days, len(gone))
    day = np.arange(n_days)[:, None]
    alive = (day >= first) & (day < last)
    suspended = np.zeros_like(alive)
    for asset in rng.choice(n_assets, n_assets // 15, replace=False):
        begin = int(rng.integers(0, n_days))
        suspended[begin : begin + int(rng.integers(5, 21)), asset] = True
    suspended[first.clip(max=n_days - 1), np.arange(n_assets)] = False
    return alive, suspended & alive


def _quiet_days(
    rng: np.random.Generator, liquidity: Array, trading: NDArray[np.bool_], share: float
) -> NDArray[np.bool_]:
    """Days without a trade: the least liquid have 2 to 15 % of them."""
    illiquid = (liquidity <= np.quantile(liquidity, share)) & (share > 0.0)
    rate = np.where(illiquid, rng.uniform(0.02, 0.15, len(liquidity)), 0.0)
    return (rng.random(trading.shape) < rate) & trading


def _classification(
    rng: np.random.Generator, alive: NDArray[np.bool_]
) -> tuple[NDArray[np.int16], dict[str, Categories]]:
    """Sector codes [n_assets] and the categories; two industries a sector, two subindustries an industry."""
    n_assets = alive.shape[1]
    sub = rng.permutation(n_assets) % (4 * len(SECTORS))
    sub_names = tuple(f"{sector} {industry}{part}" for sector in SECTORS for industry in "AB" for part in "12")
    names = {"sector": SECTORS, "industry": tuple(name[:-1] for name in sub_names[::2]), "subindustry": sub_names}
    categories = {}
    for name, width in (("sector", 4), ("industry", 2), ("subindustry", 1)):
        codes = np.where(alive, sub // width, -1).astype(np.int16)
        categories[name] = Categories(codes, names[name])
    return (sub // 4).astype(np.int16), categories


@dataclass
class _Path:
    """The day by day simulation: exposures depend on the prices that the returns made."""

    moving: NDArray[np.bool_]
    alive: NDArray[np.bool_]
    codes: NDArray[np.int16]
    log_cap: Array
    traits: Array
    ratios: Array
    issued: Array
    paid: Array

    def run(self, market: Array, sectors: Array, styles: Array, specific: Array) -> tuple[Array, ...]:
        """Give returns, price moves and caps [n_days, n_assets], exposures of the styles, and sector returns."""
        n_days, n_assets = specific.shape
        returns = np.zeros((n_days, n_assets))
        moves = np.zeros((n_days, n_assets))
        caps = np.empty((n_days, n_assets))
        exposures = np.full((n_days, len(STYLES), n_assets), np.nan)
        sectors = sectors.copy()
        cap = np.exp(self.log_cap)
        logs = np.zeros((n_days, n_assets))
        trend = np.zeros(n_assets)
        for day in range(n_days):
            alive = self.alive[day]
            known = max(day - 1, 0)
            if day > MOMENTUM_LAG:
                trend = MOMENTUM_DECAY * trend + logs[day - 1 - MOMENTUM_LAG]
            weights = np.where(alive, cap, 0.0)
            weights /= weights.sum()
            raw = np.stack(
                [
                    self.traits[0],
                    trend,
                    -np.log(cap),
                    self._value(self.ratios[known] / cap, alive, weights),
                    self.traits[1],
                ]
            )
            z = _standardise(raw, alive, weights)
            held = np.bincount(self.codes, weights, minlength=len(SECTORS))
            sectors[day] -= sectors[day] @ held
            move = market[day] + sectors[day][self.codes] + styles[day] @ z + specific[day]
            move = np.where(self.moving[day], np.clip(move, -0.7, 1.5), 0.0)
            returns[day] = move
            logs[day] = np.log1p(move)
            # A dividend takes at most 3 % of the price, and none is paid on a day without a trade.
            yielded = np.where(self.moving[day], np.minimum(self.paid[day] / cap, 0.03), 0.0)
            moves[day] = move - yielded
            cap = cap * (1.0 + moves[day]) * self.issued[day]
            caps[day] = np.where(alive, cap, np.nan)
            exposures[day] = np.where(alive, z, np.nan)
        return returns, moves, caps, exposures, sectors

    @staticmethod
    def _value(ratios: Array, alive: NDArray[np.bool_], weights: Array) -> Array:
        """Mean of standardised log book, log sales and cash flow to price; a ratio not known counts as average."""
        raw = np.stack([np.log(ratios[0]), np.log(ratios[1]), ratios[2]])
        known = np.where(np.isfinite(raw), raw, np.nanmean(raw, axis=1, keepdims=True))
        composite: Array = _standardise(known, alive, weights).mean(axis=0)
        return composite


def _standardise(raw: Array, alive: NDArray[np.bool_], weights: Array) -> Array:
    """Cap-weighted mean 0, equal-weighted deviation 1, cut at three deviations, [n_styles, n_assets]."""
    count = alive.sum()
    z = np.where(alive, raw, 0.0)
    for _ in range(2):
        z = np.where(alive, z - (z @ weights)[:, None], 0.0)
        spread = np.sqrt((z**2).sum(axis=1) / count - (z.sum(axis=1) / count) ** 2)
        z = np.clip(z / np.where(spread > 0.0, spread, 1.0)[:, None], -3.0, 3.0)
    return np.where(alive, z - (z @ weights)[:, None], 0.0)
