"""Scores across names made comparable, and blended."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from factors.analytics.signals import blend, standardised

NAN = np.nan


def test_zscores_have_mean_0_and_deviation_1_and_keep_what_is_missing():
    z = standardised(np.array([1.0, 2.0, NAN, 6.0]))
    np.testing.assert_allclose(z, np.array([-2.0, -1.0, NAN, 3.0]) / np.sqrt(7.0))


@pytest.mark.parametrize("scores", [[1.0], [NAN, NAN], [0.1, 0.1, 0.1], [3.0, NAN]])
def test_names_that_do_not_differ_have_no_zscore(scores):
    assert np.isnan(standardised(np.array(scores))).all()


def test_a_names_missing_scores_leave_their_weight_to_its_others():
    z = np.array([[1.0, NAN, NAN], [-3.0, 2.0, NAN]])
    np.testing.assert_array_equal(blend(z, np.array([3.0, -1.0])), [(3.0 + 3.0) / 4.0, -2.0, NAN])


@pytest.mark.parametrize("weights", [[0.0, 0.0], [NAN, 0.0]])
def test_scores_without_weight_say_nothing(weights):
    assert np.isnan(blend(np.ones((2, 3)), np.array(weights))).all()


@given(st.integers(0, 999))
def test_a_blend_lies_between_its_zscores(seed):
    rng = np.random.default_rng(seed)
    z = np.where(rng.random((3, 6)) < 0.3, NAN, rng.normal(size=(3, 6)))
    made = blend(z, rng.random(3) + 0.01)
    for n in range(6):
        known = z[~np.isnan(z[:, n]), n]
        assert np.isnan(made[n]) if not known.size else known.min() - 1e-12 <= made[n] <= known.max() + 1e-12
