"""Margin against closed forms, large samples, and skfolio's measures of a sample's tail."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from factors.errors import FactorError
from factors.portfolio.margin import MarginSettings, margin, mixture_tail
from factors.portfolio.tails import filtered, fitted_degrees_of_freedom

PYTHON = Path(__file__).parents[3] / ".venv-oracles" / "bin" / "python"
ASK = """
import json, sys
import numpy as np
from skfolio.measures import cvar, value_at_risk
returns, levels = json.load(sys.stdin)
rows = [np.array(row) for row in returns]
print(json.dumps([[[float(f(row, beta=b)) for row in rows] for f in (value_at_risk, cvar)] for b in levels]))
"""


def model(seed: int = 0):
    rng = np.random.default_rng(seed)
    weights, X = rng.dirichlet(np.ones(20), size=3), rng.standard_normal((20, 4))
    root = 0.01 * rng.standard_normal((4, 4))
    F = root @ root.T
    history = rng.standard_t(4, (500, 4)) @ root.T / np.sqrt(2.0)
    return weights, X, F, (0.02 * rng.random(20)) ** 2, history


def test_normal_margin_is_the_textbook_quantile_and_tail_mean():
    weights, X, F, variance, _ = model()
    result = margin(weights, X, F, variance, settings=MarginSettings("normal", 0.975, horizon_days=10))
    np.testing.assert_allclose(result.value_at_risk, stats.norm.ppf(0.975) * result.volatility, rtol=1e-12)
    tail = stats.norm.expect(lambda x: x, lb=stats.norm.ppf(0.975)) / 0.025
    np.testing.assert_allclose(result.expected_shortfall, tail * result.volatility, rtol=1e-8)


def test_student_margin_has_the_predicted_variance_and_fatter_tails():
    weights, X, F, variance, _ = model()
    result = margin(weights, X, F, variance, settings=MarginSettings("student_t", 0.99, degrees_of_freedom=5))
    unit = np.sqrt(3 / 5)
    quantile = stats.t.ppf(0.99, 5)
    tail = stats.t(5).expect(lambda x: x, lb=quantile) / 0.01
    np.testing.assert_allclose(result.value_at_risk, quantile * unit * result.volatility, rtol=1e-12)
    np.testing.assert_allclose(result.expected_shortfall, tail * unit * result.volatility, rtol=1e-7)


def test_the_mixture_tail_is_that_of_a_large_sample():
    rng = np.random.default_rng(1)
    means = 0.01 * rng.standard_t(3, (1, 300))
    value_at_risk, shortfall = mixture_tail(means, np.array([0.005]), 0.95)
    draws = rng.choice(means[0], 2_000_000) + 0.005 * rng.standard_normal(2_000_000)
    cut = np.quantile(draws, 0.95)
    assert value_at_risk[0] == pytest.approx(cut, rel=0.005)
    assert shortfall[0] == pytest.approx(draws[draws >= cut].mean(), rel=0.005)


@pytest.mark.oracle
@pytest.mark.skipif(not PYTHON.exists(), reason="the oracle environment is not built (make oracles)")
def test_historical_tails_without_specific_risk_are_those_of_skfolio():
    weights, X, F, _, history = model(6)
    history = history[:497]  # no level below is a whole number of days, where the two take neighbouring days
    levels = (0.9, 0.95, 0.99)
    scaled = history * np.sqrt(np.diag(F) / (history**2).mean(axis=0))
    returns = (weights @ X @ scaled.T).tolist()
    done = subprocess.run(
        [PYTHON, "-W", "ignore", "-c", ASK],
        input=json.dumps([returns, levels]), capture_output=True, text=True, check=True,
    )  # fmt: skip
    for level, theirs in zip(levels, json.loads(done.stdout), strict=True):
        ours = margin(weights, X, F, np.zeros(20), history, MarginSettings("historical", level))
        np.testing.assert_allclose(ours.value_at_risk, theirs[0], rtol=1e-10)
        np.testing.assert_allclose(ours.expected_shortfall, theirs[1], rtol=1e-10)


def test_one_component_is_the_normal_distribution():
    value_at_risk, shortfall = mixture_tail(np.zeros((1, 1)), np.array([1.0]), 0.99)
    assert value_at_risk[0] == pytest.approx(stats.norm.ppf(0.99), rel=1e-10)
    assert shortfall[0] == pytest.approx(stats.norm.pdf(stats.norm.ppf(0.99)) / 0.01, rel=1e-10)


def test_without_specific_risk_the_sample_itself_is_read():
    losses = np.arange(1.0, 101.0)[None, :]
    value_at_risk, shortfall = mixture_tail(losses, np.zeros(1), 0.95)
    assert value_at_risk[0] == 95.0
    assert shortfall[0] == pytest.approx(98.0)


@given(seed=st.integers(0, 1000), method=st.sampled_from(["normal", "student_t", "historical"]))
@settings(max_examples=25, deadline=None)
def test_shortfall_is_beyond_value_at_risk_and_margin_scales_with_the_position(seed, method):
    weights, X, F, variance, history = model(seed)
    chosen = MarginSettings(method)
    single = margin(weights, X, F, variance, history, chosen)
    double = margin(2.0 * weights, X, F, variance, history, chosen)
    assert (single.expected_shortfall >= single.value_at_risk).all()
    np.testing.assert_allclose(double.value_at_risk, 2.0 * single.value_at_risk, rtol=1e-9)
    np.testing.assert_allclose(double.expected_shortfall, 2.0 * single.expected_shortfall, rtol=1e-9)


def test_historical_margin_follows_the_factor_volatility_of_today():
    weights, X, F, _, history = model()
    calm = margin(weights, X, F, np.zeros(20), history)
    stressed = margin(weights, X, 4.0 * F, np.zeros(20), history)
    np.testing.assert_allclose(stressed.value_at_risk, 2.0 * calm.value_at_risk, rtol=1e-9)


def test_errors_name_what_is_wrong():
    weights, X, F, variance, _ = model()
    with pytest.raises(FactorError, match="needs factor_returns"):
        margin(weights, X, F, variance)
    with pytest.raises(FactorError, match="without missing"):
        margin(weights, X, F, variance, np.full((3, 4), np.nan))
    with pytest.raises(FactorError, match="confidence"):
        MarginSettings(confidence=1.0)


def moving(n_days, nu, rng):
    """Student returns whose volatility of 1 % a day falls to a third and rises to three times over two years each."""
    level = 0.01 * np.exp(1.1 * np.sin(2.0 * np.pi * np.arange(n_days) / 1000.0))
    return level * rng.standard_t(nu, n_days) * np.sqrt((nu - 2.0) / nu)


def test_fitted_degrees_of_freedom_are_those_that_were_drawn():
    rng = np.random.default_rng(2)
    drawn = np.array([rng.standard_t(nu, 4000) for nu in (4.0, 10.0)] + [rng.standard_normal(4000)])
    found = fitted_degrees_of_freedom(7.0 * drawn)
    assert found[0] in (3.5, 4.0, 5.0)
    assert found[1] in (8.0, 10.0, 15.0)
    assert found[2] >= 30.0


def test_a_filter_sees_no_later_day_and_takes_the_volatility_out():
    rng = np.random.default_rng(3)
    series = moving(3000, 1e6, rng)[None, :]
    changed = series.copy()
    changed[:, 2000:] *= 9.0
    assert np.array_equal(filtered(series, 21.0)[:, : 2000 - 21], filtered(changed, 21.0)[:, : 2000 - 21])
    assert fitted_degrees_of_freedom(series)[0] < 10.0
    assert fitted_degrees_of_freedom(filtered(series, 21.0))[0] >= 15.0


def test_filtered_margin_breaks_as_often_as_it_says_where_volatility_moves():
    rng = np.random.default_rng(4)
    history = moving(20_000, 5.0, rng)[:, None]
    F = np.array([[0.01**2]])
    one = np.ones((1, 1))
    losses = 0.01 * rng.standard_t(5.0, 200_000) * np.sqrt(3.0 / 5.0)
    for chosen in (MarginSettings("filtered_historical"), MarginSettings("student_t", degrees_of_freedom="fitted")):
        value = margin(one, one, F, np.zeros(1), history, chosen).value_at_risk[0]
        assert 0.007 < (losses > value).mean() < 0.013, chosen.method
    plain = margin(one, one, F, np.zeros(1), history, MarginSettings("normal")).value_at_risk[0]
    assert (losses > plain).mean() > 0.013


@pytest.mark.parametrize(
    "chosen", [MarginSettings("filtered_historical"), MarginSettings("student_t", degrees_of_freedom="fitted")]
)
def test_filtered_methods_say_what_they_need(chosen):
    weights, X, F, variance, history = model()
    with pytest.raises(FactorError, match="needs factor_returns"):
        margin(weights, X, F, variance, settings=chosen)
    with pytest.raises(FactorError, match="more than 21 complete days"):
        margin(weights, X, F, variance, history[:21], chosen)
