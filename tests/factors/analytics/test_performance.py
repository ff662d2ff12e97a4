"""Performance figures held to empyrical in the oracle environment, and crowding to all pairs."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

from factors.analytics.performance import crowding, performance
from factors.errors import FactorError

PYTHON = Path(__file__).parents[3] / ".venv-oracles" / "bin" / "python"
ASK = """
import json, sys
import numpy as np, empyrical as e
r = np.array(json.load(sys.stdin))
asked = (e.annual_return, e.annual_volatility, e.sharpe_ratio, e.cum_returns_final, e.max_drawdown)
print(json.dumps([f(r) for f in asked]))
"""


@pytest.mark.oracle
@pytest.mark.skipif(not PYTHON.exists(), reason="the oracle environment is not built (make oracles)")
def test_figures_are_those_of_empyrical():
    returns = np.random.default_rng(0).standard_t(4, 700) * 0.01 + 0.0003
    done = subprocess.run(
        [PYTHON, "-W", "ignore", "-c", ASK],
        input=json.dumps(returns.tolist()),
        capture_output=True,
        text=True,
        check=True,
    )
    found = performance(returns)
    ours = [
        found.annual_return,
        found.annual_volatility,
        found.information_ratio,
        found.cumulative,
        found.max_drawdown,
    ]
    np.testing.assert_allclose(ours, json.loads(done.stdout), rtol=1e-12)


def test_the_drawdown_says_where_it_was_and_days_without_a_return_are_left_out():
    found = performance(np.array([0.1, np.nan, -0.2, -0.1, 0.3, -0.05]))
    assert found.n_days == 5
    assert found.max_drawdown == pytest.approx(0.8 * 0.9 - 1)
    assert (found.drawdown_start, found.drawdown_end) == (0, 3)
    assert found.cumulative == pytest.approx(1.1 * 0.8 * 0.9 * 1.3 * 0.95 - 1)
    assert found.share_positive == pytest.approx(0.4)
    rising = performance(np.array([0.1, 0.1, 0.2]))
    assert (rising.max_drawdown, rising.drawdown_start, rising.drawdown_end) == (0.0, -1, -1)


def test_short_and_ruined_series_say_so():
    assert performance(np.full(5, np.nan)).n_days == 0
    assert np.isnan(performance(np.array([0.1])).volatility)
    with pytest.raises(FactorError, match="above -100 %"):
        performance(np.array([0.1, -1.0]))


def test_crowding_is_the_mean_of_all_pairs():
    rng = np.random.default_rng(1)
    residuals = rng.standard_normal((120, 12)) + 0.5 * rng.standard_normal((120, 1))
    members = np.zeros(12, bool)
    members[[1, 4, 5, 9]] = True
    pairs = np.corrcoef(residuals[:, members].T)[np.triu_indices(4, 1)]
    assert crowding(residuals, members) == pytest.approx(pairs.mean(), rel=1e-12)
    residuals[:100, 4] = np.nan  # too short a history
    pairs = np.corrcoef(residuals[:, [1, 5, 9]].T)[np.triu_indices(3, 1)]
    assert crowding(residuals, members) == pytest.approx(pairs.mean(), rel=1e-12)
    assert np.isnan(crowding(residuals, np.arange(12) == 3))


def test_ratios_to_the_rounding_of_a_constant_are_not_told():
    for size in (0.001, -0.0003):
        found = performance(np.full(10, size))
        assert found.volatility == 0.0
        assert np.isnan(found.information_ratio)
        assert np.isnan(found.t_statistic)
    assert performance(np.array([0.001, 0.001, 0.0011])).information_ratio > 0.0
