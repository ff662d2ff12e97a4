"""The reserve against the formulas of its papers in plain numpy, one name and one window at a time."""

import math

import numpy as np
import pytest
import tearing

from factors.library.definitions.agreement import oracles

# The slow side meets empty slices and divides by what is missing.
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")

DATES = tearing.DATES["reserve"]
LN2 = math.log(2.0)


def parkinson(high, low):
    return math.sqrt(np.mean(np.log(high / low) ** 2) / (4 * LN2))


def garman_klass(o, h, lo, c):
    return math.sqrt(np.mean(0.5 * np.log(h / lo) ** 2 - (2 * LN2 - 1) * np.log(c / o) ** 2))


def rogers_satchell_variance(o, h, lo, c):
    u, d, k = np.log(h / o), np.log(lo / o), np.log(c / o)
    return np.mean(u * (u - k) + d * (d - k))


def bars(s):
    return s.f["open"], s.f["high"], s.f["low"], s.close


def lagged(x, k=1):
    return np.vstack([np.full((k, x.shape[1]), np.nan), x[:-k]])


def over(d, least, statistic, *names):
    return lambda s, t: s.each(t, d, least, statistic, *(s.f[name] for name in names))


def of_returns(d, least, statistic):
    return lambda s, t: s.each(t, d, least, statistic, s.r)


def yang_zhang(d, least):
    def compute(s, t):
        o, h, lo, c = bars(s)
        k = 0.34 / (1.34 + (d + 1) / (d - 1))
        overnight = s.each(t, d, least, lambda x: np.var(x, ddof=1), np.log(o / lagged(c)))
        day = s.each(t, d, least, lambda x: np.var(x, ddof=1), np.log(c / o))
        return np.sqrt(overnight + k * day + (1 - k) * s.each(t, d, least, rogers_satchell_variance, o, h, lo, c))

    return compute


def roll(s, t):
    c = s.each(t, 63, 45, lambda x, y: np.cov(x, y)[0, 1], s.lr, lagged(s.lr))
    return 2 * np.sqrt(np.where(c > 0, 0.0, -c))


def abdi_ranaldo(s, t):
    middle = (np.log(s.f["high"]) + np.log(s.f["low"])) / 2
    product = (lagged(np.log(s.close)) - lagged(middle)) * (lagged(np.log(s.close)) - middle)
    return 2 * np.sqrt(np.maximum(s.each(t, 21, 15, np.mean, product), 0.0))


def impact(s, t):
    flow = np.sign(s.r) * np.sqrt(s.dollars)
    return s.each(t, 63, 45, lambda y, x: np.polyfit(x, y, 1)[0], s.r, flow)


def gamma(s, t):
    excess = s.r - s.wide(s.market)
    flow = np.sign(lagged(excess)) * lagged(s.dollars)
    return s.each(t, 63, 45, lambda y, a, b: s.fit(y, a, b / b.std())[0][2] / b.std(), excess, lagged(s.r), flow)


def variance_ratio(s, t):
    week = sum(lagged(s.lr, k) if k else s.lr for k in range(5))
    long = s.each(t, 252, 180, lambda x: np.var(x, ddof=1), week)
    return long / (5 * s.each(t, 252, 180, lambda x: np.var(x, ddof=1), s.lr)) - 1


def up_down(s, t):
    def ratio(r, v):
        return math.log(v[r > 0].sum() / v[r < 0].sum()) if (v[r > 0].sum() and v[r < 0].sum()) else np.nan

    return s.each(t, 63, 45, ratio, s.r, s.f["volume"])


def drawdown(close):
    return max(1 - close[i:].min() / close[i] for i in range(len(close)))


def discreteness(s, t):
    def statistic(lr):
        return np.sign(lr.sum()) * (np.mean(lr < 0) - np.mean(lr > 0))

    return s.each(t - 21, 231, 165, statistic, s.lr)


def signed_variation(r):
    up, down = (r[r > 0] ** 2).sum(), (r[r < 0] ** 2).sum()
    return (up - down) / (up + down)


def sample_kurtosis(x):
    n, d = len(x), x - x.mean()
    excess = np.mean(d**4) / np.mean(d**2) ** 2 - 3
    return (n - 1) / ((n - 2) * (n - 3)) * ((n + 1) * excess + 6)


def recency(high):
    return 1 - (len(high) - 1 - np.flatnonzero(high == high.max())[-1]) / 251


def position(volume):
    return (np.sum(volume < volume[-1]) + (np.sum(volume == volume[-1]) + 1) / 2) / len(volume)


def rising_beta(s, t):
    risen = np.where(s.wide(s.market) > 0, s.r, np.nan)
    return s.each(t, 252, 60, lambda y, x: np.polyfit(x, y, 1)[0], risen, s.wide(s.market))


def overreaction(s, t):
    signed = s.every(lambda u: s.each(u, 21, 15, np.sum, np.sign(s.r) * s.f["volume"]), first=max(0, t - 251))
    volume = s.every(lambda u: s.each(u, 21, 15, np.sum, s.f["volume"]), first=max(0, t - 251))
    weights = np.arange(1.0, 253.0) / (252 * 253 / 2)
    return s.each(t, 252, 252, lambda x: weights @ x, signed) / s.each(t, 252, 180, np.mean, volume)


def high_low_volatility(s, t):
    """Corwin and Schultz, equation 15."""
    _, h, lo, _ = bars(s)
    b = np.log(h / lo) ** 2 + np.log(lagged(h) / lagged(lo)) ** 2
    g = np.log(np.maximum(h, lagged(h)) / np.minimum(lo, lagged(lo))) ** 2
    k1, k2 = 3 - 2 * math.sqrt(2), math.sqrt(8 / math.pi)
    sigma = (np.sqrt(b / 2) - np.sqrt(b)) / (k2 * k1) + np.sqrt(g / (k2**2 * k1))
    return s.each(t, 21, 15, np.mean, np.where(np.isfinite(sigma), np.maximum(sigma, 0.0), np.nan))


def relative_reversal(s, t):
    r, codes = np.where(s.here(t, "returns"), np.exp(s.month(t)) - 1, np.nan), s.groups["industry"][t]
    means = np.array(
        [np.nanmean(r[codes == g]) if g >= 0 and np.isfinite(r[codes == g]).any() else np.nan for g in codes]
    )
    return r - means


FORMULAS = {
    "res_parkinson_21": over(21, 15, parkinson, "high", "low"),
    "res_parkinson_126": over(126, 60, parkinson, "high", "low"),
    "res_garman_klass_21": over(21, 15, garman_klass, "open", "high", "low", "close"),
    "res_garman_klass_126": over(126, 60, garman_klass, "open", "high", "low", "close"),
    "res_rogers_satchell_21": over(
        21, 15, lambda *x: math.sqrt(rogers_satchell_variance(*x)), "open", "high", "low", "close"
    ),
    "res_rogers_satchell_126": over(
        126, 60, lambda *x: math.sqrt(rogers_satchell_variance(*x)), "open", "high", "low", "close"
    ),
    "res_yang_zhang_21": yang_zhang(21, 15),
    "res_roll_spread_63": roll,
    "res_abdi_ranaldo_21": abdi_ranaldo,
    "res_kyle_lambda_63": impact,
    "res_ps_gamma_63": gamma,
    "res_variance_ratio_252": variance_ratio,
    "res_updown_volume_63": up_down,
    "res_var5_252": of_returns(252, 120, lambda r: -np.quantile(r, 0.05)),
    "res_es5_252": of_returns(252, 120, lambda r: -np.sort(r)[:13].mean()),
    "res_max_drawdown_252": over(252, 252, drawdown, "close"),
    "res_intraday_21": lambda s, t: s.each(t, 21, 15, np.sum, np.log(s.close / s.f["open"])),
    "res_overnight_21": lambda s, t: s.each(t, 21, 15, np.sum, s.lr - np.log(s.close / s.f["open"])),
    "res_frog_in_the_pan": discreteness,
    "res_downside_semideviation_252": of_returns(252, 120, lambda r: math.sqrt(np.mean(np.minimum(r, 0.0) ** 2))),
    "res_semivariance_skew_63": of_returns(63, 45, signed_variation),
    "res_kurtosis_252": of_returns(252, 120, sample_kurtosis),
    "res_autocorrelation_63": lambda s, t: s.each(t, 63, 45, lambda x, y: np.corrcoef(x, y)[0, 1], s.r, lagged(s.r)),
    "res_high_52w_recency": over(252, 252, recency, "high"),
    "res_low_52w": lambda s, t: s.close[t] / s.each(t, 252, 120, np.min, s.close),
    "res_abnormal_volume_50": over(50, 50, position, "volume"),
    "res_abnormal_turnover": lambda s, t: (
        s.each(t, 21, 15, np.mean, s.turnover) / s.each(t, 252, 120, np.mean, s.turnover)
    ),
    "res_beta_upside_252": rising_beta,
    "res_continuing_overreaction": overreaction,
    "res_corwin_schultz_vol_21": high_low_volatility,
    "res_max_min_asymmetry_63": of_returns(63, 45, lambda r: np.sort(r)[-3:].mean() + np.sort(r)[:3].mean()),
    "res_industry_relative_reversal": relative_reversal,
    "res_volume_cv_252": over(252, 120, lambda v: (v**2).sum() / v.sum() ** 2, "volume"),
}


@pytest.fixture(scope="module")
def values(calculate):
    return calculate(FORMULAS)


@pytest.mark.parametrize("date", DATES)
@pytest.mark.parametrize("name", FORMULAS)
def test_measure_equals_its_papers_formula(name, date, slow, values, of_today):
    expected = of_today(name, date, FORMULAS[name](slow, date))
    np.testing.assert_allclose(values[name][date], expected, rtol=1e-7, atol=1e-12)


def test_measure_equals_its_papers_formula_on_real_data(equal_on_real_data):
    computed, compared = equal_on_real_data(FORMULAS, rtol=1e-7, atol=1e-12)
    assert computed == 32
    assert compared > 1880


def test_every_entry_of_the_reserve_is_compared(ids_of):
    assert set(FORMULAS) == set(ids_of("reserve.toml"))
    recorded = {row.factor for row in oracles()["papers_formulas"].agreements}
    assert recorded == set(ids_of("reserve.toml", "reserve_b.toml"))
