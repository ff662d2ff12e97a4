import pytest

from contracts.backoff import backoff_s


@pytest.mark.parametrize(("failures", "pause"), [(-1, 0.1), (0, 0.1), (1, 0.5), (2, 2.0), (3, 2.0), (10**9, 2.0)])
def test_the_last_step_goes_on(failures, pause):
    assert backoff_s((0.1, 0.5, 2.0), failures) == pause
