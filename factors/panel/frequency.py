"""How many rows a year has: what annual figures are made with."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

TRADING_DAYS = 252.0
"""Of daily dates, by convention, whatever holidays a market has."""
CALENDAR_DAYS = 365.0
DAYS_A_YEAR = 365.25
CONVENTIONS = np.array([104.0, 52.0, 26.0, 24.0, 12.0, 6.0, 4.0, 2.0, 1.0])
NEAR = 0.06
"""Weekly dates come to 52.2 a year, months of 28 to 31 days to 11.8 to 12.2."""
HOLE = 5.0
"""A gap of more than so many usual ones is a hole in the data, not its frequency."""
MOST_APART = 4.0
FEW_GAPS = 5
WEEKEND_SHARE = 0.2
"""Two days of seven are a weekend; where all trade, a year has 365 rows."""


def periods_per_year(dates: NDArray[np.datetime64]) -> float:
    """Give the number of rows that a year has, from how far dates lie apart.

    Parameters
    ----------
    dates : datetime64[D] [n_dates]
        Ascending, unique.

    Returns
    -------
    float
        252 for daily dates (also of fewer than six dates up to four days apart), 365 where weekends trade too; 104, 52,
        26, 24, 12, 6, 4, 2 or 1 where the mean gap comes near; else 365.25 over the mean gap. Gaps of more than five
        usual ones are left out.
    """
    days = dates.astype("datetime64[D]").astype(np.int64)
    gaps = np.diff(days)
    if not len(gaps):
        return TRADING_DAYS
    usual = float(np.median(gaps))
    if usual <= 1.0:
        weekend = float(((days + 3) % 7 >= 5).mean())  # 1970-01-01 was a Thursday
        return CALENDAR_DAYS if len(gaps) >= FEW_GAPS and weekend > WEEKEND_SHARE else TRADING_DAYS
    if len(gaps) < FEW_GAPS and usual <= MOST_APART:
        return TRADING_DAYS
    rate = DAYS_A_YEAR / float(gaps[gaps <= HOLE * usual].mean())
    nearest = float(CONVENTIONS[np.abs(np.log(CONVENTIONS / rate)).argmin()])
    return nearest if abs(rate / nearest - 1.0) <= NEAR else rate


def rows_of_days(n_days: float, periods: float) -> float:
    """Give how many rows a horizon of trading days has: of a weekly panel a fifth of them, of a daily one all."""
    return n_days * min(periods / TRADING_DAYS, 1.0)
