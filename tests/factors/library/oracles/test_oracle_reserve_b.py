"""The second part of the reserve against its papers' formulas in plain numpy, one name and one window at a time."""

import numpy as np
import pytest
import tearing

# The slow side meets empty slices and divides by what is missing.
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")

DATES = tearing.DATES["reserve_b"]


def sessions(s):
    """Log returns over night and over the day."""
    day = np.log(s.close / s.f["open"])
    return s.lr - day, day


def deviation(x):
    return np.std(x, ddof=1)


def tug_of_war(s, t):
    night, day = (s.each(t, 252, 120, np.mean, part) for part in sessions(s))
    return night - day


def daytime_reversals(s, t):
    night, day = sessions(s)
    turned = np.where(np.isfinite(night) & np.isfinite(day), (night > 0) & (day < 0), np.nan)
    return s.each(t, 21, 15, np.mean, turned) / positive(s.each(t, 252, 120, np.mean, turned))


def positive(x):
    return np.where(x > 0, x, np.nan)


def overnight_variance(s, t):
    return (s.each(t, 126, 60, deviation, sessions(s)[0]) / s.each(t, 126, 60, deviation, s.lr)) ** 2


def lottery(s, t):
    def skewness(y, x):
        e = s.fit(y, x)[1]
        return np.mean(e**3) / np.mean(e**2) ** 1.5

    def spread(y, x):
        e = s.fit(y, x)[1]
        return np.sqrt(e @ e / (len(e) - 2))

    m = s.wide(s.market)
    parts = s.each(t, 126, 60, spread, s.r, m), s.each(t, 126, 60, skewness, s.r, m), -s.close[t]
    return sum(s.share(np.where(s.here(t, "returns"), part, np.nan)) for part in parts) / 3


def same_weekday(s, t):
    return np.mean([s.r[t - 4 - 5 * week] for week in range(12)], axis=0)


def range_ratio(s, t):
    square = np.log(s.f["high"] / s.f["low"]) ** 2
    return s.each(t, 5, 5, np.mean, square) / s.each(t, 63, 45, np.mean, square)


def range_cv(s, t):
    return s.each(t, 63, 45, lambda x: deviation(x) / np.mean(x), np.log(s.f["high"] / s.f["low"]))


def impact(s):
    return np.where(s.dollars > 0, np.abs(s.r) / s.dollars, np.nan)


def down_to_up(s, t):
    falls, rises = (np.where(sign * s.r > 0, impact(s), np.nan) for sign in (-1, 1))
    return s.each(t, 126, 30, np.mean, falls) / s.each(t, 126, 30, np.mean, rises)


def synchronicity(s, t):
    def odds(y, x):
        r = np.corrcoef(y, x)[0, 1] ** 2
        return np.log(r / (1 - r))

    return s.each(t, 252, 120, odds, s.r, s.wide(s.market))


def cokurtosis(s, t):
    m = np.full(s.n_dates, np.nan)
    for u in range(s.n_dates):
        year = s.market[max(0, u - 251) : u + 1]
        if np.isfinite(year).sum() >= 120:
            m[u] = s.market[u] - np.nanmean(year)
    of_market = deviation(s.market[max(1, t - 251) : t + 1])
    pair = s.each(t, 252, 120, lambda y, x: np.cov(y, x)[0, 1], s.r, s.wide(m**3))
    return pair / (s.each(t, 252, 120, deviation, s.r) * of_market**3)


def relative_downside(s, t):
    m = s.wide(s.market)

    def slope(y, x):
        return s.fit(y, x)[0][1]

    falling = s.each(t, 252, 60, slope, np.where(m < 0, s.r, np.nan), m)
    return falling - s.each(t, 252, 120, slope, s.r, m)


def worst_days(s, t):
    worst = np.full(s.n_dates, np.nan)
    for u in range(s.n_dates):
        year = s.market[max(0, u - 251) : u + 1]
        known = year[np.isfinite(year)]
        if len(known) >= 120:
            worst[u] = s.market[u] <= np.quantile(known, 0.05) + 1e-15
    return s.each(t, 252, 6, np.mean, np.where(s.wide(worst) == 1, s.r, np.nan))


def commonality(s, t):
    i = impact(s)
    d = np.full(s.shape, np.nan)
    d[1:] = np.log(np.where(i[1:] > 0, i[1:], np.nan) / np.where(i[:-1] > 0, i[:-1], np.nan))
    return s.each(t, 126, 45, lambda y, x: s.fit(y, x)[0][1], d, s.wide(np.nanmean(d, axis=1)))


def month_among_traded(s, t):
    traded = s.here(t, "volume", "shares")
    month = np.where(s.here(t, "returns"), np.exp(s.month(t)) - 1, np.nan)
    turnover = np.where(traded, s.each(t, 21, 15, np.mean, s.turnover), np.nan)
    return (s.share(month) - 0.5) * s.share(turnover)


def acceleration(s, t):
    return s.each(t - 21, 105, 75, np.sum, s.lr) - s.each(t - 126, 126, 90, np.sum, s.lr)


def to_risk(s, t):
    return s.each(t - 21, 231, 165, np.sum, s.lr) / s.each(t, 252, 120, deviation, s.lr)


def change(numerator, denominator):
    return lambda s, t: s.f[numerator][t] / s.f[denominator][t] - s.f[numerator][t - 252] / s.f[denominator][t - 252]


def abnormal_investment(s, t):
    now, *before = (s.at(s.f["capex"] / s.f["sales"], t - lag) for lag in (0, 252, 504, 756))
    return now / np.mean(before, axis=0) - 1


FORMULAS = {
    "res_tug_of_war_252": tug_of_war,
    "res_daytime_reversals": daytime_reversals,
    "res_overnight_variance_126": overnight_variance,
    "res_lottery_stock": lottery,
    "res_worst_day_21": lambda s, t: -s.each(t, 21, 15, np.min, s.r),
    "res_same_weekday_12w": same_weekday,
    "res_range_ratio_5_63": range_ratio,
    "res_range_cv_63": range_cv,
    "res_amihud_down_up_126": down_to_up,
    "res_synchronicity_252": synchronicity,
    "res_cokurtosis_252": cokurtosis,
    "res_beta_down_relative_252": relative_downside,
    "res_worst_market_days_252": worst_days,
    "res_liquidity_commonality_126": commonality,
    "res_short_term_momentum": month_among_traded,
    "res_momentum_acceleration": acceleration,
    "res_momentum_to_risk": to_risk,
    "res_asset_turnover_change": change("sales", "assets"),
    "res_margin_change": change("ebit", "sales"),
    "res_gross_profit_to_sales_growth": lambda s, t: (
        s.f["gross_profit"][t] / s.f["gross_profit"][t - 252] - s.f["sales"][t] / s.f["sales"][t - 252]
    ),
    "res_operating_leverage": lambda s, t: (s.f["sales"] - s.f["ebitda"])[t] / s.f["assets"][t],
    "res_net_operating_assets": lambda s, t: (s.f["book"] + s.f["debt"] - s.f["cash"])[t] / s.f["assets"][t - 252],
    "res_leverage_change": change("debt", "assets"),
    "res_sustainable_growth": lambda s, t: (s.f["earnings"] - s.f["dividends"])[t] / s.f["book"][t - 252],
    "res_sales_to_cash": lambda s, t: s.f["sales"][t] / s.f["cash"][t],
    "res_abnormal_investment": abnormal_investment,
}


@pytest.fixture(scope="module")
def values(calculate):
    return calculate(FORMULAS)


@pytest.mark.parametrize("date", DATES)
@pytest.mark.parametrize("name", FORMULAS)
def test_measure_equals_its_papers_formula(name, date, slow, values, of_today):
    expected = FORMULAS[name](slow, date)
    assert np.isfinite(expected).sum() > 25 or date < 800
    np.testing.assert_allclose(values[name][date], of_today(name, date, expected), rtol=1e-7, atol=1e-11)


def test_measure_equals_its_papers_formula_on_real_data(equal_on_real_data):
    computed, compared = equal_on_real_data(FORMULAS, rtol=1e-7, atol=1e-11)
    assert computed == 17
    assert compared > 1000


def test_every_entry_is_compared(ids_of):
    assert set(FORMULAS) == set(ids_of("reserve_b.toml"))
