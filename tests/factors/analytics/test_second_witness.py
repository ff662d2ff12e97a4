"""Factor analytics held to a second witness beside alphalens: ml4t-diagnostic, where both define the same."""

import subprocess
from pathlib import Path

import numpy as np
import pytest

from factors.analytics.information import information_coefficient, information_summary
from factors.analytics.quantiles import assign_quantiles
from factors.analytics.turnover import quantile_turnover, rank_autocorrelation

ROOT = Path(__file__).parents[3]
PYTHON = ROOT / ".venv-oracles" / "bin" / "python"
SCRIPT = ROOT / "tests" / "oracle_scripts" / "ml4t_analytics.py"
LAGS = (1, 4, 20)
QUANTILES = 5


@pytest.fixture(scope="module")
def given():
    rng = np.random.default_rng(12)
    scores = np.cumsum(rng.standard_normal((80, 40)), axis=0)
    return scores, 0.02 * rng.standard_normal((80, 40)) + 0.001 * scores


@pytest.fixture(scope="module")
def theirs(given, tmp_path_factory):
    if not PYTHON.exists():
        pytest.skip("no .venv-oracles: run `make oracles`")
    folder = tmp_path_factory.mktemp("ml4t")
    scores, following = given
    np.savez(
        folder / "in.npz", scores=scores, following=following, quantiles=assign_quantiles(scores, QUANTILES), lags=LAGS
    )
    command = [PYTHON, SCRIPT, folder / "in.npz", folder / "out.npz"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "is not installed" in done.stderr:
        pytest.skip("no ml4t-diagnostic in .venv-oracles: run `make oracles`")
    assert done.returncode == 0, done.stderr
    with np.load(folder / "out.npz") as arrays:
        return dict(arrays)


def test_information_coefficients_and_their_hac_statistics_agree(given, theirs):
    ours = information_coefficient(*given)
    np.testing.assert_allclose(ours, theirs["rank_ic"], atol=1e-12)
    for lag, t_statistic in zip(LAGS, theirs["hac"], strict=True):
        assert information_summary(ours, horizon=lag + 1).t_statistic == pytest.approx(t_statistic, rel=1e-9)


def test_turnover_of_quantiles_and_rank_autocorrelation_agree(given, theirs):
    scores, _ = given
    quantiles = assign_quantiles(scores, QUANTILES)
    # Theirs is the mean over all quantiles and dates; every quantile has as many names on every date.
    mean = np.mean([np.nanmean(quantile_turnover(quantiles, q)) for q in range(1, QUANTILES + 1)])
    assert mean == pytest.approx(float(theirs["turnover"]), rel=1e-12)
    ours = [np.nanmean(rank_autocorrelation(scores, lag)) for lag in (1, 5)]
    np.testing.assert_allclose(ours, theirs["autocorrelation"], rtol=1e-10)
