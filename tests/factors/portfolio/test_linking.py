"""Daily contributions are linked into those of a period, and those of one day are left as they are."""

import numpy as np
import pytest

from factors.errors import FactorError
from factors.portfolio.linking import carino_scale


def test_a_day_by_itself_is_linked_with_nothing():
    rng = np.random.default_rng(1)
    for portfolio, benchmark in rng.normal(0.0, 0.02, (2000, 2)):
        found = carino_scale(np.array([portfolio]), np.array([benchmark]))
        assert (found[0].tolist(), *found[1:]) == ([1.0], portfolio, benchmark)
    with pytest.raises(FactorError, match="above -100 %"):
        carino_scale(np.array([-1.0]), np.array([0.0]))


def test_the_linked_active_returns_of_several_days_sum_to_that_of_the_period():
    rng = np.random.default_rng(2)
    portfolio, benchmark = rng.normal(0.0, 0.02, (2, 60))
    scale, whole, other = carino_scale(portfolio, benchmark)
    assert whole == pytest.approx(np.prod(1.0 + portfolio) - 1.0, rel=1e-12)
    assert float(scale @ (portfolio - benchmark)) == pytest.approx(whole - other, rel=1e-12)
