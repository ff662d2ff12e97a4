import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from factors.errors import FactorError, NonFiniteError
from factors.portfolio.risk import portfolio_exposures, portfolio_risk


def model(seed: int, n_portfolios: int = 3, n_assets: int = 12, n_factors: int = 4):
    rng = np.random.default_rng(seed)
    weights = rng.standard_normal((n_portfolios, n_assets))
    X = rng.standard_normal((n_assets, n_factors))
    root = 0.01 * rng.standard_normal((n_factors, n_factors + int(rng.integers(-1, 3))))
    return weights, X, root @ root.T, (0.02 * rng.random(n_assets)) ** 2


shapes = {
    "seed": st.integers(0, 10_000),
    "n_portfolios": st.integers(1, 5),
    "n_assets": st.integers(1, 30),
    "n_factors": st.integers(2, 8),
}


@given(**shapes)
@settings(max_examples=50, deadline=None)
def test_contributions_sum_to_total_risk(seed, n_portfolios, n_assets, n_factors):
    weights, X, F, variance = model(seed, n_portfolios, n_assets, n_factors)
    risk = portfolio_risk(weights, X, F, variance)
    np.testing.assert_allclose(risk.contributions.sum(axis=1), risk.total, rtol=1e-10, atol=1e-10)
    parts = risk.factor_contributions.sum(axis=1) + risk.specific_contribution
    np.testing.assert_allclose(parts, risk.total, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(risk.percent.sum(axis=1), 1.0, atol=1e-10)
    np.testing.assert_allclose(risk.percent_factor.sum(axis=1) + risk.percent_specific, 1.0, atol=1e-10)
    np.testing.assert_allclose(risk.factor**2 + risk.specific**2, risk.total**2, rtol=1e-12)


@given(**shapes)
@settings(max_examples=30, deadline=None)
def test_factored_risk_is_that_of_the_dense_covariance(seed, n_portfolios, n_assets, n_factors):
    weights, X, F, variance = model(seed, n_portfolios, n_assets, n_factors)
    benchmark = np.abs(weights[0]) / np.abs(weights[0]).sum()
    dense = X @ F @ X.T + np.diag(variance)
    risk = portfolio_risk(weights, X, F, variance, benchmark)
    active = weights - benchmark
    np.testing.assert_allclose(risk.total**2, np.einsum("pi,ij,pj->p", weights, dense, weights), rtol=1e-9)
    np.testing.assert_allclose(
        risk.active.risk.total**2, np.einsum("pi,ij,pj->p", active, dense, active), rtol=1e-8, atol=1e-16
    )
    np.testing.assert_allclose(
        risk.active.beta, weights @ dense @ benchmark / (benchmark @ dense @ benchmark), rtol=1e-8
    )
    np.testing.assert_allclose(risk.active.benchmark_risk**2, benchmark @ dense @ benchmark, rtol=1e-10)


def test_the_asset_covariance_is_never_formed():
    weights, X, F, variance = model(0, n_portfolios=2, n_assets=6_000, n_factors=20)
    tracemalloc.start()
    risk = portfolio_risk(weights, X, F, variance, np.abs(weights[0]))
    covariance_would_take = 6_000**2 * 8
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < covariance_would_take / 20
    assert (risk.total > 0.0).all()


def test_the_marginal_contribution_is_the_derivative_of_total_risk():
    weights, X, F, variance = model(3, n_portfolios=1)
    risk = portfolio_risk(weights, X, F, variance)
    step = 1e-6
    for asset in range(weights.shape[1]):
        nudge = step * np.eye(weights.shape[1])[asset]
        up, down = (portfolio_risk(weights + sign * nudge, X, F, variance).total[0] for sign in (1.0, -1.0))
        assert risk.marginal[0, asset] == pytest.approx((up - down) / (2 * step), rel=1e-6, abs=1e-9)


@given(seed=st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_permuting_assets_permutes_contributions_only(seed):
    weights, X, F, variance = model(seed)
    order = np.random.default_rng(seed).permutation(12)
    plain = portfolio_risk(weights, X, F, variance)
    permuted = portfolio_risk(weights[:, order], X[order], F, variance[order])
    np.testing.assert_allclose(permuted.total, plain.total, rtol=1e-12)
    np.testing.assert_allclose(permuted.contributions, plain.contributions[:, order], rtol=1e-9, atol=1e-15)


def test_many_portfolios_at_once_are_each_alone():
    weights, X, F, variance = model(4, n_portfolios=64, n_assets=100)
    together = portfolio_risk(weights, X, F, variance)
    for i in (0, 17, 63):
        alone = portfolio_risk(weights[i], X, F, variance)
        assert together.total[i] == pytest.approx(alone.total[0], rel=1e-12)


def test_an_asset_that_nobody_holds_may_be_unknown():
    weights, X, F, variance = model(5)
    weights[:, 2] = 0.0
    expected = portfolio_risk(weights, X, F, variance)
    X[2], variance[2] = np.nan, np.nan
    given_nan = portfolio_risk(weights, X, F, variance)
    np.testing.assert_array_equal(given_nan.total, expected.total)
    np.testing.assert_array_equal(portfolio_exposures(weights, X), expected.exposures)


def test_a_held_asset_without_exposures_is_an_error_that_says_where():
    weights, X, F, variance = model(5)
    X[7, 1] = np.nan
    with pytest.raises(NonFiniteError, match="exposures are missing for 1 assets that have weight, the first at 7"):
        portfolio_exposures(weights, X)
    X[7, 1], variance[4] = 0.0, np.nan
    with pytest.raises(NonFiniteError, match="specific_variance is missing"):
        portfolio_risk(weights, X, F, variance)


def test_an_empty_portfolio_has_no_risk_and_no_shares():
    _, X, F, variance = model(6)
    risk = portfolio_risk(np.zeros(12), X, F, variance, np.zeros(12))
    assert risk.total[0] == 0.0
    assert not risk.percent.any()
    assert np.isnan(risk.active.beta[0])


def test_the_benchmark_has_beta_one_and_no_active_risk():
    weights, X, F, variance = model(7)
    benchmark = np.abs(weights[0])
    risk = portfolio_risk(benchmark, X, F, variance, benchmark)
    assert risk.active.beta[0] == pytest.approx(1.0, rel=1e-12)
    assert risk.active.risk.total[0] == 0.0


def test_wrong_shapes_are_errors():
    weights, X, F, variance = model(8)
    with pytest.raises(FactorError, match="weights must have 12 columns"):
        portfolio_exposures(weights[:, :5], X)
    with pytest.raises(FactorError, match="specific_variance must have 12 columns"):
        portfolio_risk(weights, X, F, variance[:3])
    with pytest.raises(FactorError, match="factor_covariance"):
        portfolio_risk(weights, X, F[:, :2], variance)
    with pytest.raises(FactorError, match="negative"):
        portfolio_risk(weights, X, F, -variance)
