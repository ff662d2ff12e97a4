"""The forms of a cross-section and the correlations between factors are those of their definitions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.stats import spearmanr

from factors.library.definitions.scores import cross_section, rank_correlations

ROWS = hnp.arrays(
    np.float64,
    st.tuples(st.integers(1, 4), st.integers(3, 20)),
    elements=st.one_of(st.floats(-1e6, 1e6), st.just(np.nan)),
)


@settings(max_examples=40, deadline=None)
@given(ROWS)
def test_scores_are_defined_exactly_where_the_value_is_and_ranks_follow_it(values):
    scores = cross_section(values)
    defined = np.isfinite(values)
    for form in (scores.winsorised, scores.zscore, scores.neutralised, scores.rank):
        np.testing.assert_array_equal(np.isfinite(form), defined)
    for row, rank in zip(values, scores.rank, strict=True):
        present = np.isfinite(row)
        if present.any():
            assert 0.0 < rank[present].min() <= rank[present].max() <= 1.0
            order = np.argsort(row[present], kind="stable")
            assert (np.diff(rank[present][order]) >= 0.0).all()


def test_the_zscore_has_mean_zero_and_deviation_one_after_clipping():
    values = np.random.default_rng(0).standard_normal((3, 400))
    values[0, 0] = 100.0
    scores = cross_section(values)
    np.testing.assert_allclose(scores.zscore.mean(axis=1), 0.0, atol=1e-12)
    np.testing.assert_allclose(scores.zscore.std(axis=1, ddof=1), 1.0)
    assert scores.winsorised[0, 0] < 20.0


def test_neutral_scores_have_mean_zero_in_every_group_and_names_outside_keep_theirs():
    values = np.random.default_rng(1).standard_normal((2, 30))
    groups = np.repeat(np.array([0, 1, -1], np.int16), 10)
    scores = cross_section(values, groups)
    for code in (0, 1):
        np.testing.assert_allclose(scores.neutralised[:, groups == code].mean(axis=1), 0.0, atol=1e-12)
    np.testing.assert_array_equal(scores.neutralised[:, 20:], scores.zscore[:, 20:])


def test_rank_correlations_are_the_mean_of_the_daily_spearman():
    rng = np.random.default_rng(2)
    values = rng.standard_normal((3, 5, 40))
    values[1] = np.exp(values[0])
    matrix = rank_correlations(values)
    expected = np.mean([spearmanr(values[0, t], values[2, t]).statistic for t in range(5)])
    assert matrix[0, 1] == pytest.approx(1.0)
    assert matrix[0, 2] == pytest.approx(expected)
    np.testing.assert_allclose(matrix, matrix.T)


def test_a_constant_factor_has_no_correlation():
    values = np.random.default_rng(3).standard_normal((2, 4, 20))
    values[1] = 5.0
    assert np.isnan(rank_correlations(values)[0, 1])
