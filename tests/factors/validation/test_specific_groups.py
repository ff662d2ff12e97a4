"""Specific risk by group: who belongs to one on which day, and what is said of its portfolio and of its names."""

import numpy as np
import pytest

from factors.validation.specific_groups import EVENT_DAYS, NEW_DAYS, SpecificGroups

T, N = 480, 8
LISTED, JUMPED, RELEASED = 400, 420, 440


@pytest.fixture
def residuals():
    drawn = 0.02 * np.random.default_rng(4).standard_normal((T, N))
    drawn = np.clip(drawn, -0.06, 0.06)  # no event of its own
    drawn[:LISTED, 0] = np.nan
    drawn[JUMPED, 1] = 0.2
    return drawn


@pytest.fixture
def earnings():
    known = np.full((T, N), 5.0)
    known[RELEASED:, 2] = 6.0
    known[:LISTED, 0] = np.nan
    return known


def noted(residuals, earnings, first=200):
    groups = SpecificGroups(residuals, earnings)
    for row in range(first, T - 1):
        groups.note(row, np.full(N, 0.02**2), np.isfinite(residuals[row]))
    return {each["group"]: each for each in groups.figures()}


def test_each_group_counts_the_days_that_follow_what_makes_it(residuals, earnings):
    found = noted(residuals, earnings)
    assert found["every name"]["n_days"] == T - 1 - 200
    assert found["new listing"]["n_days"] == T - 1 - LISTED < NEW_DAYS  # the day it lists is no forecast of it
    assert found["after an event"]["n_days"] == EVENT_DAYS
    assert found["around earnings"]["n_days"] == 3
    assert found["new listing"]["names_a_day"] == found["after an event"]["names_a_day"] == 1.0


def test_figures_are_those_of_returns_over_their_forecasts(residuals, earnings):
    found = noted(residuals, earnings)
    after = residuals[JUMPED + 1 : JUMPED + 1 + EVENT_DAYS, 1] / 0.02
    assert found["after an event"]["portfolio_bias"] == pytest.approx(np.std(after, ddof=1))
    assert found["after an event"]["name_bias"] == pytest.approx(np.std(after, ddof=1))
    every = residuals[201:]
    counts = np.isfinite(every).sum(axis=1)
    # Those that list on the day have no forecast yet.
    every = np.where(np.arange(201, T)[:, None] == LISTED, np.where(np.arange(N) == 0, np.nan, every), every)
    counts = np.isfinite(every).sum(axis=1)
    portfolio = np.nanmean(every, axis=1) / (0.02 / np.sqrt(counts))
    assert found["every name"]["portfolio_bias"] == pytest.approx(np.std(portfolio, ddof=1))


def test_without_earnings_there_is_no_such_group_and_an_empty_group_says_nothing(residuals):
    quiet = np.where(np.abs(residuals) > 0.08, 0.0, residuals)
    assert set(noted(quiet[:, 2:].repeat(2, axis=1)[:, :N], None)) == {"every name"}
