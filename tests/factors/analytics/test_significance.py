"""Significance after many trials, held to the figures of the papers and to simulation."""

import numpy as np
import pytest
from scipy import stats

from factors.analytics.information import forward_returns, information_coefficient, information_summary
from factors.analytics.significance import (
    adjusted_p_value,
    deflated_sharpe,
    degrees_of_freedom,
    expected_best_sharpe,
    mean_t_statistic,
    not_overlapping,
    p_value,
    sharpe_probability,
)
from factors.errors import FactorError


def test_the_example_of_the_paper():
    # Bailey and Lopez de Prado (2014), "A numerical example": annual ratio 2.5 over five years of days, a hundred
    # trials whose annual ratios have variance 1/2, skewness -3, kurtosis 10.
    luck = expected_best_sharpe(100, 0.5 / 250)
    assert luck == pytest.approx(0.1132, abs=5e-5)
    assert sharpe_probability(2.5 / np.sqrt(250), luck, 1250, -3.0, 10.0) == pytest.approx(0.9004, abs=5e-5)
    # Of 46 trials it would have been 0.95.
    luck = expected_best_sharpe(46, 0.5 / 250)
    assert sharpe_probability(2.5 / np.sqrt(250), luck, 1250, -3.0, 10.0) == pytest.approx(0.9505, abs=5e-4)


def test_the_expected_best_is_what_simulation_gives():
    best = np.random.default_rng(0).standard_normal((20_000, 50)).max(axis=1).mean()
    assert expected_best_sharpe(50, 1.0) == pytest.approx(best, rel=0.02)


def test_the_ratio_of_a_series_is_tested_with_its_own_moments():
    returns = np.random.default_rng(1).standard_t(5, 500) * 0.01 + 0.0005
    ratio = returns.mean() / returns.std(ddof=1)
    expected = sharpe_probability(ratio, 0.0, 500, stats.skew(returns), stats.kurtosis(returns, fisher=False))
    assert deflated_sharpe(returns, 1) == pytest.approx(expected, rel=1e-12)
    assert deflated_sharpe(returns, 100) < deflated_sharpe(returns, 10) < expected
    assert np.isnan(deflated_sharpe(np.full(10, 0.01), 1))


def test_p_values_are_those_of_the_normal_and_sidaks():
    assert p_value(1.96) == pytest.approx(2 * stats.norm.sf(1.96))
    assert adjusted_p_value(0.01, 1) == pytest.approx(0.01)
    assert adjusted_p_value(0.01, 100) == pytest.approx(1 - 0.99**100)
    assert adjusted_p_value(1.0, 5) == 1.0
    with pytest.raises(FactorError, match="trials"):
        adjusted_p_value(0.5, 0)


def test_the_t_statistic_without_lags_is_the_ordinary_one():
    series = np.random.default_rng(2).standard_normal(100)
    series[3] = np.nan
    assert mean_t_statistic(series) == pytest.approx(stats.ttest_1samp(series, 0.0, nan_policy="omit").statistic)


def test_errors_of_lags_have_the_degrees_of_freedom_that_the_lags_leave():
    series = np.random.default_rng(3).standard_normal(400)
    assert degrees_of_freedom(series) == 399.0
    assert degrees_of_freedom(series, 20) == pytest.approx(1.5 * 400 / 21 - 1.0, rel=0.05)
    assert degrees_of_freedom(series[:5], 20) < 1.0
    t = mean_t_statistic(series)
    assert p_value(t, 399.0) == pytest.approx(stats.ttest_1samp(series, 0.0).pvalue)
    assert np.isnan(p_value(3.0, 0.0))
    assert p_value(3.0, np.inf) == p_value(3.0) < p_value(3.0, 5.0)


@pytest.mark.parametrize("n_dates", [26, 40, 64])
def test_a_worthless_score_of_few_stretches_is_not_found_significant(n_dates):
    """Scores that last, and returns that overlap: by the normal distribution 4 to 9 of 10 would be."""
    found, normal = [], []
    for seed in range(100):
        rng = np.random.default_rng(seed)
        scores = rng.standard_normal((1, 40)) + 0.05 * np.cumsum(rng.standard_normal((n_dates, 40)), axis=0)
        following = forward_returns(0.02 * rng.standard_normal((n_dates, 40)), 21)
        series = information_coefficient(scores, following)
        t = information_summary(series, 21).t_statistic
        found.append(p_value(t, degrees_of_freedom(series, 20)) < 0.05)
        normal.append(p_value(t) < 0.05)
    assert np.mean(found) <= 0.2 < 0.35 < np.mean(normal)


def test_a_lag_is_a_distance_in_time_though_values_are_missing():
    """Values a month apart share no days of their returns, so nothing hangs together."""
    monthly = np.random.default_rng(4).standard_normal(15) + 0.5
    series = np.full(300, np.nan)
    series[3::21] = monthly
    assert mean_t_statistic(series, 20) == pytest.approx(stats.ttest_1samp(monthly, 0.0).statistic, rel=1e-12)
    assert degrees_of_freedom(series, 20) == 14.0
    assert not_overlapping(series, 5).tolist() == [*range(3, 300, 21)]
    assert not_overlapping(series, 22).tolist() == [*range(3, 300, 42)]
    assert not_overlapping(np.ones(10), 3).tolist() == [0, 3, 6, 9]
    # Every pair of known values counts by how many days lie between them.
    gaps = np.random.default_rng(5).standard_normal(60)
    gaps[[7, 8, 30]] = np.nan
    known = ~np.isnan(gaps)
    centred = np.where(known, gaps - gaps[known].mean(), 0.0)
    weights = np.maximum(1.0 - np.abs(np.subtract.outer(np.arange(60), np.arange(60))) / 6.0, 0.0)
    error = np.sqrt(centred @ weights @ centred / 57 / 56)
    assert mean_t_statistic(gaps, 5) == pytest.approx(gaps[known].mean() / error, rel=1e-12)
