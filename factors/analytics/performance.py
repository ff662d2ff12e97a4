"""How return series did: mean, volatility, information ratio, drawdown; and how crowded a factor's names are."""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from factors.analytics.significance import mean_t_statistic
from factors.errors import FactorError
from factors.notebook.shown import Figures
from factors.panel.frequency import TRADING_DAYS
from factors.risk.arrays import FloatArray, as_matrix, as_vector

ROUNDING = 1e-12
"""Of returns, as a share of their size: what differs by less is one number."""


@dataclass(frozen=True, slots=True)
class Performance(Figures):
    """A series of simple daily returns in figures; NaN days are left out.

    Attributes
    ----------
    n_days
        Days with a return.
    mean
        Per day.
    volatility
        Standard deviation per day, with `n - 1`.
    t_statistic
        Of the mean, with Newey-West errors of five lags.
    annual_return
        Compounded return a year of `periods` rows.
    annual_volatility
        Volatility times the root of `periods`.
    information_ratio
        Mean over volatility, times the root of `periods`.
    cumulative
        Compounded return of the whole period.
    max_drawdown
        The deepest fall from a peak, at most 0.
    drawdown_start, drawdown_end
        Positions of that peak and of the trough in the series; -1 where it never fell.
    share_positive
        Share of days above 0.
    """

    DRAWN: ClassVar = ("annual_return", "annual_volatility", "cumulative", "max_drawdown")
    FORM: ClassVar = ".2%"

    n_days: int
    mean: float
    volatility: float
    t_statistic: float
    annual_return: float
    annual_volatility: float
    information_ratio: float
    cumulative: float
    max_drawdown: float
    drawdown_start: int
    drawdown_end: int
    share_positive: float

    def _caption(self) -> str:
        return f"Performance over {self.n_days} days"


def performance(returns: FloatArray, lags: int = 5, periods: float = TRADING_DAYS) -> Performance:
    """Return a series' figures.

    Parameters
    ----------
    returns
        `[n_dates]` simple daily returns above -100 %.
    lags
        Newey-West lags of the t-statistic.
    periods
        Rows a year; `factors.panel.frequency.periods_per_year` gives it from dates.

    Raises
    ------
    FactorError
        A return of -100 % or less.
    """
    series = as_vector("returns", returns)
    seen = ~np.isnan(series)
    known = series[seen]
    if (known <= -1.0).any():
        raise FactorError("returns must be above -100 %", field="returns")
    nan = float("nan")
    if known.size < 2:
        total = float(known[0]) if known.size else nan
        return Performance(int(known.size), total, nan, nan, nan, nan, nan, total, nan, -1, -1, nan)
    wealth = np.concatenate([[1.0], np.cumprod(1.0 + known)])
    peaks = np.maximum.accumulate(wealth)
    falls = wealth / peaks - 1.0
    trough = int(falls.argmin())
    rows = np.flatnonzero(seen)
    fell = falls[trough] < 0.0
    # A constant's deviation is its rounding, and a ratio to that says nothing.
    flat = float(np.ptp(known)) <= ROUNDING * float(np.abs(known).max())
    mean, deviation = float(known.mean()), 0.0 if flat else float(known.std(ddof=1))
    return Performance(
        n_days=int(known.size),
        mean=mean,
        volatility=deviation,
        t_statistic=nan if flat else mean_t_statistic(known, lags),
        annual_return=float(wealth[-1] ** (periods / known.size) - 1.0),
        annual_volatility=deviation * math.sqrt(periods),
        information_ratio=mean / deviation * math.sqrt(periods) if deviation > 0.0 else nan,
        cumulative=float(wealth[-1] - 1.0),
        max_drawdown=float(falls[trough]),
        # The peak is the close before the first day of the fall; the series' own first day has none.
        drawdown_start=int(rows[max(int(wealth[: trough + 1].argmax()) - 1, 0)]) if fell else -1,
        drawdown_end=int(rows[trough - 1]) if fell else -1,
        share_positive=float((known > 0.0).mean()),
    )


def crowding(residuals: FloatArray, members: np.ndarray) -> float:
    r"""Return the mean correlation between specific returns of a factor's names, a measure of crowding.

    When many hold the same names for the same reason, what the model does not explain of them begins to move together
    (Lou and Polk 2022, "Comomentum"). The mean of all pairs comes from the variance of the sum of standardised
    returns: :math:`(\bar{s} n - 1) / (n - 1)`.

    Parameters
    ----------
    residuals
        `[n_dates, n_assets]` specific returns of the window.
    members
        `[n_assets]` which names belong to it, such as the highest tenth by score; those with fewer than half of the
        days are left out.

    Returns
    -------
    float
        NaN for fewer than two names.
    """
    window = as_matrix("residuals", residuals)[:, np.asarray(members, dtype=np.bool_)]
    seen = ~np.isnan(window)
    window = window[:, seen.sum(axis=0) * 2 >= len(window)]
    n = window.shape[1]
    if n < 2 or len(window) < 3:
        return float("nan")
    centred = window - np.nanmean(window, axis=0)
    filled = np.nan_to_num(centred)
    size = np.sqrt((filled**2).sum(axis=0))
    standard = filled[:, size > 0.0] / size[size > 0.0]
    n = standard.shape[1]
    if n < 2:
        return float("nan")
    return float(((standard.sum(axis=1) ** 2).sum() - n) / (n * (n - 1)))
