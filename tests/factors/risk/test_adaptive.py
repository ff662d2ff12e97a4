"""Adaptive half-lives against the same mixture of estimators with half-lives of their own, and against themselves."""

from dataclasses import replace

import numpy as np
import pytest

from factors.errors import SettingsError
from factors.risk.covariance import FactorCovariance
from factors.risk.ewma import decay
from factors.risk.hedge import LOSS_RANGE, RATIO_LIMIT
from factors.risk.settings import FactorCovarianceSettings, SpecificRiskSettings
from factors.risk.specific import SpecificRisk

HALF_LIVES = (5.0, 20.0, 80.0)
FACTOR = FactorCovarianceSettings(
    volatility_half_life="adaptive",
    expert_half_lives=HALF_LIVES,
    expert_discount_half_life=30.0,
    correlation_half_life=60.0,
    volatility_lags=2,
    correlation_lags=1,
    eigenfactor_simulations=0,
    regime_half_life=15.0,
    regime_min_observations=20,
)
SPECIFIC = SpecificRiskSettings(
    half_life="adaptive",
    expert_half_lives=HALF_LIVES,
    expert_discount_half_life=30.0,
    newey_west_lags=2,
    blend_history=(0, 0),
    bayes_shrinkage=0.0,
    regime_half_life=15.0,
    regime_min_observations=5,
)


@pytest.fixture(scope="module")
def factor_returns():
    """Volatility that moves, correlated factors, a week without any, and days without one of them."""
    rng = np.random.default_rng(0)
    level = np.exp(np.cumsum(0.05 * rng.standard_normal(160)))
    rows = 0.01 * level[:, None] * rng.standard_normal((160, 5)) @ (np.eye(5) + 0.3)
    rows[90:95] = np.nan
    rows[120, 3] = rows[130, 1] = np.nan
    return rows


@pytest.fixture(scope="module")
def residuals():
    """Assets that list late, leave and pause."""
    rng = np.random.default_rng(1)
    rows = 0.02 * np.exp(np.cumsum(0.05 * rng.standard_normal((160, 1)), axis=0)) * rng.standard_normal((160, 12))
    rows[:90, 2] = np.nan
    rows[110:, 5] = np.nan
    rows[60:70, 7] = np.nan
    return rows


def weights_of(losses, settings, discount_days=1):
    """Hedge written out: `[n, E]` losses, NaN where none, to the weights after the last."""
    total = np.zeros(losses.shape[1])
    gamma = decay(settings.expert_discount_half_life) ** discount_days
    for today in losses:
        if not np.isnan(today).any():
            total = gamma * (total + np.minimum(today - today.min(), LOSS_RANGE))
    raw = np.exp(-settings.expert_learning_rate * (total - total.min()))
    return (1.0 - settings.expert_even_share) * raw / raw.sum() + settings.expert_even_share / total.size


def single_factor_experts(settings):
    for half_life in HALF_LIVES:
        for regime in (0.0, settings.regime_half_life):
            yield replace(settings, volatility_half_life=half_life, regime_half_life=regime)


@pytest.mark.parametrize(
    ("horizon", "share", "asymmetry"), [(1, 0.0, 0.0), (4, 0.0, 0.0), (1, 0.4, 0.5), (4, 0.2, 0.9)]
)
def test_the_covariance_is_the_mixture_of_single_half_lives_by_the_loss_of_test_portfolios(
    factor_returns, horizon, share, asymmetry
):
    settings = replace(FACTOR, horizon_days=horizon, expert_even_share=share, market_asymmetry=asymmetry)
    experts = [FactorCovariance(each) for each in single_factor_experts(settings)]
    n_dates, n_factors = factor_returns.shape
    tests = np.eye(n_factors)
    tests[1:, 0] = 1.0
    forecasts, losses = [], np.full((n_dates, len(experts)), np.nan)
    for t, row in enumerate(factor_returns):
        if t >= horizon:
            days = factor_returns[t + 1 - horizon : t + 1]
            made = np.array([days[:, test > 0.0].sum() for test in tests])
            ahead = forecasts[t - horizon] * horizon
            used = ~np.isnan(made) & (ahead > 0.0).all(axis=0)
            if used.any():
                squared = np.minimum(made[used] ** 2 / ahead[:, used], RATIO_LIMIT)
                losses[t] = (squared + np.log(ahead[:, used])).mean(axis=1)
        for expert in experts:
            expert.update(row)
        seen = np.array([(experts[0].observed_[test > 0.0] >= 20).all() for test in tests])
        daily = np.array([np.einsum("pi,ij,pj->p", tests, expert.covariance_, tests) for expert in experts])
        forecasts.append(np.where(seen, daily, np.nan))
    weights = weights_of(losses, settings)
    adaptive = FactorCovariance(settings).fit(factor_returns)
    np.testing.assert_allclose(adaptive.expert_weights_, weights, rtol=1e-9)
    mixture = np.einsum("e,eij->ij", weights, [expert.covariance_ for expert in experts])
    np.testing.assert_allclose(adaptive.covariance_, mixture, rtol=1e-9)
    assert np.linalg.eigvalsh(adaptive.covariance_).min() >= -1e-15


@pytest.mark.parametrize(("horizon", "share"), [(1, 0.0), (4, 0.0), (4, 0.3)])
def test_specific_variances_are_the_mixture_of_single_half_lives_by_the_loss_of_assets(residuals, horizon, share):
    settings = replace(SPECIFIC, horizon_days=horizon, expert_even_share=share)
    caps = np.exp(np.random.default_rng(2).normal(20.0, 1.0, residuals.shape[1]))
    plain = replace(settings, newey_west_lags=0)
    experts = [
        SpecificRisk(replace(plain, half_life=half_life, regime_half_life=regime))
        for half_life in HALF_LIVES
        for regime in (0.0, settings.regime_half_life)
    ]
    forecast, begin, losses = None, 0, []
    for t, row in enumerate(residuals):
        for expert in experts:
            expert.update(row, caps)
        if (t + 1) % horizon:
            continue
        if forecast is not None:
            days = residuals[begin : t + 1]
            counted = (~np.isnan(days)).sum(axis=0)
            used = (counted > 0) & ~np.isnan(forecast[0])
            square = np.nansum(days**2, axis=0)[used] / counted[used]
            if used.any():
                ahead = forecast[:, used]
                losses.append((np.minimum(square / ahead, RATIO_LIMIT) + np.log(ahead)).mean(axis=1))
        begin = t + 1
        seen = experts[0].history_ >= 5
        forecast = np.where(seen, [expert.specific_variance_ for expert in experts], np.nan)
    weights = weights_of(np.array(losses), settings, horizon)
    adaptive = SpecificRisk(settings).fit(residuals, caps)
    np.testing.assert_allclose(adaptive.expert_weights_, weights, rtol=1e-9)
    single = [replace(each.settings, newey_west_lags=2) for each in experts]
    whole = [SpecificRisk(each).fit(residuals, caps).specific_variance_ for each in single]
    np.testing.assert_allclose(adaptive.specific_variance_, weights @ np.array(whole), rtol=1e-9)


@pytest.mark.parametrize("horizon", [1, 4])
def test_a_day_added_gives_the_bits_of_a_fit(factor_returns, residuals, horizon):
    settings = replace(
        FACTOR,
        horizon_days=horizon,
        eigenfactor_simulations=8,
        eigenfactor_spread_days=4,
        expert_even_share=0.3,
        market_asymmetry=0.5,
    )
    batch = FactorCovariance(settings).fit(factor_returns)
    grown = FactorCovariance(settings).fit(factor_returns[:30, :3])
    specific = SpecificRisk(replace(SPECIFIC, horizon_days=horizon)).fit(residuals)
    added = SpecificRisk(replace(SPECIFIC, horizon_days=horizon)).fit(residuals[:80, [0, 1]])
    padded = residuals.copy()
    padded[:80, 2:] = np.nan
    specific.fit(padded)
    factors = factor_returns.copy()
    factors[:30, 3:] = factors[60:75, 3] = np.nan
    batch.fit(factors)
    for t in range(30, 160):
        grown = FactorCovariance(settings).restore(grown.state()).update(factors[t])
    for t in range(80, 160):
        added.update(padded[t])
    assert np.array_equal(grown.covariance_, batch.covariance_)
    assert np.array_equal(grown.expert_weights_, batch.expert_weights_)
    assert np.array_equal(batch.expert_weights_by_day_[-1], batch.expert_weights_)
    assert np.array_equal(added.specific_variance_, specific.specific_variance_)
    assert np.array_equal(added.expert_weights_by_day_[-1], specific.expert_weights_by_day_[-1])


@pytest.mark.parametrize("lags", [0, 2])
def test_losses_of_the_market_count_more_than_gains_in_its_variance_and_in_no_other(factor_returns, lags):
    """The sums written out: the market's series leans, and is otherwise a series like the others."""
    rows = factor_returns[:90]
    plain = replace(FACTOR, volatility_half_life=20.0, volatility_lags=lags, regime_half_life=0.0)
    leant = FactorCovariance(replace(plain, market_asymmetry=0.6)).fit(rows)
    x = rows[:, 0] * np.sqrt(np.where(rows[:, 0] < 0.0, 1.6, 0.4)) * 0.5 ** (np.arange(90)[::-1] / 40.0)
    total = x @ x + sum(2.0 * (1.0 - lag / (lags + 1)) * (x[lag:] @ x[:-lag]) for lag in range(1, lags + 1))
    expected = total / (0.5 ** (np.arange(90) / 20.0)).sum()
    assert leant.covariance_[0, 0] == pytest.approx(expected, rel=1e-12)
    even = FactorCovariance(plain).fit(rows).covariance_
    np.testing.assert_allclose(leant.covariance_[1:, 1:], even[1:, 1:], rtol=1e-12)
    both = np.sqrt(leant.covariance_[0, 0] / even[0, 0])
    np.testing.assert_allclose(leant.covariance_[0, 1:], both * even[0, 1:], rtol=1e-12)


def test_lags_and_fat_tails_take_from_what_a_day_tells():
    rng = np.random.default_rng(4)
    normal = rng.standard_normal((4000, 3))
    fat = normal * np.sqrt(4.0 / rng.gamma(4.0, 1.0, (4000, 1)) / 1.0)
    plain = replace(FACTOR, correlation_half_life=np.inf, correlation_lags=0)
    assert FactorCovariance(plain).fit(normal).effective_observations_ == pytest.approx(4000, rel=0.05)
    lagged = FactorCovariance(replace(plain, correlation_lags=2)).fit(normal)
    assert lagged.effective_observations_ == pytest.approx(4000 / (1 + 2 * (4 / 9 + 1 / 9)), rel=0.05)
    # A multivariate t of 8 degrees of freedom: excess kurtosis 6 / (8 - 4), of which a third counts.
    assert FactorCovariance(plain).fit(fat).effective_observations_ == pytest.approx(4000 / 1.5, rel=0.1)


@pytest.mark.parametrize("days", [1, 5, 21, 63])
def test_each_horizon_has_experts_of_its_own(days):
    factors, specific = FactorCovarianceSettings.adaptive(days), SpecificRiskSettings.adaptive(days)
    assert factors.horizon_days == specific.horizon_days == days
    assert factors.volatility_lags == specific.newey_west_lags
    assert min(factors.expert_half_lives) <= min(specific.expert_half_lives)
    with pytest.raises(SettingsError, match="horizon_days must be one of"):
        SpecificRiskSettings.adaptive(days + 1)


@pytest.mark.parametrize(("days", "lags"), [(5, 2), (21, 5), (63, 5)])
@pytest.mark.parametrize("echo", [0.4, -0.4])
def test_a_horizon_is_more_than_its_days_where_returns_go_on_and_less_where_they_turn(days, lags, echo):
    """A day that echoes on the next: by Bartlett's kernel over the horizon's lags, not a day's variance times days."""
    drawn = 0.01 * np.random.default_rng(6).standard_normal((1501, 12))
    rows = drawn[1:] + echo * drawn[:-1]
    expected = 1.0 + 2.0 * lags / (lags + 1.0) * echo / (1.0 + echo * echo)
    day, ahead = (FactorCovariance(FactorCovarianceSettings.adaptive(each)).fit(rows) for each in (1, days))
    ratios = np.diag(ahead.covariance_) / np.diag(day.covariance_)
    assert np.exp(np.log(ratios).mean()) == pytest.approx(expected, rel=0.15)
    day, ahead = (SpecificRisk(SpecificRiskSettings.adaptive(each)).fit(rows) for each in (1, days))
    ratios = ahead.specific_variance_ / day.specific_variance_
    assert np.exp(np.log(ratios).mean()) == pytest.approx(max(expected, 0.5), rel=0.15)


def test_weights_move_to_short_half_lives_when_volatility_jumps():
    rng = np.random.default_rng(3)
    rows = 0.01 * rng.standard_normal((600, 4))
    rows[400:] *= 4.0
    settings = replace(FACTOR, regime_half_life=0.0, expert_half_lives=(10.0, 200.0))
    by_day = FactorCovariance(settings).fit(rows).expert_weights_by_day_
    assert by_day.shape == (600, 2)
    np.testing.assert_allclose(by_day.sum(axis=1), 1.0)
    assert by_day[399, 1] > 0.5
    assert by_day[420:440, 0].min() > 0.9
    assert [str(expert) for expert in FactorCovariance(settings).experts_] == ["10 days", "200 days"]


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        (FactorCovarianceSettings, {"volatility_half_life": "fast"}),
        (FactorCovarianceSettings, {"volatility_half_life": "adaptive", "method": "oas"}),
        (SpecificRiskSettings, {"half_life": "adaptive", "expert_half_lives": ()}),
        (SpecificRiskSettings, {"expert_half_lives": (21.0, 21.0)}),
        (SpecificRiskSettings, {"expert_half_lives": (21.0, -1.0)}),
        (FactorCovarianceSettings, {"horizon_days": 0}),
        (FactorCovarianceSettings, {"expert_discount_half_life": 0.0}),
        (FactorCovarianceSettings, {"expert_learning_rate": -0.1}),
        (FactorCovarianceSettings, {"expert_even_share": 1.0}),
        (SpecificRiskSettings, {"expert_even_share": -0.1}),
        (FactorCovarianceSettings, {"market_asymmetry": 1.0}),
    ],
)
def test_settings_of_experts_that_make_no_sense_are_refused_by_name(kind, wrong):
    with pytest.raises(SettingsError) as error:
        kind(**wrong)
    assert error.value.field.split("[")[0] in wrong
