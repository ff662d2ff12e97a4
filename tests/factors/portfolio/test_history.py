"""A book's predicted risk day after day equals what a model fitted to that day predicts, beside what happened."""

import numpy as np
import pytest

from factors import FactorModel, sample_market
from factors.portfolio.history import risk_history
from factors.portfolio.risk import portfolio_risk
from factors.risk.covariance import FactorCovariance
from factors.risk.specific import SpecificRisk


@pytest.fixture(scope="module")
def fitted():
    return FactorModel().fit(sample_market(n_assets=60, n_days=160, seed=5).panel)


def path(model, first):
    """Covariances and specific variances as known at the close of every day from `first` on."""
    estimated = np.isfinite(model.standard_errors_)
    returns = np.where(estimated, model.factor_returns_, np.nan)
    caps = model.state().day_asset["clean/market_cap"]
    covariance, specific = (
        FactorCovariance(model.settings.factor_covariance),
        SpecificRisk(model.settings.specific_risk),
    )
    covariances, variances = [], []
    for t in range(len(returns)):
        X = model.exposures(model.dates_[t])
        covariance.update(returns[t : t + 1])
        specific.update(model.residuals_[t : t + 1], caps[t : t + 1], X)
        if t >= first:
            covariances.append(covariance.covariance_)
            variances.append(specific.specific_variance_)
    return covariances, np.array(variances)


def test_each_day_is_what_a_model_fitted_to_that_day_predicts(fitted):
    first = 100
    covariances, variances = path(fitted, first)
    n_days = len(covariances)
    rng = np.random.default_rng(0)
    covered = fitted.coverage_universe_[first:].all(axis=0)
    weights = np.where(covered, rng.dirichlet(np.ones(len(fitted.symbols_))), 0.0)
    W = np.tile(weights, (n_days, 1))
    exposures = [fitted.exposures(date) for date in fitted.dates_[first:]]
    returns = fitted.panel_.fields["returns"][first:]
    found = risk_history(W, exposures, covariances, variances, returns)
    for row in (0, 17, n_days - 1):
        part = FactorModel().fit(fitted.panel_.select(dates=fitted.dates_[: first + row + 1])).latest()
        own = np.array([part.symbols.index(s) if s in part.symbols else -1 for s in fitted.symbols_])
        w = np.zeros((1, len(part.symbols)))
        w[0, own[own >= 0]] = weights[own >= 0]
        expected = portfolio_risk(w, part.exposures, part.factor_covariance, part.specific_variance)
        assert found.total[row] == pytest.approx(expected.total[0], rel=1e-12)
        assert found.factor[row] == pytest.approx(expected.factor[0], rel=1e-12)
    np.testing.assert_allclose(found.realised[:-1], np.nan_to_num(returns[1:]) @ weights, rtol=1e-12)
    assert np.isnan(found.realised[-1])
    known = found.standardized[:-1]
    assert found.bias == pytest.approx(known.std(ddof=1))
    assert found.breach_share == pytest.approx((known < -2.3263478740408408).mean())
    assert found.breaches.sum() == (known < -2.3263478740408408).sum()


def test_names_that_were_not_covered_are_counted_by_day(fitted):
    n_days, n_assets = 5, len(fitted.symbols_)
    exposures = [np.array(fitted.exposures()) for _ in range(n_days)]
    held = np.flatnonzero(fitted.coverage_universe_[-1])[:2]
    exposures[2][held[0]] = np.nan
    W = np.zeros((n_days, n_assets))
    W[:, held] = 0.5, -0.5
    F = [fitted.factor_covariance_] * n_days
    variance = np.tile(fitted.specific_variance_, (n_days, 1))
    found = risk_history(W, exposures, F, variance, np.zeros((n_days, n_assets)))
    assert found.uncovered_share.tolist() == [0.0, 0.0, 0.5, 0.0, 0.0]
