import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from factors.errors import FactorError, NonFiniteError
from factors.portfolio.attribution import attribute, attribute_day, estimation_covariance


def history(seed: int, n_days: int = 30, n_assets: int = 10, n_factors: int = 3):
    rng = np.random.default_rng(seed)
    weights = rng.dirichlet(np.ones(n_assets), size=n_days)
    exposures = rng.standard_normal((n_days, n_assets, n_factors))
    factor_returns = 0.01 * rng.standard_normal((n_days, n_factors))
    residuals = 0.01 * rng.standard_normal((n_days, n_assets))
    asset_returns = np.einsum("tnk,tk->tn", exposures, factor_returns) + residuals
    return weights, exposures, factor_returns, residuals, asset_returns


@given(seed=st.integers(0, 10_000), missing=st.floats(0.0, 0.5), linking=st.sampled_from(["carino", "arithmetic"]))
@settings(max_examples=40, deadline=None)
def test_contributions_tie_out_to_the_portfolio_return(seed, missing, linking):
    weights, exposures, factor_returns, _, asset_returns = history(seed)
    rng = np.random.default_rng(seed)
    exposures[rng.random(exposures.shape[:2]) < missing] = np.nan
    asset_returns[rng.random(asset_returns.shape) < missing / 2] = np.nan
    factor_returns[rng.random(factor_returns.shape) < missing / 3] = np.nan
    benchmark = rng.dirichlet(np.ones(10), size=30) if seed % 2 else None
    result = attribute(weights, exposures, factor_returns, asset_returns=asset_returns, benchmark=benchmark)
    realised = (weights * np.nan_to_num(asset_returns)).sum(axis=1)
    passive = 0.0 if benchmark is None else (benchmark * np.nan_to_num(asset_returns)).sum(axis=1)
    parts = result.factor.sum(axis=1) + result.specific + result.unexplained
    np.testing.assert_allclose(result.portfolio_returns, realised, atol=1e-14)
    np.testing.assert_allclose(parts, realised - passive, atol=1e-12)
    for period in [result.total(linking), *result.by_period([day // 7 for day in range(30)], linking)]:
        whole = period.factor.sum() + period.specific + period.unexplained
        assert whole == pytest.approx(period.active_return, abs=1e-10)


def test_linked_contributions_sum_to_the_compounded_return():
    weights, exposures, factor_returns, residuals, asset_returns = history(1)
    total = attribute(weights, exposures, factor_returns, residuals).total()
    compounded = np.prod(1.0 + (weights * asset_returns).sum(axis=1)) - 1.0
    assert total.portfolio_return == pytest.approx(compounded, rel=1e-12)
    assert total.factor.sum() + total.specific == pytest.approx(compounded, abs=1e-12)


def test_the_contribution_of_a_factor_is_exposure_times_return():
    weights, exposures, factor_returns, residuals, _ = history(2)
    result = attribute(weights, exposures, factor_returns, residuals)
    np.testing.assert_allclose(result.factor, np.einsum("tn,tnk->tk", weights, exposures) * factor_returns, atol=1e-16)
    np.testing.assert_allclose(result.specific, (weights * residuals).sum(axis=1), atol=1e-15)


def test_costs_and_cash_are_unexplained():
    weights, exposures, factor_returns, residuals, asset_returns = history(3)
    realised = (weights * asset_returns).sum(axis=1) - 0.0005
    result = attribute(weights, exposures, factor_returns, residuals, portfolio_returns=realised)
    np.testing.assert_allclose(result.unexplained, -0.0005, atol=1e-15)
    assert np.array_equal(result.portfolio_returns, realised)


def test_an_asset_outside_coverage_is_unexplained_and_one_without_a_return_is_counted():
    weights, exposures, factor_returns, _, asset_returns = history(4)
    exposures[:, 3] = np.nan
    asset_returns[5, 0] = np.nan
    result = attribute(weights, exposures, factor_returns, asset_returns=asset_returns)
    np.testing.assert_allclose(result.unexplained, weights[:, 3] * asset_returns[:, 3], atol=1e-16)
    assert result.missing_weight[5] == weights[5, 0]
    assert result.missing_weight.sum() == weights[5, 0]


def test_a_portfolio_that_is_its_benchmark_has_nothing_to_attribute():
    weights, exposures, factor_returns, residuals, _ = history(5)
    total = attribute(weights, exposures, factor_returns, residuals, benchmark=weights).total()
    assert total.active_return == 0.0
    assert not total.factor.any()
    assert total.specific == 0.0


def test_standard_errors_are_those_of_the_estimated_factor_returns():
    # Many samples of the same regression: the spread of a factor's contribution must be the error stated.
    rng = np.random.default_rng(0)
    X = np.column_stack([np.ones(40), rng.standard_normal((40, 2))])
    regression = rng.random(40) + 0.5
    deviation = 0.01 + 0.02 * rng.random(40)
    mimicking = np.linalg.solve(X.T @ (regression[:, None] * X), X.T * regression)
    covariance = estimation_covariance(mimicking, deviation**2)
    weights = rng.dirichlet(np.ones(40))
    truth = np.array([0.01, -0.02, 0.005])
    samples = truth @ X.T + deviation * rng.standard_normal((4000, 40))
    estimated = samples @ mimicking.T
    result = attribute(
        weights, X, estimated, asset_returns=samples, factor_return_covariance=np.tile(covariance, (4000, 1, 1))
    )
    np.testing.assert_allclose(result.factor.std(axis=0), result.factor_errors[0], rtol=0.05)
    assert result.factor.sum(axis=1).std() == pytest.approx(result.specific_errors[0], rel=0.05)
    total = result.total("arithmetic")
    np.testing.assert_allclose(total.factor_errors, result.factor_errors[0] * np.sqrt(4000), rtol=1e-12)
    np.testing.assert_allclose(total.factor_sampling_errors, result.factor.std(axis=0, ddof=1) * np.sqrt(4000))


def test_standard_errors_without_correlations_may_be_given():
    weights, exposures, factor_returns, residuals, _ = history(6)
    errors = np.full((30, 3), 0.001)
    diagonal = np.tile(0.001**2 * np.eye(3), (30, 1, 1))
    one = attribute(weights, exposures, factor_returns, residuals, factor_return_covariance=errors)
    other = attribute(weights, exposures, factor_returns, residuals, factor_return_covariance=diagonal)
    np.testing.assert_allclose(one.factor_errors, other.factor_errors, rtol=1e-12)
    np.testing.assert_allclose(one.specific_errors, other.specific_errors, rtol=1e-12)


def test_one_day_of_many_portfolios_is_that_day_of_each():
    weights, exposures, factor_returns, residuals, _ = history(7)
    day = attribute_day(weights, exposures[4], factor_returns[4], residuals[4])
    single = attribute(weights[9], exposures[4:5], factor_returns[4:5], residuals[4:5])
    np.testing.assert_allclose(day.factor[9], single.factor[0], atol=1e-16)
    assert day.specific[9] == pytest.approx(single.specific[0])
    np.testing.assert_allclose(day.total, day.factor.sum(axis=1) + day.specific, atol=1e-16)


def test_exposures_may_be_a_list_of_days_or_one_for_all():
    weights, exposures, factor_returns, residuals, _ = history(8)
    as_list = attribute(weights, list(exposures), factor_returns, residuals)
    assert np.array_equal(as_list.factor, attribute(weights, exposures, factor_returns, residuals).factor)
    fixed = attribute(weights, exposures[0], factor_returns, residuals)
    repeated = attribute(weights, np.tile(exposures[0], (30, 1, 1)), factor_returns, residuals)
    assert np.array_equal(fixed.factor, repeated.factor)


def test_errors_name_what_is_wrong():
    weights, exposures, factor_returns, residuals, _ = history(9)
    with pytest.raises(FactorError, match="residuals or asset_returns"):
        attribute(weights, exposures, factor_returns)
    with pytest.raises(FactorError, match="exposures must be of 30 days"):
        attribute(weights, exposures[:3], factor_returns, residuals)
    with pytest.raises(NonFiniteError, match="weights is nan"):
        attribute(np.where(weights > 0.3, np.nan, weights), exposures, factor_returns, residuals)
    with pytest.raises(FactorError, match="above -100 %"):
        attribute(weights, exposures, factor_returns, residuals, portfolio_returns=np.full(30, -1.0)).total()
    with pytest.raises(FactorError, match="labels must be 30"):
        attribute(weights, exposures, factor_returns, residuals).by_period([1, 2])
