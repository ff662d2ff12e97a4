import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from factors.errors import FactorError
from factors.portfolio.margin import mixture_tail
from factors.portfolio.scenarios import (
    apply_scenarios,
    factor_shock,
    historical_shock,
    scenario_tail,
    stress_covariance,
)


def covariance(seed: int, n_factors: int = 5) -> np.ndarray:
    root = 0.01 * np.random.default_rng(seed).standard_normal((n_factors, n_factors))
    return root @ root.T


def test_a_portfolio_makes_its_exposure_times_the_shock():
    rng = np.random.default_rng(0)
    weights, X, shocks = rng.standard_normal((3, 8)), rng.standard_normal((8, 4)), rng.standard_normal((2, 4))
    asset_shocks = np.full((2, 8), np.nan)
    asset_shocks[1, 5] = -0.5
    result = apply_scenarios(weights, X, shocks, asset_shocks)
    expected = weights @ X @ shocks.T
    expected[:, 1] += -0.5 * weights[:, 5]
    np.testing.assert_allclose(result.total, expected, rtol=1e-12)
    np.testing.assert_allclose(result.by_factor.sum(axis=2) + result.specific, result.total, atol=1e-12)


def test_other_factors_move_by_their_regression_on_the_shocked_ones():
    F = covariance(1)
    shock = factor_shock({0: -0.05, 3: 0.01}, 5, F)
    block = F[np.ix_([0, 3], [0, 3])]
    np.testing.assert_allclose(shock, F[:, [0, 3]] @ np.linalg.solve(block, [-0.05, 0.01]), rtol=1e-8)
    alone = factor_shock({0: -0.05}, 5)
    assert alone[0] == -0.05
    assert not alone[1:].any()


def test_a_shock_to_a_riskless_factor_stays_its_own():
    F = np.diag([0.0, 1e-4])
    np.testing.assert_array_equal(factor_shock({0: 0.1}, 2, F), [0.1, 0.0])


def test_a_past_episode_is_compounded():
    np.testing.assert_allclose(historical_shock(np.array([[0.1, np.nan], [-0.1, 0.02]])), [-0.01, 0.02], rtol=1e-12)


@given(seed=st.integers(0, 1000), blend=st.floats(0.0, 1.0), scale=st.floats(0.0, 4.0))
@settings(max_examples=30, deadline=None)
def test_a_stressed_covariance_is_semidefinite_with_the_volatilities_asked_for(seed, blend, scale):
    F = covariance(seed)
    stressed = stress_covariance(F, scale, blend)
    np.testing.assert_allclose(np.diag(stressed), np.diag(F) * scale**2, rtol=1e-9, atol=1e-18)
    assert np.linalg.eigvalsh(stressed)[0] >= -1e-12 * np.trace(F)


def test_full_blend_makes_all_correlations_one_or_minus_one():
    stressed = stress_covariance(covariance(2), 1.0, 1.0)
    deviation = np.sqrt(np.diag(stressed))
    np.testing.assert_allclose(np.abs(stressed / np.outer(deviation, deviation)), 1.0, rtol=1e-9)


def test_errors_name_what_is_wrong():
    with pytest.raises(FactorError, match=r"0\.\.3"):
        factor_shock({4: 0.1}, 4)
    with pytest.raises(FactorError, match="finite"):
        factor_shock({1: np.nan}, 4)
    with pytest.raises(FactorError, match="blend"):
        stress_covariance(covariance(0), 1.0, 1.5)


@pytest.mark.parametrize("n", [1, 7, 100, 1000])
@pytest.mark.parametrize("confidence", [0.6, 0.95, 0.99])
def test_the_tail_of_scenarios_is_that_of_the_sample(n, confidence):
    returns = np.random.default_rng(n).standard_normal((3, n)) * 0.02
    value, shortfall = scenario_tail(returns, confidence)
    right = mixture_tail(-returns, np.zeros(3), confidence)
    np.testing.assert_allclose(value, right[0], rtol=1e-12)
    np.testing.assert_allclose(shortfall, right[1], rtol=1e-9)
    # by hand: the mean of the worst (1 - confidence) n, the last in part
    for row, each in zip(returns, shortfall, strict=True):
        left, total = (1 - confidence) * n, 0.0
        for loss in sorted(-row, reverse=True):
            part = min(left, 1.0)
            left, total = left - part, total + part * loss
        assert each == pytest.approx(total / ((1 - confidence) * n), rel=1e-9)


def test_a_tail_needs_a_level_and_a_scenario():
    with pytest.raises(FactorError, match="confidence"):
        scenario_tail(np.ones((1, 3)), 0.3)
    with pytest.raises(FactorError):
        scenario_tail(np.ones((1, 0)), 0.9)
