import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.reading.confidence import confidence_score

COVERAGE, OBSERVATIONS, PARAMETERS = st.floats(0.0, 1.0), st.floats(0.0, 1e6), st.integers(1, 1000)


def test_it_is_the_covered_share_times_what_the_observations_keep():
    assert confidence_score(0.8, 300, 100) == pytest.approx(0.6)


@given(COVERAGE, OBSERVATIONS, PARAMETERS)
def test_it_lies_between_none_and_all_and_more_coverage_and_more_observations_never_lower_it(coverage, n, k):
    score = confidence_score(coverage, n, k)
    assert 0.0 <= score <= 1.0
    assert confidence_score(min(coverage + 0.1, 1.0), n, k) >= score
    assert confidence_score(coverage, n + 10, k) >= score
    assert confidence_score(coverage, n, k + 10) <= score


@pytest.mark.parametrize(("coverage", "n"), [(0.0, 100), (1.0, 0), (1.0, -5)])
def test_nothing_covered_or_nothing_observed_gives_none(coverage, n):
    assert confidence_score(coverage, n, 10) == 0.0
