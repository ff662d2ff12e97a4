"""Hedges against a general solver, and what they must leave at zero."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from factors.errors import FactorError
from factors.portfolio.hedge import hedge
from factors.portfolio.hedge_limits import HedgeLimits
from factors.portfolio.limits import InfeasibleError
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


def wide(n, gross=None, **changes):
    return HedgeLimits(**{"least": np.full(n, -np.inf), "most": np.full(n, np.inf), "gross": gross, **changes})


def test_limits_that_do_not_bind_leave_the_closed_form_to_the_bit():
    rng, X, F, variance = market(5)
    weights = rng.dirichlet(np.ones(12))
    free = hedge(weights, np.eye(12)[:4], X, F, variance, neutral=[1])
    size = np.abs(free.weights)
    limits = wide(4, gross=size.sum() + 0.1, least=-size - 0.1, most=size + 0.1)
    held = hedge(weights, np.eye(12)[:4], X, F, variance, neutral=[1], limits=limits)
    assert held.weights.tolist() == free.weights.tolist()
    assert held.binding == {}


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 9999), share=st.floats(0.2, 0.9), neutral=st.booleans())
def test_under_limits_no_other_weights_have_less_risk_by_another_solver(seed, share, neutral):
    rng, X, F, variance = market(seed)
    weights, E = rng.dirichlet(np.ones(12)), np.eye(12)[:5]
    chosen = [2] if neutral else []
    free = hedge(weights, E, X, F, variance, neutral=chosen)
    most = share * np.abs(free.weights).max()
    limits = wide(5, gross=5.0 * np.abs(free.weights).sum(), least=np.full(5, -most), most=np.full(5, most))
    out_of_reach = np.abs(X[:, 2] @ weights) - most * np.abs(X[:5, 2]).sum()
    assume(abs(out_of_reach) > 1e-6)
    if neutral and out_of_reach > 0.0:
        with pytest.raises(InfeasibleError, match=r"neutral_factors\.2"):
            hedge(weights, E, X, F, variance, neutral=chosen, limits=limits)
        return
    found = hedge(weights, E, X, F, variance, neutral=chosen, limits=limits)
    dense = X @ F @ X.T + np.diag(variance)
    scale = 1.0 / np.median(variance)

    def risk(h):
        w = weights + h @ E
        return scale * (w @ dense @ w)

    def slope(h):
        return 2.0 * scale * (E @ dense @ (weights + h @ E))

    # Sequential quadratic programming (scipy) is no interior-point method of a conic form (Clarabel).
    conditions = [{"type": "eq", "fun": lambda h: X[:, 2] @ (weights + h @ E)}] if neutral else []
    other = minimize(
        risk, np.zeros(5), jac=slope, method="SLSQP", bounds=[(-most, most)] * 5, constraints=conditions,
        options={"maxiter": 500, "ftol": 1e-14},
    )  # fmt: skip
    assume(other.success)  # it gives up on some that can be solved
    assert np.abs(found.weights).max() <= most + 1e-7
    assert scale * found.after**2 == pytest.approx(other.fun, rel=1e-6)
    np.testing.assert_allclose(found.weights, other.x, atol=1e-4)
    assert found.binding


def test_a_hedge_that_may_not_be_short_is_none_where_only_short_ones_would_help():
    _, X, F, variance = market(3)
    X = np.abs(X)  # all names move with all others
    F = np.full_like(F, 1e-4) + np.diag(np.full(len(F), 1e-5))
    weights = np.eye(12)[6]
    free = hedge(weights, np.eye(12)[:3], X, F, variance)
    assert (free.weights < 0.0).all()
    found = hedge(weights, np.eye(12)[:3], X, F, variance, limits=wide(3, least=np.zeros(3)))
    assert found.weights.tolist() == [0.0, 0.0, 0.0]
    assert found.after == found.before
    assert {"positions.0", "positions.1", "positions.2"} == set(found.binding)


def test_a_gross_limit_holds_and_its_worth_is_what_a_little_more_takes_from_the_variance():
    rng, X, F, variance = market(8)
    weights, E = rng.dirichlet(np.ones(12)), np.eye(12)[:5]
    whole = np.abs(hedge(weights, E, X, F, variance).weights).sum()
    made = [hedge(weights, E, X, F, variance, limits=wide(5, gross=g * whole)) for g in (0.499, 0.5, 0.501)]
    assert np.abs(made[1].weights).sum() == pytest.approx(0.5 * whole, abs=1e-7)
    measured = (made[0].after ** 2 - made[2].after ** 2) / (0.002 * whole)
    assert made[1].binding["gross"] == pytest.approx(measured, rel=1e-3)


def test_limits_that_cannot_be_met_are_named_with_what_they_stand_against():
    rng, X, F, variance = market(9)
    weights = rng.dirichlet(np.ones(12))
    limits = wide(2, gross=0.001, names=("AA", "BB"), factor_names=("market", "size", "value", "beta"))
    with pytest.raises(InfeasibleError) as told:
        hedge(weights, np.eye(12)[:2], X, F, variance, neutral=[1], limits=limits)
    assert set() < set(told.value.conflicts) <= {"gross", "neutral_factors.size"}
    for word in ("gross", "neutral_factors.size"):
        assert word in str(told.value)
    crossed = wide(2, least=np.array([0.2, 0.0]), names=("AA", "BB"), gross=0.1)
    with pytest.raises(InfeasibleError, match=r"gross.*positions\.AA|positions\.AA.*gross"):
        hedge(weights, np.eye(12)[:2], X, F, variance, limits=crossed)
    with pytest.raises(FactorError, match="least weight of AA is above"):
        wide(2, least=np.array([0.2, 0.0]), most=np.array([0.1, 1.0]), names=("AA", "BB"))
