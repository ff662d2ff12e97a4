"""Significance after many trials, held to the figures of the papers and to simulation."""

import numpy as np
import pytest
from scipy import stats

from factors.analytics.significance import (
    adjusted_p_value,
    deflated_sharpe,
    expected_best_sharpe,
    mean_t_statistic,
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
