import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from factors import analytics
from factors.analytics.cross_section import rank_rows
from factors.errors import FactorError


def panel(seed: int, n_dates: int = 40, n_assets: int = 25, missing: float = 0.1):
    rng = np.random.default_rng(seed)
    scores = rng.standard_normal((n_dates, n_assets)).round(1)
    returns = 0.02 * rng.standard_normal((n_dates, n_assets)) + 0.002 * np.roll(scores, 1, axis=0)
    scores[rng.random(scores.shape) < missing] = np.nan
    returns[rng.random(returns.shape) < missing] = np.nan
    return scores, returns


@given(seed=st.integers(0, 1000), missing=st.floats(0.0, 0.8))
@settings(max_examples=20, deadline=None)
def test_coefficients_are_those_of_scipy_on_each_date(seed, missing):
    scores, returns = panel(seed, 8, 15, missing)
    following = analytics.forward_returns(returns, 2)
    for method, reference in (("pearson", stats.pearsonr), ("rank", stats.spearmanr)):
        coefficients = analytics.information_coefficient(scores, following, method)
        for t, coefficient in enumerate(coefficients):
            both = ~np.isnan(scores[t]) & ~np.isnan(following[t])
            varied = both.sum() > 2 and np.ptp(scores[t, both]) > 0.0
            if varied:
                assert coefficient == pytest.approx(reference(scores[t, both], following[t, both])[0], abs=1e-12)
            else:
                assert np.isnan(coefficient)


def test_ranks_are_those_of_scipy_with_ties_averaged():
    scores, _ = panel(1, 5, 30, 0.0)
    np.testing.assert_array_equal(rank_rows(scores), stats.rankdata(scores, axis=1))


def test_forward_returns_compound_the_days_after():
    returns = np.array([[0.5], [0.1], [0.2], [np.nan], [0.3]])
    two = analytics.forward_returns(returns, 2)[:, 0]
    assert two[0] == pytest.approx(1.1 * 1.2 - 1.0)
    assert np.isnan(two[1:]).all()


def test_information_decays_when_the_score_predicts_one_day_only():
    rng = np.random.default_rng(2)
    scores = rng.standard_normal((300, 50))
    returns = 0.02 * rng.standard_normal((300, 50))
    returns[1:] += 0.01 * scores[:-1]
    decay = analytics.information_decay(scores, returns, [1, 2, 5, 10])
    assert decay[0] > 0.3
    assert np.abs(decay[1:]).max() < 0.05


def test_the_summary_tests_the_mean_with_overlap_in_mind():
    coefficients = np.random.default_rng(3).standard_normal(400) * 0.1 + 0.02
    coefficients[7] = np.nan
    known = coefficients[~np.isnan(coefficients)]
    plain = analytics.information_summary(coefficients)
    assert plain.n_dates == 399
    assert plain.t_statistic == pytest.approx(stats.ttest_1samp(known, 0.0).statistic, rel=1e-12)
    overlapping = np.convolve(coefficients[8:], np.ones(5) / 5, mode="valid")
    naive = analytics.information_summary(overlapping).t_statistic
    assert abs(analytics.information_summary(overlapping, horizon=5).t_statistic) < abs(naive)


def test_quantiles_hold_equal_numbers_in_order():
    scores = np.random.default_rng(4).permutation(100).astype(float)[None, :]
    quantiles = analytics.assign_quantiles(scores, 5)[0]
    assert np.array_equal(np.bincount(quantiles)[1:], np.full(5, 20))
    assert scores[0, quantiles == 1].max() < scores[0, quantiles == 2].min()


def test_quantile_returns_rise_with_a_score_that_predicts():
    rng = np.random.default_rng(5)
    scores = rng.standard_normal((200, 100))
    following = 0.01 * scores + 0.01 * rng.standard_normal((200, 100))
    means = analytics.quantile_returns(scores, following, 5)
    assert (np.diff(means.mean(axis=0)) > 0.0).all()
    np.testing.assert_allclose(means.mean(axis=1), 0.0, atol=1e-15)
    spread = analytics.quantile_spread(scores, following, 5)
    np.testing.assert_allclose(spread, means[:, 4] - means[:, 0], atol=1e-15)


def test_a_date_with_too_few_assets_has_no_quantiles():
    scores = np.array([[1.0, 2.0, np.nan, np.nan, np.nan, np.nan], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]])
    quantiles = analytics.assign_quantiles(scores, 3)
    assert not quantiles[0].any()
    assert quantiles[1].tolist() == [1, 1, 2, 2, 3, 3]
    means = analytics.quantile_returns(scores, np.ones((2, 6)), 3)
    assert np.isnan(means[0]).all()


def test_turnover_counts_newcomers():
    quantiles = np.array([[1, 1, 2, 2], [1, 2, 1, 2], [1, 2, 1, 2]])
    np.testing.assert_array_equal(analytics.quantile_turnover(quantiles, 1), [np.nan, 0.5, 0.0])
    assert np.isnan(analytics.quantile_turnover(quantiles, 3)).all()


def test_names_that_a_score_speaks_of_for_the_first_time_have_not_turned_over():
    scores = np.tile(np.arange(10.0), (12, 1))
    scores[:5] = np.nan  # a window that is not full yet
    turnover = analytics.quantile_turnover(analytics.assign_quantiles(scores, 5), 5, 2)
    np.testing.assert_array_equal(turnover, [np.nan] * 7 + [0.0] * 5)


def test_a_frozen_score_has_rank_autocorrelation_one():
    scores = np.tile(np.arange(10.0), (4, 1))
    np.testing.assert_allclose(analytics.rank_autocorrelation(scores)[1:], 1.0)
    scores[2] = -scores[2]
    np.testing.assert_allclose(analytics.rank_autocorrelation(scores)[2:], -1.0)


@given(seed=st.integers(0, 1000))
@settings(max_examples=15, deadline=None)
def test_permuting_assets_changes_no_figure(seed):
    scores, returns = panel(seed)
    order = np.random.default_rng(seed).permutation(25)
    following = analytics.forward_returns(returns)
    for figure in (
        analytics.information_coefficient,
        lambda s, r: analytics.quantile_returns(s, r, 3),
        lambda s, _: analytics.rank_autocorrelation(s),
    ):
        np.testing.assert_allclose(
            figure(scores[:, order], following[:, order]), figure(scores, following), rtol=1e-9, atol=1e-12
        )


def test_the_correlation_of_factor_returns_is_that_of_numpy():
    returns = np.random.default_rng(6).standard_normal((100, 4)) * 0.01
    np.testing.assert_allclose(analytics.factor_correlation(returns), np.corrcoef(returns.T), rtol=1e-10)


def test_the_correlation_of_scores_is_the_mean_over_dates():
    first, second = panel(7)
    matrix = analytics.factor_correlation([first, second], ranked=True)
    expected = np.nanmean(analytics.information_coefficient(first, second, "rank"))
    assert matrix[0, 1] == matrix[1, 0] == pytest.approx(expected)
    assert matrix[0, 0] == pytest.approx(1.0)


def test_momentum_compounds_the_window_before_the_lag():
    returns = 0.01 * np.random.default_rng(8).standard_normal((60, 2))
    momentum = analytics.factor_momentum(returns, window=20, lag=5)
    assert np.isnan(momentum[:24]).all()
    np.testing.assert_allclose(momentum[24], np.prod(1.0 + returns[:20], axis=0) - 1.0, rtol=1e-10)
    np.testing.assert_allclose(momentum[59], np.prod(1.0 + returns[35:55], axis=0) - 1.0, rtol=1e-10)


def test_the_trend_is_the_least_squares_line_through_cumulative_log_returns():
    returns = 0.01 * np.random.default_rng(9).standard_normal((50, 3))
    returns[10, 2] = np.nan
    trend = analytics.factor_trend(returns, window=30)
    for factor in (0, 1):
        line = stats.linregress(np.arange(30), np.cumsum(np.log1p(returns[20:, factor])))
        assert trend.slope[49, factor] == pytest.approx(line.slope, rel=1e-10)
        assert trend.r_squared[49, factor] == pytest.approx(line.rvalue**2, rel=1e-10)
    assert np.isnan(trend.slope[39, 2])
    assert np.isfinite(trend.slope[40, 2])


def test_errors_name_what_is_wrong():
    scores, returns = panel(0)
    with pytest.raises(FactorError, match="horizon"):
        analytics.forward_returns(returns, 0)
    with pytest.raises(FactorError, match="method"):
        analytics.information_coefficient(scores, returns, "kendall")
    with pytest.raises(FactorError, match="following must have shape"):
        analytics.information_coefficient(scores, returns[:3])
    with pytest.raises(FactorError, match="n_quantiles"):
        analytics.assign_quantiles(scores, 1)
