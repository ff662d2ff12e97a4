"""Small random panels with late listings, suspensions and zeros."""

from types import SimpleNamespace

import numpy as np
import pytest

from factors.library.language.names import FIELDS


def make_panel(n_dates: int, n_assets: int, seed: int = 0, *, dirty: bool = True) -> SimpleNamespace:
    """Fields, groups and dates of a random market."""
    rng = np.random.default_rng(seed)
    shape = (n_dates, n_assets)
    close = 50 * np.exp(np.cumsum(rng.standard_normal(shape) * 0.02, axis=0))
    open_ = close * np.exp(rng.standard_normal(shape) * 0.005)
    high = np.maximum(open_, close) * np.exp(np.abs(rng.standard_normal(shape)) * 0.005)
    low = np.minimum(open_, close) * np.exp(-np.abs(rng.standard_normal(shape)) * 0.005)
    volume = np.round(np.exp(rng.standard_normal(shape) * 0.5 + 8))
    fields = {
        "open": open_,
        "high": high,
        "low": low,
        "close": close,
        "volume": volume,
        "vwap": (high + low + close) / 3,
    }
    fields["market_cap"] = close * np.exp(rng.standard_normal(n_assets))
    fields["shares"] = fields["market_cap"] / close
    if dirty and n_assets > 3:
        for values in fields.values():
            values[: n_dates // 3, 0] = np.nan
            values[n_dates // 2 : n_dates // 2 + 2, 1] = np.nan
        volume[n_dates // 4, 2] = 0.0
        close[n_dates // 5 : n_dates // 5 + 8, 3] = close[n_dates // 5, 3]
    returns = np.full(shape, np.nan)
    returns[1:] = close[1:] / close[:-1] - 1
    fields["returns"] = returns
    market = np.nanmean(returns[1:], axis=1) if n_dates > 1 else np.zeros(0)
    fields["benchmark_return"] = np.full(shape, np.nan)
    fields["benchmark_return"][1:] = market[:, None]
    fields["benchmark_close"] = np.repeat(100 * np.cumprod(1 + np.r_[0, market])[:, None], n_assets, axis=1)
    fields["benchmark_open"] = fields["benchmark_close"] * np.exp(rng.standard_normal((n_dates, 1)) * 0.003)
    fields["rf"] = np.full(shape, 1e-4)
    flow = np.cumprod(1 + rng.standard_normal(shape) * 0.002, axis=0)
    for k, name in enumerate(sorted(FIELDS - set(fields))):
        fields[name] = flow * (100 + 10 * k) * np.exp(rng.standard_normal(shape) * 0.01)
    codes = np.tile(np.arange(n_assets), (n_dates, 1))
    groups = {"sector": codes % 3, "industry": codes % 4, "subindustry": codes % 5, "exchange": codes % 2}
    groups["country"] = codes % 2
    if n_assets > 6:
        groups["industry"][:, 6] = -1
    # business days from a Thursday, so that weeks, months and the turn of a year are crossed
    dates = np.busday_offset("2014-12-04", np.arange(n_dates), roll="forward")
    return SimpleNamespace(fields=fields, groups=groups, dates=dates)


@pytest.fixture(scope="session")
def panel():
    return make_panel(64, 9)


@pytest.fixture(scope="session")
def panel_of():
    return make_panel
