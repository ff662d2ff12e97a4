"""Factor covariance and specific risk with the published parameters, against the formulas written out day by day."""

from __future__ import annotations

import numpy as np
import pytest

from factors.risk.covariance import FactorCovariance
from factors.risk.settings import FactorCovarianceSettings
from factors.risk.specific import SpecificRisk

T, K, N = 420, 6, 80


def weights(half_life, n=T):
    return 0.5 ** (np.arange(n)[::-1] / half_life)


def long_run(x, half_life, lags):
    """Newey-West with Bartlett weights on the exponentially weighted series, [n, n]."""
    w = weights(half_life, len(x))
    y = np.sqrt(w)[:, None] * x
    total = y.T @ y
    for lag in range(1, lags + 1):
        cross = y[lag:].T @ y[:-lag]
        total += (1.0 - lag / (lags + 1.0)) * (cross + cross.T)
    return total / w.sum()


def regime(x, caps, half_life=42.0, variance_half_life=84.0, least=21):
    """Root of the weighted mean of B_t^2, by what was forecast the day before."""
    statistics = []
    for t in range(least, len(x)):
        w = weights(variance_half_life, t)
        forecast = w @ x[:t] ** 2 / w.sum()
        statistics.append(np.average(x[t] ** 2 / forecast, weights=caps[t - 1]))
    return float(np.sqrt(np.average(statistics, weights=weights(half_life, len(statistics)))))


@pytest.fixture(scope="module")
def returns():
    rng = np.random.default_rng(5)
    f = 0.01 * rng.standard_normal((T, K)) @ (np.eye(K) + 0.4 * rng.standard_normal((K, K)))
    f[1:] += 0.2 * f[:-1]
    f[-30:] *= 1.5
    return f


def test_the_factor_covariance_is_that_of_the_published_formulas(returns):
    estimator = FactorCovariance(FactorCovarianceSettings(eigenfactor_simulations=0)).fit(returns)
    slow = long_run(returns, 504.0, 2)
    correlation = slow / np.sqrt(np.outer(np.diag(slow), np.diag(slow)))
    deviation = np.sqrt([long_run(returns[:, [k]], 84.0, 5)[0, 0] for k in range(K)])
    multiplier = regime(returns, np.ones((T, K)))
    assert 1.1 < multiplier < 2.0
    assert estimator.regime_multiplier_ == pytest.approx(multiplier, rel=1e-10)
    expected = multiplier**2 * correlation * np.outer(deviation, deviation)
    np.testing.assert_allclose(estimator.covariance_, expected, rtol=1e-10)


def test_the_eigenfactor_adjustment_is_the_mean_of_its_simulations_to_their_error(returns):
    """USE4: simulate from the covariance, decompose what was drawn, and see by how much its eigenvalues were wrong."""
    settings = FactorCovarianceSettings(regime_half_life=0.0, volatility_lags=0, correlation_lags=0)
    adjusted = FactorCovariance(settings).fit(returns).covariance_
    plain = FactorCovariance(FactorCovarianceSettings(**PLAIN)).fit(returns)
    D, U = np.linalg.eigh(plain.covariance_)
    rng = np.random.default_rng(1)
    n = round(plain.effective_observations_)
    ratios = []
    for _ in range(2000):
        drawn = (U * np.sqrt(D)) @ rng.standard_normal((K, n))
        Dm, Um = np.linalg.eigh(drawn @ drawn.T / n)
        ratios.append(np.diag(Um.T @ (U * D) @ U.T @ Um) / Dm)
    v = np.sqrt(np.mean(ratios, axis=0))
    expected = (U * D * (1.4 * (v - 1.0) + 1.0) ** 2) @ U.T
    np.testing.assert_allclose(adjusted, expected, rtol=0.01, atol=0.01 * np.abs(expected).max())
    # The smallest eigenvalue is raised, which is what the adjustment is for.
    assert U[:, 0] @ adjusted @ U[:, 0] > 1.01 * D[0]


PLAIN = {"eigenfactor_simulations": 0, "volatility_lags": 0, "correlation_lags": 0, "regime_half_life": 0.0}


def test_specific_risk_is_that_of_the_published_formulas():
    rng = np.random.default_rng(6)
    X = np.column_stack([np.ones(N), rng.standard_normal((N, 2))])
    u = rng.standard_normal((T, N)) * 0.01 * np.exp(X[:, 1:] @ [0.3, -0.2] + 0.1 * rng.standard_normal(N))
    u[1:] -= 0.1 * u[:-1]
    caps = np.exp(rng.standard_normal(N) + 0.01 * rng.standard_normal((T, N)).cumsum(axis=0))
    young = {3: 100, 17: 40, 60: 130}  # days of history
    for asset, days in young.items():
        u[: T - days, asset] = np.nan
    estimator = SpecificRisk().fit(u, caps, X)

    # EWMA, half-life 84; Newey-West ratio with five lags and half-life 252, within 0.5 and 2.
    own = np.empty(N)
    for j in range(N):
        seen = ~np.isnan(u[:, j])
        x = u[seen, j]
        w = weights(84.0)[seen]
        lagged = long_run(x[:, None], 252.0, 5)[0, 0] / long_run(x[:, None], 252.0, 0)[0, 0]
        own[j] = np.sqrt(w @ x**2 / w.sum() * np.clip(lagged, 0.5, 2.0))
    # Size deciles (never fewer than ten names each), structural model on those with 180 days, blend from 60 to 180.
    last = caps[-1]
    groups = np.empty(N, dtype=int)
    groups[np.argsort(last)] = np.arange(N) * 8 // N
    mature = np.array([j not in young for j in range(N)])
    root = last[mature] ** 0.25
    b = np.linalg.lstsq(root[:, None] * X[mature], root * np.log(own[mature]), rcond=None)[0]
    logs = np.log(own[mature])
    forecast = np.exp(np.clip(X @ b, logs.min(), logs.max()))
    forecast *= np.average(own[mature], weights=last[mature]) / np.average(forecast[mature], weights=last[mature])
    blended = own.copy()
    for asset, days in young.items():
        share = np.clip((days - 60) / 120, 0.0, 1.0)
        blended[asset] = share * own[asset] + (1.0 - share) * forecast[asset]
    # Bayes with q = 0.1 towards the cap-weighted mean of the size group.
    shrunk = blended.copy()
    for group in range(8):
        at = groups == group
        mean = np.average(blended[at], weights=last[at])
        gap = np.abs(blended[at] - mean)
        v = 0.1 * gap / (np.sqrt(np.mean(gap**2)) + 0.1 * gap)
        shrunk[at] = v * mean + (1.0 - v) * blended[at]
    np.testing.assert_allclose(estimator.specific_volatility_ / estimator.regime_multiplier_, shrunk, rtol=1e-8)


def test_the_specific_regime_is_cap_weighted_by_the_caps_of_the_day_before():
    rng = np.random.default_rng(7)
    u = 0.01 * rng.standard_normal((T, N))
    u[-40:] *= 1.4
    caps = np.exp(rng.standard_normal((T, N)))
    estimator = SpecificRisk().fit(u, caps)
    assert estimator.regime_multiplier_ == pytest.approx(regime(u, caps), rel=1e-10)
