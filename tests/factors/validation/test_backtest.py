from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from factors.factor_model.model import FactorModel
from factors.risk.settings import FactorCovarianceSettings, SpecificRiskSettings
from factors.sample.market import sample_market
from factors.validation.backtest import BacktestSettings, backtest
from factors.validation.layers import layers
from factors.validation.portfolios import minimum_variance, random_portfolios, random_priorities
from factors.validation.statistics import bias_statistic, standardized_outcomes

CHOSEN = layers(FactorCovarianceSettings(), SpecificRiskSettings(), 100)
FULL = layers(FactorCovarianceSettings.adaptive(), SpecificRiskSettings.adaptive(), 100)[-1:]
SMALL = BacktestSettings(burn_in=330, n_random=15, random_size=20, tails=False)


@pytest.fixture(scope="module")
def model():
    panel = sample_market(n_assets=80, n_days=420, seed=3).panel
    return FactorModel().set_panel(panel).estimate_style_scores().estimate_factor_returns()


def test_the_last_layer_is_the_full_model_and_each_differs_from_the_one_before():
    assert CHOSEN[-1].covariance == FactorCovarianceSettings()
    assert CHOSEN[-1].specific == SpecificRiskSettings()
    pairs = [(layer.covariance, layer.specific) for layer in CHOSEN]
    assert len(pairs) == len(set(pairs)) == 6


def test_the_adaptive_layer_comes_after_those_with_published_half_lives():
    full = FactorCovarianceSettings.adaptive(), SpecificRiskSettings.adaptive()
    found = layers(*full, 100)
    assert [layer.name for layer in found[:-2]] == [layer.name for layer in CHOSEN[:-1]]
    assert (found[-2].covariance.volatility_half_life, found[-2].specific.half_life) == (84.0, 84.0)
    assert (found[-1].covariance, found[-1].specific) == full


def test_forecasts_do_not_see_the_future(model):
    rows, plain = backtest(model, FULL, SMALL)
    panel = model.panel_
    cut = int(rows[40]) + 1
    rng = np.random.default_rng(0)
    changed = {name: values.copy() for name, values in panel.fields.items()}
    for name in ("returns", "market_cap"):
        changed[name][cut:] *= 1.0 + 0.5 * rng.random(changed[name][cut:].shape)
    perturbed = FactorModel().set_panel(panel.with_fields(**changed)).estimate_style_scores().estimate_factor_returns()
    _, other = backtest(perturbed, FULL, SMALL)
    for family, volatility in plain[0].volatility.items():
        np.testing.assert_array_equal(volatility[:41], other[0].volatility[family][:41], err_msg=family)
    assert not np.array_equal(plain[0].returns["random"][40], other[0].returns["random"][40])


def test_losses_at_99_percent_do_not_see_the_future(model):
    """Filtered historical days: the path of factor returns is cut, and what was said before it stays."""
    chosen = replace(SMALL, burn_in=400, tails=True)
    rows, plain = backtest(model, FULL, chosen)
    panel = model.panel_
    cut = int(rows[8]) + 1
    returns = panel.fields["returns"].copy()
    returns[cut:] *= 3.0
    perturbed = FactorModel().set_panel(panel.with_fields(returns=returns)).estimate_style_scores()
    _, other = backtest(perturbed.estimate_factor_returns(), FULL, chosen)
    assert plain[0].value_at_risk.keys() >= {"random", "cap-weighted"}
    for family in plain[0].value_at_risk:
        for tail in ("value_at_risk", "expected_shortfall"):
            one, changed = (getattr(outcomes[0], tail)[family] for outcomes in (plain, other))
            np.testing.assert_array_equal(one[:9], changed[:9], err_msg=family)
            assert not np.array_equal(one[9:], changed[9:]), family


def test_on_a_market_of_the_model_the_bias_of_random_portfolios_is_near_one(model):
    _, outcomes = backtest(model, FULL, SMALL)
    b = standardized_outcomes(outcomes[0].returns["random"], outcomes[0].volatility["random"])
    assert bias_statistic(b).mean() == pytest.approx(1.0, abs=0.2)


def test_a_run_is_repeated_to_the_bit(model):
    first, second = (backtest(model, FULL, SMALL)[1][0] for _ in range(2))
    assert first.volatility.keys() == second.volatility.keys() >= {"random", "cap-weighted"}
    for family in first.volatility:
        assert np.array_equal(first.volatility[family], second.volatility[family], equal_nan=True)


def test_without_tails_the_forecasts_are_the_same_and_no_loss_is_told(model):
    with_tails, without = (backtest(model, FULL, replace(SMALL, tails=tails))[1][0] for tails in (True, False))
    assert with_tails.value_at_risk.keys() >= {"random", "cap-weighted"}
    assert without.value_at_risk == {}
    for family in with_tails.volatility:
        np.testing.assert_array_equal(with_tails.volatility[family], without.volatility[family], err_msg=family)


def test_longer_horizons_scale_the_forecast_and_add_the_returns(model):
    _, daily = backtest(model, FULL, SMALL)
    rows, weekly = backtest(model, FULL, replace(SMALL, horizon=5))
    np.testing.assert_allclose(
        weekly[0].volatility["cap-weighted"][0], np.sqrt(5) * daily[0].volatility["cap-weighted"][0], rtol=1e-12
    )
    assert np.array_equal(np.diff(rows), np.full(rows.size - 1, 5))
    estimated = np.isfinite(model.standard_errors_[rows[2] + 1 : rows[2] + 6]).all(axis=0)
    factors = model.factor_returns_[rows[2] + 1 : rows[2] + 6].sum(axis=0)
    np.testing.assert_allclose(weekly[0].returns["factor"][2], np.where(estimated, factors, np.nan), rtol=1e-12)
    assert np.isfinite(weekly[0].returns["eigenfactor"]).all()


@given(seed=st.integers(0, 500), rank=st.integers(1, 4))
@settings(max_examples=25, deadline=None)
def test_no_fully_invested_portfolio_has_less_risk_than_the_minimum_variance_one(seed, rank):
    rng = np.random.default_rng(seed)
    X, root = rng.standard_normal((15, 4)), 0.01 * rng.standard_normal((4, rank))
    F, variance = root @ root.T, (0.01 + 0.01 * rng.random(15)) ** 2
    alive = rng.random(15) < 0.8
    alive[0] = True
    weights = minimum_variance(X, F, variance, alive)
    assert weights.sum() == pytest.approx(1.0)
    assert not weights[~alive].any()
    dense = (X @ F @ X.T + np.diag(variance))[np.ix_(alive, alive)]
    gradient = dense @ weights[alive]
    np.testing.assert_allclose(gradient, gradient[0], rtol=1e-8)


def test_random_portfolios_change_only_when_an_asset_leaves():
    priorities = random_priorities(10, 40, 0)
    alive = np.ones(40, dtype=bool)
    before = random_portfolios(priorities, alive, 12)
    assert ((before > 0).sum(axis=1) == 12).all()
    np.testing.assert_allclose(before.sum(axis=1), 1.0)
    alive[7] = False
    after = random_portfolios(priorities, alive, 12)
    untouched = before[:, 7] == 0.0
    assert np.array_equal(before[untouched], after[untouched])
    assert not after[:, 7].any()
