import numpy as np
import pytest

from factors.validation.statistics import (
    bias_interval,
    bias_statistic,
    breach_share,
    mean_rolling_deviation,
    qlike,
    rolling_bias,
    standardized_outcomes,
)


def outcomes(scale: float = 1.0, n_periods: int = 4000, n_portfolios: int = 20) -> np.ndarray:
    return scale * np.random.default_rng(0).standard_normal((n_periods, n_portfolios))


def test_right_forecasts_have_bias_one_and_the_qlike_of_the_normal_distribution():
    b = outcomes()
    assert bias_statistic(b).mean() == pytest.approx(1.0, abs=0.01)
    assert qlike(b) == pytest.approx(np.euler_gamma + np.log(2.0), abs=0.02)


def test_understated_risk_shows_as_a_bias_above_one_and_both_errors_cost_qlike():
    assert bias_statistic(outcomes(1.3)).mean() == pytest.approx(1.3, abs=0.02)
    right = qlike(outcomes())
    assert qlike(outcomes(1.3)) > right
    assert qlike(outcomes(0.7)) > right


def test_the_interval_holds_right_forecasts_nineteen_times_in_twenty():
    b = np.random.default_rng(1).standard_normal((250, 4000))
    low, high = bias_interval(250)
    bias = bias_statistic(b)
    assert ((bias > low) & (bias < high)).mean() == pytest.approx(0.955, abs=0.01)


def test_the_rolling_deviation_of_right_forecasts_is_that_of_theory():
    assert mean_rolling_deviation(outcomes(n_portfolios=40), 252) == pytest.approx(np.sqrt(1 / (np.pi * 252)), rel=0.1)


def test_rolling_bias_is_the_bias_of_each_window():
    b = outcomes(n_periods=30, n_portfolios=2)
    rolled = rolling_bias(b, 10)
    assert rolled.shape == (21, 2)
    np.testing.assert_allclose(rolled[7], b[7:17].std(axis=0, ddof=1), rtol=1e-12)
    assert np.isnan(mean_rolling_deviation(b, 31))


def test_periods_without_a_forecast_are_left_out():
    b = standardized_outcomes(np.array([[0.1], [0.2], [0.3]]), np.array([[0.1], [0.0], [np.nan]]))
    assert b[0, 0] == 1.0
    assert np.isnan(b[1:]).all()
    assert np.isnan(bias_statistic(b)).all()


def test_right_forecasts_are_breached_as_often_as_the_confidence_says():
    outcomes = np.random.default_rng(4).standard_normal((2000, 50))
    outcomes[0] = np.nan
    assert breach_share(outcomes, 0.95) == pytest.approx(0.05, abs=0.003)
    assert breach_share(outcomes, 0.99) == pytest.approx(0.01, abs=0.002)
    assert breach_share(2.0 * outcomes, 0.99) > 0.1
    assert np.isnan(breach_share(np.full((3, 2), np.nan), 0.95))
