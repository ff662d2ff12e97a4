from pathlib import Path

import numpy as np
import pytest

from factors.errors import FactorError
from factors.factor_model.model import FactorModel
from factors.risk.settings import FactorCovarianceSettings, SpecificRiskSettings
from factors.sample.market import sample_market
from factors.validation.__main__ import beside
from factors.validation.backtest import BacktestSettings, backtest
from factors.validation.layers import layers
from factors.validation.peer import PeerForecasts, peer_outcome, skfolio_forecasts
from factors.validation.report import peer_figures
from factors.validation.statistics import diebold_mariano, student_breach_share

ORACLE = Path(__file__).parents[3] / ".venv-oracles" / "bin" / "python"
SETTINGS = BacktestSettings(burn_in=300, n_random=10, random_size=15)


@pytest.fixture(scope="module")
def model():
    panel = sample_market(n_assets=60, n_days=340, seed=5).panel
    return FactorModel().set_panel(panel).estimate_style_scores().estimate_factor_returns()


@pytest.fixture(scope="module")
def ours(model):
    return backtest(
        model, layers(FactorCovarianceSettings.adaptive(), SpecificRiskSettings.adaptive(), 100)[-1:], SETTINGS
    )


def test_the_statistic_of_diebold_and_mariano_is_the_mean_over_its_newey_west_error():
    rng = np.random.default_rng(0)
    one, other = rng.standard_normal((2, 200, 3))
    gap = ((one**2 - np.log(one**2)) - (other**2 - np.log(other**2))).mean(axis=1)
    mean, t = diebold_mariano(one, other, 2)
    centred = gap - gap.mean()
    cov = [np.mean(centred[lag:] * centred[: len(gap) - lag]) * (len(gap) - lag) / len(gap) for lag in range(3)]
    long_run = cov[0] + 2.0 * (2.0 / 3.0 * cov[1] + 1.0 / 3.0 * cov[2])
    assert mean == pytest.approx(gap.mean())
    assert t == pytest.approx(gap.mean() / np.sqrt(long_run / len(gap)))
    assert diebold_mariano(2.0 * one, one, 2)[1] > 5.0
    assert np.isnan(diebold_mariano(one, one, 2)[1])


def test_a_fitted_student_value_at_risk_is_broken_as_often_as_it_says():
    b = np.random.default_rng(1).standard_t(4.0, (2000, 10)) * np.sqrt(0.5)
    assert student_breach_share(b, 0.99) == pytest.approx(0.01, abs=0.002)


def test_a_students_degrees_of_freedom_are_not_fitted_to_what_comes_later():
    b = np.random.default_rng(1).standard_t(3.0, (84, 40)) / np.sqrt(3.0)
    breaches = student_breach_share(b, 0.99)
    assert breaches > 0.0
    assert student_breach_share(np.vstack([b, np.zeros((84, 40))]), 0.99) == pytest.approx(breaches / 2.0, rel=1e-12)


def test_our_own_forecasts_as_a_peer_differ_in_nothing(model, ours):
    rows, outcomes = ours
    full = outcomes[0]
    # Diagonal one-factor forecasts stand for a peer; where it does not cover an asset it is taken for the market's.
    n, n_assets = rows.size, len(model.symbols_)
    peer = PeerForecasts(
        "peer",
        int(rows[0]),
        np.ones((n, n_assets, 1), np.float32),
        np.full((n, 1, 1), 1e-4),
        np.full((n, n_assets), 4e-4),
    )
    gaps = PeerForecasts("peer", peer.first_row, peer.exposures.copy(), peer.covariance, peer.variance.copy())
    gaps.exposures[:, 3] = np.nan
    gaps.variance[:, 5] = np.nan
    whole, filled = peer_outcome(model, peer, SETTINGS), peer_outcome(model, gaps, SETTINGS)
    for family, returns in whole.returns.items():
        np.testing.assert_array_equal(filled.volatility[family], whole.volatility[family])
        if family != "minimum-variance":
            np.testing.assert_array_equal(returns, full.returns[family])
    figures = peer_figures(full, full, SETTINGS)
    assert figures["worse"] == []
    assert all(each["qlike_gap"] == 0.0 and each["dm_t"] is None for each in figures["families"].values())


def test_what_is_worse_is_named_with_both_numbers(model, ours):
    _, outcomes = ours
    full = outcomes[0]
    n_periods = full.returns["random"].shape[0]
    n_assets = len(model.symbols_)
    loud = PeerForecasts(
        "loud",
        299,
        np.ones((n_periods, n_assets, 1), np.float32),
        np.full((n_periods, 1, 1), 1.0),
        np.full((n_periods, n_assets), 1.0),
    )
    theirs = peer_outcome(model, loud, SETTINGS)
    figures = {"horizon_days": 1, "layers": [{"families": peer_figures(theirs, full, SETTINGS)["families"]}]}
    figures["peer"] = peer_figures(theirs, full, SETTINGS)
    named = {(each["family"], each["measure"]) for each in figures["peer"]["worse"]}
    assert {("random", "mean_bias"), ("random", "qlike"), ("cap-weighted", "qlike")} <= named
    assert any(line.startswith("  worse: qlike of random") for line in beside(figures))


@pytest.mark.skipif(not ORACLE.exists(), reason="skfolio is not installed apart: make oracles")
def test_skfolio_forecasts_cover_the_market_and_are_near_what_happened(model, ours):
    rows, outcomes = ours
    peer = skfolio_forecasts(ORACLE, model, SETTINGS.burn_in)
    assert peer.name.startswith("skfolio 1.")
    assert peer.covariance.shape[0] >= rows.size
    theirs = peer_outcome(model, peer, SETTINGS)
    for family in ("random", "cap-weighted"):
        ratio = theirs.volatility[family] / outcomes[0].volatility[family]
        assert 0.6 < np.median(ratio) < 1.6


def test_a_peer_that_fails_is_told_in_a_sentence(model, tmp_path):
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho 'no module named skfolio' >&2\nexit 3\n")
    broken.chmod(0o755)
    with pytest.raises(FactorError, match="skfolio failed: no module named skfolio"):
        skfolio_forecasts(broken, model, 300)
