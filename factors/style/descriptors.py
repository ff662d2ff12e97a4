"""Descriptors: the raw measures of which styles are made, with the parameters of CNE5 and USE4.

Sources: Menchero, Orr and Wang, "The Barra US Equity Model (USE4)", Methodology and Empirical Notes (2011); "The Barra
China Equity Model (CNE5)", Descriptor Definitions (2012). Returns stand for excess returns: over a day the risk-free
rate is far below the noise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from factors.factor_model.settings import StyleSettings
from factors.numeric.kernels import rolling_product, rolling_sum
from factors.numeric.threads import spread
from factors.numeric.weights import exp_weights
from factors.numeric.window_sums import FIT, MEAN, WindowSums
from factors.panel.panel import Array
from factors.style.descriptor_kernels import MONTH, MONTHS, cumulative_range, yearly_slope

YEAR = 252
BETA_HALF_LIFE = 63
SPREAD_HALF_LIFE = 42
REVERSAL_HALF_LIFE = 5
YEARS_OF_GROWTH = 5
LEAST_YEARS = 3
COLUMNS_A_THREAD = 512


@dataclass(frozen=True)
class Inputs:
    """What a descriptor may read for a run of new dates.

    Attributes
    ----------
    windows : mapping of series to float64 [n_rows, n_assets]
        Each ends with the new dates and begins with the earlier rows that its descriptors look back on.
    market : float64 [n_rows]
        Return of the cap-weighted estimation universe, the same rows as the returns.
    n_new : int
    settings : StyleSettings
    threads : int
    days : int64 [n_rows]
        Days since the epoch of the longest window's rows, for the sums.
    sums : mapping of name to WindowSums
        Those of `SUMS` that are asked for.
    keep : bool
        Whether the sums take the new dates.
    """

    windows: Mapping[str, Array]
    market: Array
    n_new: int
    settings: StyleSettings
    threads: int = 1
    days: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    sums: Mapping[str, WindowSums] = field(default_factory=dict)
    keep: bool = True

    def new(self, name: str) -> Array:
        """Give the rows of the new dates."""
        values = self.windows[name]
        return values[len(values) - self.n_new :]

    def each(self, name: str, kernel: Callable[[Array, int, int, int, Array], None]) -> Array:
        """Run ``kernel(x, first, a, b, out)`` over the columns, shared among threads."""
        x = self.windows[name]
        out = np.empty((self.n_new, x.shape[-1]))
        spread(lambda a, b: kernel(x, len(x) - self.n_new, a, b, out), x.shape[-1], self.threads, COLUMNS_A_THREAD)
        return out

    def sum(self, which: str, name: str) -> Array:
        """Give the answers of one of the sums over a series, [n_answers, n_new, n_assets]."""
        x = self.windows[name]
        market, days = self.market[-len(x) :], self.days[-len(x) :]
        return self.sums[which].compute(x, market, days, self.n_new, self.threads, COLUMNS_A_THREAD, keep=self.keep)


@dataclass(frozen=True)
class Descriptor:
    """A raw measure.

    Attributes
    ----------
    series : tuple of str
        Derived series that it reads (see `series.DERIVED`).
    rows : int
        How many rows of them, the new one included.
    compute : callable of Inputs to float64 [n_new, n_assets]
    """

    series: tuple[str, ...]
    rows: int
    compute: Callable[[Inputs], Array]


def momentum(inputs: Inputs) -> Array:
    """Compounded weighted return, or weighted sum of log returns, lagged (settings mom)."""
    s = inputs.settings.mom
    weights = exp_weights(s.trailing_days, s.half_life)
    least = max(1, round(s.least_observations * s.trailing_days))
    if s.formula == "log_sum":
        return inputs.each(
            "log_return", lambda x, first, a, b, out: rolling_sum(x, weights, s.lag, least, False, first, a, b, out)
        )
    return inputs.each(
        "returns", lambda x, first, a, b, out: rolling_product(x, weights, s.lag, least, first, a, b, out)
    )


def market_fit(inputs: Inputs) -> dict[str, Array]:
    """Beta and HSIGMA (252 days, half-life 63) and DASTD (252 days, half-life 42) in one pass."""
    return dict(zip(("beta", "hsigma", "dastd"), inputs.sum("fit", "returns"), strict=True))


def cmra(inputs: Inputs) -> Array:
    """Cumulative range over twelve months."""
    return inputs.each("month_of_log_returns", cumulative_range)


def turnover(days: int) -> Callable[[Inputs], Array]:
    """Make ln of the average monthly turnover over `days`: STOM (21), STOQ (63), STOA (252)."""
    weights = np.ones(days)

    def compute(inputs: Inputs) -> Array:
        if days == YEAR:
            return log_positive(inputs.sum("yearly_turnover", "turnover")[0] * MONTH)
        mean = inputs.each(
            "turnover", lambda x, first, a, b, out: rolling_sum(x, weights, 0, days // 2, True, first, a, b, out)
        )
        return log_positive(mean * MONTH)

    return compute


def reversal(inputs: Inputs) -> Array:
    """Minus the weighted log return of the last 21 days, half-life 5: a past loser scores high."""
    weights = exp_weights(MONTH, REVERSAL_HALF_LIFE)
    return -inputs.each(
        "log_return", lambda x, first, a, b, out: rolling_sum(x, weights, 0, MONTH // 2, False, first, a, b, out)
    )


def growth(series: str) -> Callable[[Inputs], Array]:
    """Make the slope per year of a per-share item over five years, over the mean of its size (EGRO, SGRO)."""

    def compute(inputs: Inputs) -> Array:
        return inputs.each(
            series,
            lambda x, first, a, b, out: yearly_slope(x, YEAR, YEARS_OF_GROWTH, LEAST_YEARS, first, a, b, out),
        )

    return compute


def latest(series: str) -> Callable[[Inputs], Array]:
    """Make a descriptor of the day's own value of a series."""
    return lambda inputs: inputs.new(series).copy()


def log_positive(values: Array) -> Array:
    """Give the logarithm, NaN where there is none."""
    return np.log(values, out=np.full_like(values, np.nan), where=values > 0.0)


def ratio(numerator: Array, denominator: Array) -> Array:
    """Give the ratio, NaN where the denominator is not positive."""
    return np.divide(numerator, denominator, out=np.full_like(numerator, np.nan), where=denominator > 0.0)


def _fit_sums() -> WindowSums:
    ages = np.arange(YEAR + 1)
    fit, spread_of, even = (np.exp(-np.log(2.0) / h * ages) for h in (BETA_HALF_LIFE, SPREAD_HALF_LIFE, np.inf))
    return WindowSums(FIT, np.stack([*[fit] * 6, *[spread_of] * 3, even]), YEAR // 4, 3)


# Sums over a year, and the descriptors that read them.
SUMS: dict[str, tuple[Callable[[], WindowSums], frozenset[str]]] = {
    "fit": (_fit_sums, frozenset({"beta", "hsigma", "dastd"})),
    "yearly_turnover": (lambda: WindowSums(MEAN, np.ones((2, YEAR + 1)), YEAR // 2, 1), frozenset({"stoa"})),
}
MONTHS_OF_ROWS = MONTH * (MONTHS - 1) + 1
GROWTH_ROWS = YEAR * (YEARS_OF_GROWTH - 1) + 1

DESCRIPTORS: dict[str, Descriptor] = {
    "size": Descriptor(("size",), 1, latest("size")),
    "book_price": Descriptor(("log_book_price",), 1, latest("log_book_price")),
    "sales_price": Descriptor(("log_sales_price",), 1, latest("log_sales_price")),
    "cf_price": Descriptor(("cash_flow_price",), 1, latest("cash_flow_price")),
    "cmra": Descriptor(("log_return",), YEAR, cmra),
    "stom": Descriptor(("turnover",), MONTH, turnover(MONTH)),
    "stoq": Descriptor(("turnover",), 3 * MONTH, turnover(3 * MONTH)),
    "stoa": Descriptor(("turnover",), YEAR, turnover(YEAR)),
    "epfwd": Descriptor(("forward_earnings_price",), 1, latest("forward_earnings_price")),
    "cetop": Descriptor(("cash_earnings_price",), 1, latest("cash_earnings_price")),
    "etop": Descriptor(("earnings_price",), 1, latest("earnings_price")),
    "egrlf": Descriptor(("growth_forecast_long",), 1, latest("growth_forecast_long")),
    "egrsf": Descriptor(("growth_forecast_short",), 1, latest("growth_forecast_short")),
    "egro": Descriptor(("earnings_per_share",), GROWTH_ROWS, growth("earnings_per_share")),
    "sgro": Descriptor(("sales_per_share",), GROWTH_ROWS, growth("sales_per_share")),
    "mlev": Descriptor(("market_leverage",), 1, latest("market_leverage")),
    "dtoa": Descriptor(("debt_to_assets",), 1, latest("debt_to_assets")),
    "blev": Descriptor(("book_leverage",), 1, latest("book_leverage")),
    "dtop": Descriptor(("dividend_price",), 1, latest("dividend_price")),
    "strev": Descriptor(("log_return",), MONTH, reversal),
}
