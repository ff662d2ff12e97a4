"""Nonlinear shrinkage of correlations."""

import numpy as np
import pytest

from factors.errors import SettingsError
from factors.risk.covariance import FactorCovariance
from factors.risk.nonlinear import quadratic_inverse, shrunk_correlations
from factors.risk.settings import FactorCovarianceSettings

SHRUNK = FactorCovarianceSettings(
    volatility_lags=0,
    correlation_lags=0,
    eigenfactor_simulations=0,
    regime_half_life=0.0,
    correlation_half_life=np.inf,
    correlation_shrinkage="quadratic_inverse",
)


def test_eigenvalues_are_those_of_the_authors_own_program():
    # QIS.py of the authors (pald22/covShrinkage, 1c61e77) on 24 rows whose second moments have this spectrum.
    theirs = [0.0325860138798, 0.148825835288, 0.403490229441, 0.829400436426, 1.53501216913, 3.67068531584]
    ours = quadratic_inverse(np.array([0.02, 0.1, 0.3, 0.7, 1.5, 4.0]), 24.0)
    np.testing.assert_allclose(ours, theirs, rtol=1e-11)


def test_uncorrelated_factors_are_found_to_be_nearly_so():
    rows = np.random.default_rng(4).standard_normal((60, 20))
    sample = np.corrcoef(rows, rowvar=False)
    before, after = np.linalg.eigvalsh(sample), np.linalg.eigvalsh(shrunk_correlations(sample, 59.0))
    assert before[0] < 0.3
    assert before[-1] > 2.0
    assert np.abs(after - 1.0).max() < 0.4 * np.abs(before - 1.0).max()  # the truth is 1


def test_minimum_variance_portfolios_are_better_and_their_risk_less_understated():
    rng = np.random.default_rng(4)
    truth = 0.4 * np.eye(20) + 0.6 * 0.5 ** np.abs(np.subtract.outer(np.arange(20), np.arange(20)))
    root, one, found = np.linalg.cholesky(truth), np.ones(20), []
    for _ in range(100):
        rows = rng.standard_normal((60, 20)) @ root.T
        sample = rows.T @ rows / 60
        for estimate in (sample, shrunk_correlations(sample, 60.0)):
            held = np.linalg.solve(estimate, one)
            held /= held.sum()
            found.append((held @ truth @ held, held @ estimate @ held))
    (plain, predicted), (shrunk, predicted_shrunk) = np.array(found).reshape(100, 2, 2).mean(axis=0)
    assert shrunk < 0.95 * plain
    assert 1.0 < shrunk / predicted_shrunk < 0.85 * plain / predicted


def test_variances_and_the_null_space_stay_and_a_factor_without_variance_has_none():
    rng = np.random.default_rng(1)
    rows = rng.standard_normal((80, 5)) * [1.0, 2.0, 3.0, 0.0, 1.0]
    rows[:, 4] = -rows[:, 0] - rows[:, 1]  # returns that sum to zero, as those of sectors do
    sample = rows.T @ rows / 80
    shrunk = shrunk_correlations(sample, 80.0)
    np.testing.assert_allclose(np.diag(shrunk), np.diag(sample), rtol=1e-12)
    assert not shrunk[3].any()
    assert np.array_equal(shrunk, shrunk.T)
    assert np.linalg.matrix_rank(shrunk, tol=1e-8) == 3
    assert np.linalg.eigvalsh(shrunk)[0] > -1e-12


def test_too_few_days_leave_the_correlations_as_they_are():
    sample = np.cov(np.random.default_rng(2).standard_normal((12, 8)), rowvar=False)
    assert np.array_equal(shrunk_correlations(sample, 12.0), sample)


def test_the_estimator_shrinks_the_share_of_its_effective_days_and_adds_days_with_the_same_bits():
    rows = np.random.default_rng(3).standard_normal((100, 6)) * 0.01
    plain = FactorCovariance(FactorCovarianceSettings(**{**_fields(SHRUNK), "correlation_shrinkage": "none"}))
    halved = FactorCovariance(FactorCovarianceSettings(**{**_fields(SHRUNK), "correlation_observations": 0.5}))
    expected = shrunk_correlations(plain.fit(rows).covariance_, 0.5 * plain.effective_observations_)
    assert plain.effective_observations_ == pytest.approx(100.0)
    np.testing.assert_allclose(halved.fit(rows).covariance_, expected, rtol=1e-12)
    daily = FactorCovariance(halved.settings).fit(rows[:60])
    for row in rows[60:]:
        daily.update(row)
    assert np.array_equal(daily.covariance_, halved.covariance_)


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"correlation_shrinkage": "linear"}, "correlation_shrinkage"),
        ({"correlation_observations": 0.0}, "correlation_observations"),
    ],
)
def test_settings_that_cannot_be_used_are_named(wrong, field):
    with pytest.raises(SettingsError, match=field):
        FactorCovarianceSettings(**wrong)


def _fields(settings):
    return {name: getattr(settings, name) for name in type(settings).__dataclass_fields__}
