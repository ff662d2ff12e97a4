"""JKP price and volume characteristics against their closed forms, one name and one date at a time in plain numpy."""

import math

import numpy as np
import pytest
import tearing
from whole_catalogue import whole_catalogue

from factors.library import compile_library
from factors.library.definitions.agreement import oracles

# The slow side meets empty slices and divides by what is missing.
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")

CATALOGUE = whole_catalogue()
DATES = tearing.DATES["jkp"]
MONTH, YEAR = 21, 252


def regression(y, *xs):
    X = np.column_stack([np.ones(len(y)), *xs])
    coefficients = np.linalg.lstsq(X, y, rcond=None)[0]
    return coefficients, y - X @ coefficients


def residuals(y, *xs):
    return regression(y, *xs)[1]


def slopes(y, *xs):
    return regression(y, *xs)[0][1:]


def spread_of(n_regressors):
    return lambda y, *xs: math.sqrt(residuals(y, *xs) @ residuals(y, *xs) / (len(y) - n_regressors - 1))


def shape_of(y, *xs):
    e = residuals(y, *xs)
    return np.mean(e**3) / np.mean(e**2) ** 1.5


def coskewness(y, m):
    e, d = residuals(y, m), m - m.mean()
    return np.mean(e * d**2) / (np.sqrt(np.mean(e**2)) * np.mean(d**2))


def sample_skewness(x):
    n, d = len(x), x - x.mean()
    return math.sqrt(n * (n - 1)) / (n - 2) * np.mean(d**3) / np.mean(d**2) ** 1.5


def past(first, last, least):
    """Simple return from `first` to `last` months ago, compounded from daily log returns."""
    d, lag = (first - last) * MONTH, last * MONTH
    return lambda s, t: np.exp(s.each(t - lag, d, least, np.sum, s.lr)) - 1


def regressed(statistic, d, least, *names):
    return lambda s, t: s.each(t, d, least, statistic, s.r, *(s.wide(getattr(s, name)) for name in names))


def beta_60m(s, t):
    own = np.exp(s.every(s.month, first=max(0, t - 1259))) - 1
    daily = np.log1p(s.market)
    market = [np.nansum(daily[max(0, u - 20) : u + 1]) if u >= 15 else np.nan for u in range(s.n_dates)]
    return s.each(t, 1260, 750, lambda y, x: slopes(y, x)[0], own, s.wide(np.exp(market) - 1))


def dimson(s, t):
    m = s.market
    lagged = [np.concatenate([np.full(k, np.nan), m[: s.n_dates - k]]) for k in range(3)]
    before = np.vstack([s.nothing(), s.r[:-1]])
    return s.each(t, MONTH, 15, lambda y, *xs: slopes(y, *xs).sum(), before, *(s.wide(x) for x in lagged))


def three_day(x):
    out = np.full_like(x, np.nan)
    out[2:] = x[2:] + x[1:-1] + x[:-2]
    return out


def corr_1260d(s, t):
    market = s.wide(three_day(np.log1p(s.market)))
    return s.each(t, 1260, 750, lambda a, b: np.corrcoef(a, b)[0, 1], three_day(s.lr), market)


def deviation(s, t, d, least):
    return s.each(t, d, least, lambda x: np.std(x, ddof=1), s.r)


def betabab(s, t):
    market = s.market[max(0, t - 251) : t + 1]
    return corr_1260d(s, t) * deviation(s, t, 252, 120) / np.std(market[np.isfinite(market)], ddof=1)


def betadown(s, t):
    fallen = np.where(s.wide(s.market) < 0, s.r, np.nan)
    return s.each(t, 252, 60, lambda y, x: slopes(y, x)[0], fallen, s.wide(s.market))


def residual_momentum(months, least):
    """Of the chosen names, the slow way: one regression over 756 rows for every day of the window."""

    def compute(s, t, names):
        last, out = t - MONTH, s.nothing()
        for i in names:
            e = []
            for u in range(last - months * MONTH + 1, last + 1):
                rows = slice(u - 755, u + 1)
                table = np.array([s.r[rows, i], s.market[rows], s.smb[rows], s.hml[rows]])
                there = np.isfinite(table).all(axis=0)
                e.append(residuals(*table[:, there])[-1] if there[-1] and there.sum() >= 500 else np.nan)
            known = np.isfinite(e)
            out[i] = np.exp(np.log1p(np.array(e)[known]).sum()) - 1 if known.sum() >= least else np.nan
        return out

    return compute


def corwin_schultz(s, t):
    """Equations 14 and 18, two days at a time, with the overnight adjustment of section II.C."""
    high, low, close = s.f["high"], s.f["low"], s.close
    daily = np.full(s.shape, np.nan)
    k = 3 - 2 * math.sqrt(2)
    for u in range(max(1, t - 20), t + 1):
        for i in range(s.n_assets):
            h, lo, before = high[u, i], low[u, i], close[u - 1, i]
            if lo > before:
                h, lo = h - (lo - before), before
            elif h < before:
                h, lo = before, lo + (before - h)
            h1, l1 = high[u - 1, i], low[u - 1, i]
            beta = math.log(h / lo) ** 2 + math.log(h1 / l1) ** 2
            gamma = math.log(max(h, h1) / min(lo, l1)) ** 2
            alpha = (math.sqrt(2 * beta) - math.sqrt(beta)) / k - math.sqrt(gamma / k)
            if np.isfinite(h + lo + h1 + l1):
                daily[u, i] = max(2 * (math.exp(alpha) - 1) / (1 + math.exp(alpha)), 0.0)
    return s.each(t, MONTH, 15, np.mean, daily)


def zero_trades(d, least):
    def compute(s, t):
        volume = s.f["volume"]
        idle = s.each(t, d, least, lambda v: np.mean(v == 0), volume)
        turnover = np.where(s.here(t, "volume", "shares"), s.each(t, d, least, np.mean, s.turnover), np.nan)
        return 21 * idle + s.share(-turnover) / 100

    return compute


def variation(d, least, name):
    return lambda s, t: s.each(t, d, least, lambda x: np.std(x, ddof=1) / x.mean(), getattr(s, name))


def same_months(s, t):
    return [s.month(t - lag) for lag in (483, 735, 987, 1239)]


def other_months(s, t):
    return (s.each(t - YEAR, 1008, 750, np.sum, s.lr) - sum(same_months(s, t))) / 44


CLOSED_FORMS = {
    "jkp_beta_60m": beta_60m,
    "jkp_beta_dimson_21d": dimson,
    "jkp_betabab_1260d": betabab,
    "jkp_betadown_252d": betadown,
    "jkp_ivol_capm_21d": regressed(spread_of(1), 21, 15, "market"),
    "jkp_ivol_capm_252d": regressed(spread_of(1), 252, 120, "market"),
    "jkp_ivol_ff3_21d": regressed(spread_of(3), 21, 15, "market", "smb", "hml"),
    "jkp_ivol_hxz4_21d": regressed(spread_of(4), 21, 15, "market", "size", "roe", "inv"),
    "jkp_iskew_capm_21d": regressed(shape_of, 21, 15, "market"),
    "jkp_iskew_ff3_21d": regressed(shape_of, 21, 15, "market", "smb", "hml"),
    "jkp_iskew_hxz4_21d": regressed(shape_of, 21, 15, "market", "size", "roe", "inv"),
    "jkp_coskew_21d": regressed(coskewness, 21, 15, "market"),
    "jkp_corr_1260d": corr_1260d,
    "jkp_rvol_21d": lambda s, t: deviation(s, t, 21, 15),
    "jkp_rskew_21d": lambda s, t: s.each(t, 21, 15, sample_skewness, s.r),
    "jkp_rmax1_21d": lambda s, t: s.each(t, 21, 15, np.max, s.r),
    "jkp_rmax5_21d": lambda s, t: s.each(t, 21, 15, lambda x: np.sort(x)[-5:].mean(), s.r),
    "jkp_rmax5_rvol_21d": lambda s, t: (
        s.each(t, 21, 15, lambda x: np.sort(x)[-5:].mean(), s.r) / deviation(s, t, 252, 120)
    ),
    "jkp_ret_1_0": lambda s, t: np.exp(s.month(t)) - 1,
    "jkp_ret_3_1": past(3, 1, 30),
    "jkp_ret_6_1": past(6, 1, 75),
    "jkp_ret_9_1": past(9, 1, 120),
    "jkp_ret_12_1": past(12, 1, 165),
    "jkp_ret_12_7": past(12, 7, 75),
    "jkp_ret_60_12": past(60, 12, 750),
    "jkp_prc_highprc_252d": lambda s, t: s.close[t] / s.each(t, 252, 120, np.max, s.close),
    "jkp_market_equity": lambda s, t: s.cap[t],
    "jkp_ami_126d": lambda s, t: s.each(
        t, 126, 60, lambda r, v: 1e6 * np.mean(np.abs(r) / v), s.r, positive(s.dollars)
    ),
    "jkp_dolvol_126d": lambda s, t: s.each(t, 126, 60, np.mean, s.dollars),
    "jkp_dolvol_var_126d": variation(126, 60, "dollars"),
    "jkp_turnover_126d": lambda s, t: s.each(t, 126, 60, np.mean, s.turnover),
    "jkp_turnover_var_126d": variation(126, 60, "turnover"),
    "jkp_bidaskhl_21d": corwin_schultz,
    "jkp_zero_trades_21d": zero_trades(21, 15),
    "jkp_zero_trades_126d": zero_trades(126, 60),
    "jkp_zero_trades_252d": zero_trades(252, 120),
    "jkp_seas_1_1an": lambda s, t: s.month(t - 231),
    "jkp_seas_1_1na": lambda s, t: s.each(t, 231, 165, np.sum, s.lr) / 11,
    "jkp_seas_2_5an": lambda s, t: sum(same_months(s, t)) / 4,
    "jkp_seas_2_5na": other_months,
}

RESIDUAL_MOMENTUM = {"jkp_resff3_6_1": residual_momentum(6, 90), "jkp_resff3_12_1": residual_momentum(12, 180)}


def positive(x):
    return np.where(x > 0, x, np.nan)


@pytest.fixture(scope="module")
def values(calculate):
    return calculate([*CLOSED_FORMS, *RESIDUAL_MOMENTUM])


@pytest.mark.parametrize("date", DATES)
@pytest.mark.parametrize("name", CLOSED_FORMS)
def test_characteristic_equals_its_closed_form(name, date, slow, values, of_today):
    expected = of_today(name, date, CLOSED_FORMS[name](slow, date))
    np.testing.assert_allclose(values[name][date], expected, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("name", RESIDUAL_MOMENTUM)
def test_residual_momentum_compounds_each_days_residual_of_its_own_regression(name, slow, values, of_today):
    chosen = range(0, slow.n_assets, 10)
    expected = of_today(name, DATES[-1], RESIDUAL_MOMENTUM[name](slow, DATES[-1], chosen))
    np.testing.assert_allclose(values[name][DATES[-1], ::10], expected[::10], rtol=1e-7)


def test_characteristic_equals_its_closed_form_on_real_data(equal_on_real_data):
    computed, compared = equal_on_real_data(CLOSED_FORMS, rtol=1e-8, atol=1e-12)
    assert computed == 38
    assert compared > 2160


def test_residual_momentum_is_the_same_on_real_data(equal_on_real_data):
    forms = {name: lambda s, t, f=form: f(s, t, range(s.n_assets)) for name, form in RESIDUAL_MOMENTUM.items()}
    computed, compared = equal_on_real_data(forms, rtol=1e-7, atol=1e-10)
    assert computed == 2
    assert compared > 80


def test_every_price_and_volume_characteristic_has_a_closed_form(ids_of):
    compared = {*CLOSED_FORMS, *RESIDUAL_MOMENTUM}
    assert compared == set(ids_of("jkp.toml")) | {f"jkp_zero_trades_{days}d" for days in (21, 126, 252)}
    assert compared <= {row.factor for row in oracles()["jkp_closed_forms"].agreements}


def test_betas_over_falling_or_rising_days_use_the_return_of_a_names_first_day():
    """The market's own look-back is not the name's: a name that lists with a return has it in the regression."""
    rng = np.random.default_rng(8)
    n_dates, first = 400, 200
    returns = rng.normal(0.0, 0.02, (n_dates, 12))
    caps = np.exp(rng.normal(22.0, 1.0, 12)) * np.cumprod(1.0 + returns, axis=0)
    returns[:first, :2] = caps[:first, :2] = np.nan
    market = np.full(n_dates, np.nan)
    for t in range(1, n_dates):
        use = np.isfinite(returns[t]) & np.isfinite(caps[t - 1])
        market[t] = caps[t - 1, use] @ returns[t, use] / caps[t - 1, use].sum()
    names = ("jkp_betadown_252d", "res_beta_upside_252", "res_beta_down_relative_252")
    library = compile_library({name: CATALOGUE.entries[name] for name in names})
    found = library.run(
        {"returns": returns, "market_cap": caps}, dates=np.datetime64("2020-01-01") + np.arange(n_dates)
    )
    listed = np.arange(n_dates) >= first
    for column in (0, 1):
        falling, rising, every = (
            slopes(returns[days, column], market[days])[0]
            for days in (listed & (market < 0), listed & (market > 0), listed)
        )
        for name, expected in zip(names, (falling, rising, falling - every), strict=True):
            np.testing.assert_allclose(found[name][-1, column], expected, rtol=1e-9, err_msg=name)
