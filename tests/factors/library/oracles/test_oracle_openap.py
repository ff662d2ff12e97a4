"""OpenAP predictors against slow, plain numpy of their definitions, one date at a time."""

import numpy as np
import pytest
import tearing

from factors.library.definitions.agreement import oracles

# The slow side meets empty slices and divides by what is missing.
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")

DATES = tearing.DATES["openap"]
TREND_DATE = 1599
LAGS = (3, 5, 10, 20, 50, 100, 200, 400, 600, 800, 1000)


def bucket(x, n):
    """Quantile bucket 0 .. n-1 of the average rank."""
    known = np.isfinite(x).sum()
    from scipy.stats import rankdata

    out = np.full(len(x), np.nan)
    use = np.isfinite(x)
    out[use] = np.floor(n * (rankdata(x[use]) - 0.5) / known)
    return out


def six_months(s, t):
    return np.exp(s.each(t - 21, 105, 75, np.sum, s.lr)) - 1


def by_group(s, t, x, statistic):
    """Statistic of the known values of a name's industry."""
    codes = s.groups["industry"][t]
    out = s.nothing()
    for g in set(codes[codes >= 0]):
        use = (codes == g) & np.isfinite(x)
        if use.any():
            out[codes == g] = statistic(use)
    return out


def industry_momentum(s, t):
    m, cap = six_months(s, t), s.cap[t]
    both = np.where(np.isfinite(cap), m, np.nan)
    found = by_group(s, t, both, lambda use: cap[use] @ m[use] / cap[use].sum())
    return np.where(np.isfinite(cap), found, np.nan)


def big_returns(s, t):
    codes, cap, r = s.groups["industry"][t], s.cap[t], np.exp(s.month(t)) - 1
    inside = s.nothing()
    for g in set(codes[codes >= 0]):
        inside[codes == g] = s.share(cap[codes == g])
    leaders = np.where(inside > 0.7, r, np.nan)
    return np.where(inside <= 0.7, by_group(s, t, leaders, lambda use: leaders[use].mean()), np.nan)


def momentum_in_volume(s, t):
    m, volume = six_months(s, t), s.each(t, 126, 105, np.mean, s.f["volume"])
    m, volume = np.where(s.here(t, "returns"), m, np.nan), np.where(s.here(t, "volume"), volume, np.nan)
    out = np.where(bucket(volume, 3) == 2, bucket(m, 10) - 4.5, 0.0)
    return np.where(np.isfinite(m) & np.isfinite(volume), out, np.nan)


def momentum_and_reversal(s, t):
    """Quintiles of the day the return ends on, among the names that have a row on it."""
    m = bucket(np.where(s.here(t - 21, "returns"), s.each(t - 21, 105, 75, np.sum, s.lr), np.nan), 5)
    b = bucket(np.where(s.here(t - 252, "returns"), s.each(t - 252, 504, 375, np.sum, s.lr), np.nan), 5)
    out = ((m == 4) & (b == 0)).astype(float) - ((m == 0) & (b == 4))
    return np.where(np.isfinite(m) & np.isfinite(b), out, np.nan)


def lagged_markets(s, n):
    return [s.wide(np.concatenate([np.full(k, np.nan), s.market[: s.n_dates - k]])) for k in range(n)]


def r_squared(y, *xs):
    X = np.column_stack([np.ones(len(y)), *xs])
    e = y - X @ np.linalg.lstsq(X, y, rcond=None)[0]
    return 1 - e @ e / ((y - y.mean()) @ (y - y.mean()))


def delay_r2(s, t):
    return 1 - s.each(t, 252, 120, r_squared, s.r, s.wide(s.market)) / s.each(
        t, 252, 120, r_squared, s.r, *lagged_markets(s, 5)
    )


def delay_slope(s, t):
    def ratio(y, *xs):
        b = np.linalg.lstsq(np.column_stack([np.ones(len(y)), *xs]), y, rcond=None)[0][1:]
        return (b[1] + 2 * b[2] + 3 * b[3] + 4 * b[4]) / b.sum()

    return s.each(t, 252, 120, ratio, s.r, *lagged_markets(s, 5))


def price_trends(s, t):
    least = {d: d if d < 20 else d * 3 // 4 for d in LAGS}
    return np.array([s.each(t, d, least[d], np.mean, s.close) / s.close[t] for d in LAGS])


def trend_factor(s, t):
    """Coefficients of a year of daily cross-sectional regressions, averaged, times today's moving averages."""
    coefficients = []
    for u in range(t - 251, t + 1):
        y, x = np.exp(s.month(u)) - 1, price_trends(s, u - 21)
        y = np.where(s.here(u, "returns", "close"), y, np.nan)
        use = np.isfinite(y) & np.isfinite(x).all(axis=0)
        if use.sum() > len(LAGS) + 1:
            X = np.column_stack([np.ones(use.sum()), x[:, use].T])
            coefficients.append(np.linalg.lstsq(X, y[use], rcond=None)[0][1:])
    return np.mean(coefficients, axis=0) @ price_trends(s, t)


def tail_beta(s, t):
    tail = np.full(s.n_dates, np.nan)
    for u in range(1, s.n_dates):
        r = s.r[u][np.isfinite(s.r[u])]
        bound = np.quantile(r, 0.05)
        if bound < 0:
            tail[u] = np.log(r[r <= bound] / bound).mean()
    monthly = [
        np.nanmean(w) if np.isfinite(w := tail[max(0, u - 20) : u + 1]).sum() >= 10 else np.nan
        for u in range(s.n_dates)
    ]
    own = np.exp(s.every(s.month, first=max(0, t - 1259))) - 1
    return s.each(t, 1260, 750, lambda y, x: np.polyfit(x, y, 1)[0], own, s.wide(monthly))


def momentum_of_the_young(s, t):
    age = np.where(np.isfinite(s.close[t]), np.isfinite(s.close[: t + 1]).sum(axis=0), np.nan)
    m = np.where(s.here(t, "returns"), six_months(s, t), np.nan)
    out = np.where(s.share(age) <= 0.2, m - np.nanmean(m), 0.0)
    return np.where(np.isfinite(age) & np.isfinite(m), out, np.nan)


def monthly_sum(s, x, first):
    return s.every(lambda u: s.each(u, 21, 15, np.sum, x), first=max(0, first))


def volume_deviation(s, t):
    return s.each(t, 756, 504, lambda v: np.std(v, ddof=1), monthly_sum(s, s.f["volume"], t - 755))


def volume_trend(s, t):
    v = monthly_sum(s, s.f["volume"], t - 1259)
    trend = s.each(t, 1260, 630, lambda age, y: -np.polyfit(age, y, 1)[0] / y.mean(), s.ages(t), v)
    trend = np.where(s.here(t, "volume"), trend, np.nan)
    return np.clip(trend, *np.nanquantile(trend, [0.01, 0.99])) if np.isfinite(trend).any() else trend


def turnover_deviation(s, t):
    d = s.each(t, 756, 504, lambda v: np.std(v, ddof=1), monthly_sum(s, s.turnover, t - 755))
    return np.where(bucket(s.cap[t], 5) < 3, d, np.nan)


def ratio(item):
    return lambda s, t: s.at(s.f[item], t) / s.at(s.cap, t)


def intangible(v):
    def compute(s, t):
        now, before = v(s, t), v(s, t - 1260)
        r = s.each(t, 1260, 1000, np.sum, s.lr)
        out, use = s.nothing(), np.isfinite(r) & np.isfinite(now) & np.isfinite(before)
        if use.sum() > 3:
            X = np.column_stack([np.ones(use.sum()), before[use], (now - before + r)[use]])
            out[use] = r[use] - X @ np.linalg.lstsq(X, r[use], rcond=None)[0]
        return out

    return compute


def accruals_and_book(s, t):
    book, cap = s.f["book"], s.cap[t]
    b = bucket(np.where(book[t] > 0, book[t] / cap, np.nan), 5)
    accruals = (s.f["earnings"][t] - s.f["cash_flow"][t]) / ((book[t] + s.at(book, t - 252)) / 2)
    a = bucket(accruals, 5)
    out = ((b == 4) & (a == 0)).astype(float) - ((b == 0) & (a == 4))
    return np.where(np.isfinite(a) & np.isfinite(b), out, np.nan)


def consistency(s, t):
    """Mean scaled growth of five years, where it does not change sign this year."""
    e = s.f["earnings"] / s.f["shares"]
    out = s.nothing()
    for i in range(s.n_assets):
        years = [e[t - 252 * k, i] if t >= 252 * k else np.nan for k in range(7)]
        g = [(years[k] - years[k + 1]) / (0.5 * (abs(years[k + 1]) + abs(years[k + 2]))) for k in range(5)]
        known = [x for x in g if np.isfinite(x)]
        turned = (g[0] > 0 and g[1] < 0) or (g[0] < 0 and (g[1] > 0 or np.isnan(g[1])))
        if np.isfinite(g[0]) and not turned and abs(years[0] / years[1]) <= 6:
            out[i] = np.mean(known)
    return out


def growth_ranks(s, t):
    sales = s.f["sales"]

    def ranks(u):
        return s.share(-np.log(s.at(sales, u) / s.at(sales, u - 252)))

    return sum(w * ranks(t - 252 * k) for w, k in zip((5, 4, 3, 2, 1), (1, 2, 3, 4, 5), strict=True)) / 15


DEFINITIONS = {
    "openap_indmom": industry_momentum,
    "openap_indretbig": big_returns,
    "openap_momvol": momentum_in_volume,
    "openap_momrev": momentum_and_reversal,
    "openap_pricedelayrsq": delay_r2,
    "openap_pricedelayslope": delay_slope,
    "openap_betatailrisk": tail_beta,
    "openap_firmagemom": momentum_of_the_young,
    "openap_volsd": volume_deviation,
    "openap_volumetrend": volume_trend,
    "openap_std_turn": turnover_deviation,
    "openap_intanbm": intangible(lambda s, t: np.log(ratio("book")(s, t))),
    "openap_intansp": intangible(ratio("sales")),
    "openap_intancfp": intangible(ratio("cash_flow")),
    "openap_intanep": intangible(ratio("earnings")),
    "openap_accrualsbm": accruals_and_book,
    "openap_bmdec": lambda s, t: s.f["book"][t] / s.at(s.cap, t - 241),
    "openap_varcf": lambda s, t: s.each(t, 1260, 504, lambda x: np.var(x, ddof=1), s.f["cash_flow"] / s.cap),
    "openap_earningsconsistency": consistency,
    "openap_meanrankrevgrowth": growth_ranks,
    "openap_shareiss5y": lambda s, t: s.at(s.f["shares"], t - 105) / s.at(s.f["shares"], t - 1365) - 1,
    "openap_compequiss": lambda s, t: (
        np.log(s.cap[t] / s.at(s.cap, t - 1260)) - (np.exp(s.each(t, 1260, 1000, np.sum, s.lr)) - 1)
    ),
}


@pytest.fixture(scope="module")
def values(calculate):
    return calculate([*DEFINITIONS, "openap_trendfactor"])


@pytest.mark.parametrize("date", DATES)
@pytest.mark.parametrize("name", DEFINITIONS)
def test_predictor_equals_its_definition(name, date, slow, values, of_today):
    expected = of_today(name, date, DEFINITIONS[name](slow, date))
    np.testing.assert_allclose(values[name][date], expected, rtol=1e-7, atol=1e-10)


def test_trend_factor_is_last_years_coefficients_times_todays_moving_averages(slow, values, of_today):
    expected = of_today("openap_trendfactor", TREND_DATE, trend_factor(slow, TREND_DATE))
    np.testing.assert_allclose(values["openap_trendfactor"][TREND_DATE], expected, rtol=1e-6, atol=1e-8)


def test_predictor_equals_its_definition_on_real_data(equal_on_real_data):
    computed, compared = equal_on_real_data(DEFINITIONS, rtol=1e-7, atol=1e-10)
    assert computed == 17
    assert compared > 530


def test_trend_factor_is_the_same_on_real_data(equal_on_real_data):
    computed, compared = equal_on_real_data({"openap_trendfactor": trend_factor}, rtol=1e-6, atol=1e-8)
    assert computed == 1
    assert compared > 40


def test_every_openap_entry_is_compared(ids_of):
    assert {*DEFINITIONS, "openap_trendfactor"} == set(ids_of("openap.toml"))
    recorded = {row.factor for row in oracles()["openap_definitions"].agreements}
    assert recorded == {*DEFINITIONS, "openap_trendfactor"}
