"""Risk, attribution and analytics against statsmodels, skfolio and alphalens, in an environment of their own."""

import subprocess
from pathlib import Path

import numpy as np
import pytest

from factors import analytics
from factors.portfolio.attribution import attribute, estimation_covariance
from factors.portfolio.risk import portfolio_risk
from factors.risk.covariance import FactorCovariance
from factors.risk.settings import FactorCovarianceSettings

ROOT = Path(__file__).parents[3]
PYTHON = ROOT / ".venv-oracles" / "bin" / "python"
SCRIPT = ROOT / "tests" / "oracle_scripts" / "risk_reference.py"
PLAIN = {"eigenfactor_simulations": 0, "volatility_lags": 0, "correlation_lags": 0, "regime_half_life": 0.0}

pytestmark = [
    pytest.mark.oracle,
    pytest.mark.skipif(not PYTHON.exists(), reason="the oracle environment is not built (make oracles)"),
]


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    n_dates, n_factors, n_assets = 400, 5, 60
    factor_returns = 0.01 * rng.standard_normal((n_dates, n_factors)) @ (np.eye(5) + 0.3 * rng.standard_normal((5, 5)))
    factor_returns[:200] *= 0.5
    scores, following = rng.standard_normal((n_dates, n_assets)), 0.01 * rng.standard_normal((n_dates, n_assets))
    scores[rng.random(scores.shape) < 0.1] = np.nan
    following[rng.random(scores.shape) < 0.05] = np.nan
    return {
        "factor_returns": factor_returns,
        "weights": rng.dirichlet(np.ones(n_assets)),
        "exposures": np.column_stack([np.ones(n_assets), rng.standard_normal((n_assets, n_factors - 1))]),
        "residuals": 0.01 * rng.standard_normal((n_dates, n_assets)),
        "regression_weights": rng.random((n_dates, n_assets)) + 0.5,
        "specific_variance": (0.01 + 0.01 * rng.random((n_dates, n_assets))) ** 2,
        "scores": scores,
        "following": following,
    }


@pytest.fixture(scope="module")
def reference(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("oracle")
    np.savez(folder / "in.npz", **data)
    done = subprocess.run(
        [PYTHON, SCRIPT, folder / "in.npz", folder / "out.npz"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    with np.load(folder / "out.npz") as arrays:
        return dict(arrays)


def test_newey_west_is_that_of_statsmodels(data, reference):
    chosen = FactorCovarianceSettings(
        volatility_half_life=np.inf,
        correlation_half_life=np.inf,
        **(PLAIN | {"volatility_lags": 4, "correlation_lags": 4}),
    )
    centred = data["factor_returns"] - data["factor_returns"].mean(axis=0)
    np.testing.assert_allclose(FactorCovariance(chosen).fit(centred).covariance_, reference["newey_west"], rtol=1e-10)


def test_the_exponential_covariance_and_its_regime_multiplier_are_those_of_skfolio(data, reference):
    chosen = FactorCovarianceSettings(
        volatility_half_life=30.0, correlation_half_life=30.0, **(PLAIN | {"regime_half_life": 20.0})
    )
    estimator = FactorCovariance(chosen).fit(data["factor_returns"])
    ours = estimator.covariance_ / estimator.regime_multiplier_**2
    np.testing.assert_allclose(ours, reference["exponential"] / reference["multiplier"] ** 2, rtol=1e-10)
    # skfolio starts its average at the first statistic instead of weighing it as any other: 2^-19 of it is left here.
    assert estimator.regime_multiplier_ == pytest.approx(float(reference["multiplier"]), rel=1e-5)


def test_predicted_contributions_are_those_of_skfolio(data, reference):
    variance = data["specific_variance"][-1]
    risk = portfolio_risk(data["weights"], data["exposures"], reference["exponential"], variance)
    assert risk.total[0] == pytest.approx(float(reference["predicted_total"]), rel=1e-10)
    np.testing.assert_allclose(risk.factor_contributions[0], reference["predicted_factor"], rtol=1e-9, atol=1e-15)
    assert risk.specific_contribution[0] == pytest.approx(float(reference["predicted_specific"]), rel=1e-10)


def test_realised_attribution_and_its_standard_errors_are_those_of_skfolio(data, reference):
    X, n_dates = data["exposures"], len(data["factor_returns"])
    estimation = np.empty((n_dates, X.shape[1], X.shape[1]))
    for t, regression in enumerate(data["regression_weights"]):
        mimicking = np.linalg.solve(X.T @ (regression[:, None] * X), X.T * regression)
        estimation[t] = estimation_covariance(mimicking, data["specific_variance"][t])
    total = attribute(
        data["weights"], X, data["factor_returns"], data["residuals"], factor_return_covariance=estimation
    ).total("arithmetic")
    np.testing.assert_allclose(total.factor / n_dates, reference["attribution_means"], rtol=1e-10)
    np.testing.assert_allclose(total.factor_errors / n_dates, reference["attribution_errors"], rtol=1e-10)
    assert total.specific / n_dates == pytest.approx(float(reference["attribution_specific"]), rel=1e-10)
    assert total.specific_error / n_dates == pytest.approx(float(reference["attribution_specific_error"]), rel=1e-10)


def test_rank_information_coefficients_are_those_of_alphalens(data, reference):
    ours = analytics.information_coefficient(data["scores"], data["following"], "rank")
    np.testing.assert_allclose(ours, reference["rank_ic"], atol=1e-12)


def test_quantile_returns_are_those_of_alphalens(data, reference):
    ours = analytics.quantile_returns(data["scores"], data["following"], 5)
    np.testing.assert_allclose(ours, reference["quantile_returns"], atol=1e-14)


def test_quantile_spreads_are_those_of_alphalens_for_a_unit_long_and_a_unit_short(data, reference):
    ours = analytics.quantile_spread(data["scores"], data["following"], 5)
    np.testing.assert_allclose(ours, 2.0 * reference["spread"], atol=1e-14)


@pytest.mark.parametrize("horizon", [1, 5])
def test_forward_returns_are_those_of_alphalens(data, reference, horizon):
    returns = 0.1 * np.nan_to_num(data["following"])
    ours, theirs = analytics.forward_returns(returns, horizon), reference[f"forward_{horizon}"]
    asked = ~np.isnan(theirs)  # alphalens gives them where there is a score
    assert asked.mean() > 0.7
    np.testing.assert_allclose(ours[asked], theirs[asked], atol=1e-12)


@pytest.mark.parametrize(("period", "suffix"), [(1, ""), (5, "_5")])
def test_turnover_and_rank_autocorrelation_are_those_of_alphalens(data, reference, period, suffix):
    scores = np.where(np.isnan(data["following"]), np.nan, data["scores"])
    quantiles = analytics.assign_quantiles(scores, 5)
    ours = np.column_stack([analytics.quantile_turnover(quantiles, q, period) for q in range(1, 6)])
    np.testing.assert_allclose(ours, reference[f"turnover{suffix}"], rtol=1e-12)
    ours = analytics.rank_autocorrelation(scores, period)
    np.testing.assert_allclose(ours, reference[f"autocorrelation{suffix}"], atol=1e-12)
