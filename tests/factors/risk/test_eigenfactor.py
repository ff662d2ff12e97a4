import math

import numpy as np
import pytest

from factors.numeric import deadline
from factors.risk import eigenfactor
from factors.risk.covariance import FactorCovariance
from factors.risk.eigenfactor import adjust_spectrum, simulate_variance_ratios
from factors.risk.settings import FactorCovarianceSettings


def simulate_with_returns(spectrum, n_days, n_simulations, rng):
    """The procedure as published: draw returns, estimate, compare. Costs `n_days` draws per simulation."""
    totals = np.zeros(spectrum.size)
    for _ in range(n_simulations):
        returns = rng.standard_normal((n_days, spectrum.size)) * np.sqrt(spectrum)
        estimated, vectors = np.linalg.eigh(returns.T @ returns / n_days)
        totals += (vectors**2 * spectrum[:, None]).sum(axis=0) / estimated
    return totals / n_simulations


def test_the_wishart_draws_give_the_ratios_of_the_published_simulation():
    spectrum = np.geomspace(1e-5, 1e-3, 12)
    drawn = simulate_variance_ratios(spectrum, 80, 4000, np.random.default_rng(1))
    published = simulate_with_returns(spectrum, 80, 4000, np.random.default_rng(2))
    np.testing.assert_allclose(drawn, published, rtol=0.02)


def test_small_eigenvalues_are_raised_and_the_largest_is_not():
    ratios = simulate_variance_ratios(np.geomspace(1e-6, 1e-3, 15), 120, 500, np.random.default_rng(0))
    assert ratios[0] > 1.2
    assert ratios[-1] < 1.05


def test_directions_without_risk_stay_without_risk():
    spectrum = np.array([0.0, 1e-22, 1e-5, 1e-4])
    ratios = simulate_variance_ratios(spectrum, 100, 50, np.random.default_rng(0))
    assert ratios[0] == ratios[1] == 1.0
    assert (adjust_spectrum(spectrum, ratios, 1.4)[:1] == 0.0).all()


def test_too_few_observations_give_no_ratios():
    assert np.isnan(simulate_variance_ratios(np.ones(10), 19.9, 10, np.random.default_rng(0))).all()


def test_with_ratio_one_the_spectrum_comes_back_and_the_scale_widens_the_change():
    spectrum = np.array([1.0, 2.0, 3.0])
    np.testing.assert_array_equal(adjust_spectrum(spectrum, np.ones(3), 1.4), spectrum)
    np.testing.assert_allclose(adjust_spectrum(spectrum, np.full(3, 1.21), 2.0), spectrum * 1.2**2)


def test_the_draws_depend_on_the_seed_and_the_day_only():
    rows = 0.01 * np.random.default_rng(3).standard_normal((150, 8))
    first, again = (FactorCovariance().fit(rows).covariance_ for _ in range(2))
    other = FactorCovariance(FactorCovarianceSettings(eigenfactor_seed=5)).fit(rows).covariance_
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_the_bias_of_optimised_portfolios_shrinks_out_of_sample():
    # Known truth: the minimum-variance portfolio of the estimate has its variance understated, less so when adjusted.
    rng = np.random.default_rng(11)
    root = rng.standard_normal((20, 20)) * 0.4 + np.eye(20)
    truth = 1e-4 * root @ root.T
    plain = {"volatility_lags": 0, "correlation_lags": 0, "regime_half_life": 0.0}
    biases = {}
    for simulations in (0, 200):
        chosen = FactorCovarianceSettings(
            volatility_half_life=np.inf, correlation_half_life=np.inf, eigenfactor_simulations=simulations,
            eigenfactor_scale=1.0, **plain,
        )  # fmt: skip
        ratios = []
        for seed in range(8):
            draws = np.random.default_rng(seed).multivariate_normal(np.zeros(20), truth, size=100)
            covariance = FactorCovariance(chosen).fit(draws).covariance_
            weights = np.linalg.solve(covariance, np.ones(20))
            ratios.append((weights @ truth @ weights) / (weights @ covariance @ weights))
        biases[simulations] = np.mean(ratios)
    assert biases[0] > 1.3
    assert abs(biases[200] - 1.0) < 0.6 * (biases[0] - 1.0)
    assert biases[200] == pytest.approx(1.0, abs=0.35)


def test_many_draws_end_with_their_caller(monkeypatch):
    limit, blocks = deadline.Deadline(math.inf), []

    def gone_meanwhile(truth, n_observations, n_draws, rng):
        blocks.append(n_draws)
        limit.end()
        return np.ones((n_draws, truth.size))

    monkeypatch.setattr(eigenfactor, "_drawn_ratios", gone_meanwhile)
    with deadline.until(limit), pytest.raises(deadline.Ended):
        simulate_variance_ratios(np.geomspace(1e-6, 1e-3, 15), 120, 10_000, np.random.default_rng(0))
    assert blocks == [eigenfactor.DRAWS_AT_ONCE]
