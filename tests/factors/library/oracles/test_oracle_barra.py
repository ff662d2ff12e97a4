"""Barra descriptors and composites against slow, plain numpy of the published CNE5 and USE4 definitions."""

import numpy as np
import pytest
import tearing

from factors.library.definitions.agreement import oracles

# The slow side meets empty slices and divides by what is missing.
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")

DATES = tearing.DATES["barra"]
MONTH, YEAR = 21, 252


def weighted_regression(age, y, x):
    """BETA and HSIGMA: weighted least squares on the market, half-life 63."""
    w = 0.5 ** (age / 63)
    X = np.column_stack([np.ones(len(x)), x])
    b = np.linalg.solve(X.T @ (w[:, None] * X), X.T @ (w * y))
    e = y - X @ b
    return b[1], np.sqrt(w @ e**2 / w.sum())


def beta(s, t):
    return s.each(t, 252, 126, lambda *rows: weighted_regression(*rows)[0], s.ages(t), s.r, s.wide(s.market))


def hsigma(s, t):
    return s.each(t, 252, 126, lambda *rows: weighted_regression(*rows)[1], s.ages(t), s.r, s.wide(s.market))


def dastd(s, t):
    def spread(age, x):
        w = 0.5 ** (age / 42)
        return np.sqrt(w @ (x - w @ x / w.sum()) ** 2 / w.sum())

    return s.each(t, 252, 126, spread, s.ages(t), s.r)


def rstr(s, t):
    return s.each(t - MONTH, 504, 252, lambda age, x: 0.5 ** (age / 126) @ x, s.ages(t - MONTH), s.lr)


def cmra(s, t):
    """ln(1 + Zmax) - ln(1 + Zmin), Z(T) the sum of the last T months' log returns, T = 1..12."""
    out = s.nothing()
    if t < 12 * MONTH:
        return out
    for i in range(len(out)):
        months = [s.lr[t - MONTH * j + 1 : t + 1, i].sum() for j in range(1, 13)]
        if np.isfinite(months).all() and min(months) > -1:
            out[i] = np.log(1 + max(months)) - np.log(1 + min(months))
    return out


def share_turnover(months, least):
    return lambda s, t: np.log(s.each(t, months * MONTH, least, np.sum, s.turnover) / months)


def growth(item):
    def compute(s, t):
        values = s.f[item] / s.f["shares"]
        years = [values[t - YEAR * k] if t >= YEAR * k else s.nothing() for k in range(5)]
        time = np.array([4.0, 3, 2, 1, 0])
        return np.array(
            [np.polyfit(time, y, 1)[0] / y.mean() if np.isfinite(y).all() else np.nan for y in np.array(years).T]
        )

    return compute


def ratio(name, other="market_cap"):
    return lambda s, t: s.f[name][t] / s.f[other][t]


def mlev(s, t):
    return (s.cap[t] + s.f["long_term_debt"][t]) / s.cap[t]


def blev(s, t):
    return (s.f["book"][t] + s.f["long_term_debt"][t]) / s.f["book"][t]


def winsorised(x):
    centre, spread = np.nanmean(x), np.nanstd(x, ddof=1)
    return np.clip(x, centre - 3 * spread, centre + 3 * spread)


def standardised(x, cap):
    both = np.isfinite(x) & np.isfinite(cap)
    return (x - x[both] @ cap[both] / cap[both].sum()) / np.nanstd(x, ddof=1)


def exposure(x, cap):
    return standardised(winsorised(x), cap)


def orthogonal(y, weight, *xs):
    """Residual for every name; the names without a weight have no say in the coefficients."""
    X = np.column_stack([np.ones(len(y)), *xs])
    use = np.isfinite(y) & np.isfinite(weight) & np.isfinite(X).all(axis=1)
    w = np.sqrt(weight[use])
    return y - X @ np.linalg.lstsq(w[:, None] * X[use], w * y[use], rcond=None)[0]


def traded(descriptor, *names):
    """Descriptor of the names that have a row of its fields: one without has no say in the cross-section."""
    return lambda s, t: np.where(s.here(t, *names), descriptor(s, t), np.nan)


def composite(*parts):
    def compute(s, t):
        return sum(weight * exposure(descriptor(s, t), s.cap[t]) for weight, descriptor in parts)

    return compute


def size(s, t):
    return standardised(np.log(s.cap[t]), s.cap[t])


def cubed(of):
    def compute(s, t):
        z = of(s, t)
        return exposure(orthogonal(z**3, np.sqrt(s.cap[t]), z), s.cap[t])

    return compute


def beta_exposure(s, t):
    return exposure(traded(beta, "returns")(s, t), s.cap[t])


def residual_volatility(s, t):
    parts = (traded(descriptor, "returns") for descriptor in (dastd, cmra, hsigma))
    v = composite(*zip((0.74, 0.16, 0.10), parts, strict=True))(s, t)
    return orthogonal(v, np.sqrt(s.cap[t]), beta_exposure(s, t), size(s, t))


def liquidity(s, t):
    windows = (share_turnover(1, 15), share_turnover(3, 45), share_turnover(12, 180))
    parts = (traded(descriptor, "volume", "shares") for descriptor in windows)
    return orthogonal(composite(*zip((0.35, 0.35, 0.30), parts, strict=True))(s, t), np.sqrt(s.cap[t]), size(s, t))


PUBLISHED = {
    "barra_beta": beta,
    "barra_hsigma": hsigma,
    "barra_rstr": rstr,
    "barra_dastd": dastd,
    "barra_cmra": cmra,
    "barra_nlsize": cubed(size),
    "barra_stom": share_turnover(1, 15),
    "barra_stoq": share_turnover(3, 45),
    "barra_stoa": share_turnover(12, 180),
    "barra_egro": growth("earnings"),
    "barra_sgro": growth("sales"),
    "barra_mlev": mlev,
    "barra_dtoa": ratio("debt", "assets"),
    "barra_blev": blev,
    "barra_residual_volatility": residual_volatility,
    "barra_liquidity": liquidity,
    "barra_earnings_yield": composite((0.21 / 0.32, ratio("cash_flow")), (0.11 / 0.32, ratio("earnings"))),
    "barra_growth": composite((0.24 / 0.71, growth("earnings")), (0.47 / 0.71, growth("sales"))),
    "barra_nonlinear_beta": cubed(beta_exposure),
    "barra_leverage": composite((0.38, mlev), (0.35, ratio("debt", "assets")), (0.27, blev)),
}


@pytest.fixture(scope="module")
def values(calculate):
    return calculate(PUBLISHED)


@pytest.mark.parametrize("date", DATES)
@pytest.mark.parametrize("name", PUBLISHED)
def test_exposure_equals_the_published_definition(name, date, slow, values, of_today):
    expected = of_today(name, date, PUBLISHED[name](slow, date))
    np.testing.assert_allclose(values[name][date], expected, rtol=1e-8, atol=1e-10)


def test_exposure_equals_the_published_definition_on_real_data(equal_on_real_data):
    computed, compared = equal_on_real_data(PUBLISHED, rtol=1e-8, atol=1e-10)
    assert computed == 13
    assert compared > 730


def test_every_barra_entry_is_compared(ids_of):
    assert set(PUBLISHED) == set(ids_of("barra.toml"))
    assert {row.factor for row in oracles()["barra_definitions"].agreements} == set(PUBLISHED)
