"""How many rows a year has, from dates alone."""

import numpy as np
import pytest

from factors.analytics.performance import performance
from factors.analytics.tear_sheet import TearSheetSettings, tear_sheet
from factors.panel.frequency import periods_per_year, rows_of_days

START = np.datetime64("2015-01-02")
EVERY = START + np.arange(2000)
WEEKDAYS = EVERY[np.is_busday(EVERY)]
HOLIDAYS = np.array(["2015-01-19", "2015-02-16", "2015-04-03", "2015-05-25", "2015-07-03"], "datetime64[D]")
MONTH_ENDS = (np.datetime64("2015-02", "M") + np.arange(60)).astype("datetime64[D]") - np.timedelta64(1, "D")


@pytest.mark.parametrize(
    ("dates", "periods"),
    [
        (WEEKDAYS, 252.0),
        (WEEKDAYS[~np.isin(WEEKDAYS, HOLIDAYS)], 252.0),
        (WEEKDAYS[:1], 252.0),
        (WEEKDAYS[:2], 252.0),  # a Friday and a Monday
        (np.delete(WEEKDAYS, np.arange(100, 400)), 252.0),  # a hole of a year
        (EVERY, 365.0),
        (EVERY[::7], 52.0),
        (np.delete(EVERY[::7], np.arange(20, 90)), 52.0),
        (EVERY[::14], 26.0),
        (MONTH_ENDS, 12.0),
        (MONTH_ENDS[::3], 4.0),
        (MONTH_ENDS[::12], 1.0),
        (EVERY[::3], 365.25 / 3.0),
    ],
)
def test_rows_a_year_come_from_how_far_dates_lie_apart(dates, periods):
    assert periods_per_year(dates) == pytest.approx(periods)


def test_a_horizon_of_trading_days_is_a_fifth_of_them_in_weekly_rows():
    assert [rows_of_days(10, periods) for periods in (252.0, 365.0, 52.0)] == pytest.approx([10.0, 10.0, 10 * 52 / 252])


def test_performance_and_tear_sheets_are_annualised_by_the_rows_of_a_year():
    rng = np.random.default_rng(3)
    returns = 0.02 * rng.standard_normal((120, 30))
    daily, weekly = (performance(returns[:, 0], periods=periods) for periods in (252.0, 52.0))
    assert weekly.annual_volatility == pytest.approx(float(np.std(returns[:, 0], ddof=1)) * 52**0.5)
    assert weekly.annual_return == pytest.approx((1.0 + daily.cumulative) ** (52 / 120) - 1.0)
    assert weekly.information_ratio / daily.information_ratio == pytest.approx((52 / 252) ** 0.5)
    scores = returns + rng.standard_normal(returns.shape)
    sheets = [
        tear_sheet(scores, returns, dates, TearSheetSettings(horizons=(1, 3))).figures
        for dates in (WEEKDAYS[:120], EVERY[: 120 * 7 : 7])
    ]
    assert [sheet["periods_per_year"] for sheet in sheets] == [252.0, 52.0]
    for one, other in zip(sheets[0]["horizons"], sheets[1]["horizons"], strict=True):
        assert other["spread"]["annual_ratio"] / one["spread"]["annual_ratio"] == pytest.approx((52 / 252) ** 0.5)
        assert other["spread"]["mean"] == one["spread"]["mean"]
