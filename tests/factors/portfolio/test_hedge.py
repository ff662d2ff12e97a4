"""Hedges against a general solver, and what they must leave at zero."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from factors.errors import FactorError
from factors.portfolio.hedge import hedge
from factors.risk.linked import link


def market(seed, n_assets=12, n_factors=4):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n_assets, n_factors))
    root = rng.standard_normal((n_factors, 6)) * 0.01
    variance = (0.01 + 0.02 * rng.random(n_assets)) ** 2
    return rng, X, root @ root.T, variance


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 9999), n_instruments=st.integers(1, 4))
def test_no_other_weights_have_less_risk(seed, n_instruments):
    rng, X, F, variance = market(seed)
    weights = rng.dirichlet(np.ones(12))
    E = np.eye(12)[rng.choice(12, n_instruments, replace=False)]
    linked = link([np.array([0, 3])], rng.standard_normal((50, 12)))
    found = hedge(weights, E, X, F, variance, linked=linked)
    dense = X @ F @ X.T + np.diag(variance)
    dense[0, 3] += linked.correlations[0][0, 1] * np.sqrt(variance[0] * variance[3])
    dense[3, 0] = dense[0, 3]

    def risk(h):
        w = weights + h @ E
        return w @ dense @ w

    best = minimize(risk, np.zeros(n_instruments), tol=1e-16)
    assert found.after**2 <= best.fun * (1 + 1e-9)
    assert found.after**2 == pytest.approx(risk(found.weights), rel=1e-9)
    assert found.after <= found.before


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 9999))
def test_neutral_factors_are_zero_and_the_rest_is_least_risk(seed):
    rng, X, F, variance = market(seed)
    weights, benchmark = rng.dirichlet(np.ones(12)), np.full(12, 1 / 12)
    E = np.eye(12)[:5]
    found = hedge(weights, E, X, F, variance, neutral=[1, 3], benchmark=benchmark)
    np.testing.assert_allclose(found.exposures[[1, 3]], 0.0, atol=1e-9)
    dense = X @ F @ X.T + np.diag(variance)
    gradient = E @ dense @ (weights - benchmark + found.weights @ E)
    # What is left of the gradient is a mixture of the constraints.
    C = X[:5][:, [1, 3]]
    left = gradient - C @ np.linalg.lstsq(C, gradient, rcond=None)[0]
    np.testing.assert_allclose(left, 0.0, atol=1e-9)


def test_two_instruments_that_are_one_share_the_hedge():
    rng, X, F, variance = market(0)
    weights = rng.dirichlet(np.ones(12))
    once = hedge(weights, np.eye(12)[:1], X, F, variance)
    twice = hedge(weights, np.eye(12)[[0, 0]], X, F, variance)
    assert twice.after == pytest.approx(once.after, rel=1e-9)
    assert twice.weights.sum() == pytest.approx(once.weights[0], rel=1e-9)


def test_what_instruments_cannot_reach_is_an_error():
    rng, X, F, variance = market(1)
    with pytest.raises(FactorError, match="1 instruments cannot set 2 exposures"):
        hedge(rng.dirichlet(np.ones(12)), np.eye(12)[:1], X, F, variance, neutral=[0, 1])


def test_an_instrument_that_the_model_does_not_cover_is_an_error():
    rng, X, F, variance = market(2)
    X[4] = np.nan
    weights = rng.dirichlet(np.ones(12))
    weights[4] = 0.0
    with pytest.raises(FactorError, match="without exposures"):
        hedge(weights, np.eye(12)[4:5], X, F, variance)
