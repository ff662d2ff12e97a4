"""Weights day by day: drift, rebalancing, and names that are not there."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from factors.errors import FactorError
from factors.portfolio.holdings import daily_weights

DAYS = np.arange("2020-01-01", "2020-01-09", dtype="datetime64[D]")
NONE = np.datetime64("2019-12-31")


def test_a_book_given_once_holds_through_the_period():
    returns = np.zeros((8, 2))
    held = daily_weights(DAYS, [np.datetime64("2020-01-05")], np.array([0.6, 0.4]), returns)
    np.testing.assert_array_equal(held.weights, np.tile([0.6, 0.4], (8, 1)))


def test_holdings_of_a_close_earn_from_the_next_day_on():
    returns = np.zeros((8, 2))
    set_on = np.array(["2019-12-31", "2020-01-03"], "datetime64[D]")
    held = daily_weights(DAYS, set_on, np.array([[1.0, 0.0], [0.0, 1.0]]), returns)
    assert held.weights[:, 0].tolist() == [1, 1, 1, 0, 0, 0, 0, 0]


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 9999))
def test_a_drifting_book_earns_what_its_shares_earn(seed):
    rng = np.random.default_rng(seed)
    returns = rng.uniform(-0.2, 0.2, (8, 3))
    start = rng.uniform(0.1, 0.4, 3)
    held = daily_weights(DAYS, [NONE], start, returns, "drift")
    growth = np.prod(1.0 + (held.weights * returns).sum(axis=1))
    cash = 1.0 - start.sum()
    assert growth == pytest.approx(start @ np.prod(1.0 + returns, axis=0) + cash, rel=1e-12)


@pytest.mark.parametrize("between", ["rebalance", "drift"])
def test_others_carry_the_weight_of_a_name_until_it_is_listed(between):
    returns = np.zeros((8, 2))
    returns[:3, 1] = np.nan
    held = daily_weights(DAYS, [NONE], np.array([0.5, 0.5]), returns, between)
    assert held.weights[:3].tolist() == [[1.0, 0.0]] * 3
    assert held.weights[3:].tolist() == [[0.5, 0.5]] * 5
    assert held.absent[:, 1].tolist() == [True] * 3 + [False] * 5


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 9999))
def test_absent_names_leave_their_sides_as_large_as_they_were_on_every_day(seed):
    rng = np.random.default_rng(seed)
    weights = rng.normal(0.0, 0.3, (2, 5)).round(1)
    returns = np.where(rng.random((8, 5)) < 0.4, np.nan, 0.01)
    held = daily_weights(DAYS, [NONE, DAYS[3]], weights, returns)
    for t, day in enumerate(DAYS):
        given_weights, there = weights[int(day > DAYS[3])], ~np.isnan(returns[t])
        assert held.absent[t].tolist() == ((given_weights != 0) & ~there).tolist()
        for side in (1.0, -1.0):
            of_side = given_weights * side > 0
            left = of_side & there
            whole = given_weights[of_side].sum() if left.any() else 0.0
            expected = np.where(left, given_weights, 0.0)
            expected *= whole / expected.sum() if left.any() else 0.0
            np.testing.assert_allclose(held.weights[t][of_side], expected[of_side], rtol=1e-13)


def test_a_late_name_enters_a_drifted_book_at_its_weight():
    returns = np.zeros((8, 3))
    returns[:, 0] = 0.1
    returns[:3, 2] = np.nan
    held = daily_weights(DAYS, [NONE], np.array([0.25, 0.25, 0.5]), returns, "drift")
    assert held.weights[3, 2] == pytest.approx(0.5)
    assert held.weights[3].sum() == pytest.approx(1.0)
    assert held.weights[3, 0] / held.weights[3, 1] == pytest.approx(1.1**3)


def test_sides_carry_their_own_and_cash_keeps_what_nobody_is_left_to_carry():
    returns = np.zeros((8, 3))
    returns[:, 2] = np.nan
    weights = np.array([0.6, 0.4, -0.5])
    held = daily_weights(DAYS, [NONE], weights, returns)
    np.testing.assert_array_equal(held.weights, np.tile([0.6, 0.4, 0.0], (8, 1)))
    returns[:, 1:] = np.nan
    held = daily_weights(DAYS, [NONE], weights, returns)
    np.testing.assert_array_equal(held.weights, np.tile([1.0, 0.0, 0.0], (8, 1)))


def test_as_cash_the_weight_of_an_absent_name_earns_nothing():
    returns = np.full((8, 2), 0.01)
    returns[:3, 1] = np.nan
    held = daily_weights(DAYS, [NONE], np.array([0.5, 0.5]), returns, absent="cash")
    assert held.weights[:3].tolist() == [[0.5, 0.0]] * 3


def test_holdings_out_of_order_and_a_ruined_book_are_errors():
    with pytest.raises(FactorError, match="ascending"):
        daily_weights(DAYS, DAYS[:2][::-1], np.ones((2, 1)), np.zeros((8, 1)))
    with pytest.raises(FactorError, match="falls to nothing on 2020-01-01"):
        daily_weights(DAYS, [NONE], np.array([2.0, -1.0]), np.tile([-0.6, 0.0], (8, 1)), "drift")
