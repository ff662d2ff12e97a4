import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from factors.errors import FactorError, NonFiniteError, SettingsError, StageError
from factors.risk.covariance import FactorCovariance
from factors.risk.settings import FactorCovarianceSettings

METHODS = ("ewma", "sample", "ledoit_wolf", "oas")
PLAIN = {"volatility_lags": 0, "correlation_lags": 0, "eigenfactor_simulations": 0, "regime_half_life": 0.0}


def returns(n_dates: int, n_factors: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    mix = 0.3 * rng.standard_normal((n_factors, n_factors)) + np.eye(n_factors)
    return 0.006 * rng.standard_normal((n_dates, n_factors)) @ mix.T


def assert_psd(matrix: np.ndarray) -> None:
    assert np.array_equal(matrix, matrix.T)
    eigenvalues = np.linalg.eigvalsh(matrix)
    assert eigenvalues[0] >= -1e-12 * max(eigenvalues[-1], 1e-300)


@pytest.mark.parametrize("method", METHODS)
def test_adding_days_one_by_one_gives_the_bits_of_a_fit_on_the_longer_panel(method):
    rows = returns(330, 7)
    rows[20:40, 3] = np.nan
    chosen = FactorCovarianceSettings(method=method, window=100, eigenfactor_simulations=20, eigenfactor_spread_days=10)
    whole = FactorCovariance(chosen).fit(rows)
    daily = FactorCovariance(chosen).fit(rows[:300])
    for row in rows[300:]:
        daily.update(row)
    assert np.array_equal(whole.covariance_, daily.covariance_)
    assert whole.state().keys() == daily.state().keys()
    for name, array in whole.state().items():
        assert np.array_equal(array, daily.state()[name], equal_nan=True), name


def test_a_restored_state_carries_on_with_the_same_bits():
    rows = returns(200, 5)
    first = FactorCovariance().fit(rows[:150])
    second = FactorCovariance().restore(first.state())
    assert np.array_equal(first.update(rows[150:]).covariance_, second.update(rows[150:]).covariance_)


def test_a_state_taken_is_not_changed_by_later_days():
    estimator = FactorCovariance().fit(returns(60, 4))
    taken = estimator.state()
    before = {name: array.copy() for name, array in taken.items()}
    estimator.update(returns(1, 4, seed=1))
    assert all(np.array_equal(taken[name], before[name], equal_nan=True) for name in before)


@given(
    seed=st.integers(0, 1000),
    n_factors=st.integers(1, 8),
    n_dates=st.integers(1, 90),
    missing=st.floats(0.0, 0.7),
    method=st.sampled_from(METHODS),
)
@settings(max_examples=40, deadline=None)
def test_the_covariance_is_symmetric_and_positive_semidefinite(seed, n_factors, n_dates, missing, method):
    rng = np.random.default_rng(seed)
    rows = returns(n_dates, n_factors, seed)
    rows[rng.random(rows.shape) < missing] = np.nan
    chosen = FactorCovarianceSettings(
        method=method, window=30, volatility_half_life=10.0, correlation_half_life=25.0, eigenfactor_simulations=8
    )
    covariance = FactorCovariance(chosen).fit(rows).covariance_
    assert np.isfinite(covariance).all()
    assert_psd(covariance)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("n_dates", [1, 2, 7, 60])
def test_with_more_factors_than_days_and_factors_never_seen_it_stays_positive_semidefinite(method, n_dates):
    rows = returns(n_dates, 45)
    rows[:, [3, 17, 44]] = np.nan
    rows[n_dates // 2 :, 5] = np.nan
    rows[:, 6] = 0.0
    estimator = FactorCovariance(FactorCovarianceSettings(method=method, eigenfactor_spread_days=5)).fit(rows)
    assert np.isfinite(estimator.covariance_).all()
    assert_psd(estimator.covariance_)
    assert not estimator.covariance_[[3, 17, 44]].any()


def test_newey_west_of_a_reverting_series_stays_positive_semidefinite_at_short_half_lives():
    base = returns(80, 6)
    rows = np.vstack([base[i // 2] * (-1.0) ** i for i in range(160)])
    chosen = FactorCovarianceSettings(
        volatility_half_life=5.0, correlation_half_life=7.0, volatility_lags=5, correlation_lags=5,
        eigenfactor_simulations=0, regime_half_life=0.0,
    )  # fmt: skip
    estimator = FactorCovariance(chosen)
    for row in rows:
        assert_psd(estimator.update(row).covariance_)


def test_with_all_days_alike_and_no_adjustment_the_ewma_is_the_mean_of_outer_products():
    rows = returns(100, 5)
    chosen = FactorCovarianceSettings(volatility_half_life=np.inf, correlation_half_life=np.inf, **PLAIN)
    expected = rows.T @ rows / 100
    np.testing.assert_allclose(FactorCovariance(chosen).fit(rows).covariance_, expected, rtol=1e-12)


def test_the_volatility_half_life_sets_variances_and_the_correlation_half_life_correlations():
    rows = returns(300, 4)
    short, long = 20.0, 120.0

    def weighted(half_life):
        weights = 0.5 ** (np.arange(300)[::-1] / half_life)
        return (rows * weights[:, None]).T @ rows / weights.sum()

    chosen = FactorCovarianceSettings(volatility_half_life=short, correlation_half_life=long, **PLAIN)
    covariance = FactorCovariance(chosen).fit(rows).covariance_
    deviation, slow = np.sqrt(np.diag(weighted(short))), weighted(long)
    correlation = slow / np.sqrt(np.outer(np.diag(slow), np.diag(slow)))
    np.testing.assert_allclose(covariance, correlation * np.outer(deviation, deviation), rtol=1e-11)


def test_the_sample_covariance_is_that_of_numpy_over_the_window():
    rows = returns(200, 5)
    chosen = FactorCovarianceSettings(method="sample", window=60, **PLAIN)
    np.testing.assert_allclose(FactorCovariance(chosen).fit(rows).covariance_, np.cov(rows[-60:].T), rtol=1e-11)


@pytest.mark.parametrize("method", ["ledoit_wolf", "oas"])
def test_shrinkage_is_that_of_scikit_learn_over_the_window(method):
    from sklearn.covariance import OAS, LedoitWolf

    rows = returns(200, 5)
    chosen = FactorCovarianceSettings(method=method, window=60, **PLAIN)
    reference = {"ledoit_wolf": LedoitWolf, "oas": OAS}[method]().fit(rows[-60:]).covariance_
    np.testing.assert_allclose(FactorCovariance(chosen).fit(rows).covariance_, reference, rtol=1e-12)


def test_the_regime_multiplier_follows_a_jump_of_volatility():
    rows = returns(600, 6)
    calm = FactorCovariance().fit(rows)
    stressed = FactorCovariance().fit(np.vstack([rows, 1.8 * returns(30, 6, seed=1)]))
    assert calm.regime_multiplier_ == pytest.approx(1.0, abs=0.1)
    assert 1.1 < stressed.regime_multiplier_ <= 2.0
    relaxed = FactorCovariance().fit(np.vstack([rows, 0.3 * returns(60, 6, seed=1)]))
    assert 0.5 <= relaxed.regime_multiplier_ < 0.9


@given(seed=st.integers(0, 100))
@settings(max_examples=20, deadline=None)
def test_permuting_factors_permutes_the_covariance(seed):
    rows = returns(120, 6, seed)
    order = np.random.default_rng(seed).permutation(6)
    plain = FactorCovariance().fit(rows).covariance_
    permuted = FactorCovariance().fit(rows[:, order]).covariance_
    np.testing.assert_allclose(permuted, plain[np.ix_(order, order)], rtol=1e-9, atol=1e-14)


def test_scaling_returns_scales_the_covariance():
    rows = returns(150, 5)
    plain, doubled = (FactorCovariance().fit(scale * rows).covariance_ for scale in (1.0, 2.0))
    np.testing.assert_allclose(doubled, 4.0 * plain, rtol=1e-10)


def test_a_factor_may_join_later_and_the_others_keep_their_covariance():
    rows = returns(200, 5)
    chosen = FactorCovarianceSettings(**PLAIN)
    estimator = FactorCovariance(chosen).fit(rows[:100, :4])
    covariance = estimator.update(rows[100:]).covariance_
    never_absent = FactorCovariance(chosen).fit(rows[:, :4]).covariance_
    assert covariance.shape == (5, 5)
    np.testing.assert_allclose(covariance[:4, :4], never_absent, rtol=1e-6)
    assert covariance[4, 4] > 0.0


def test_a_factor_that_was_never_observed_has_no_variance_and_says_so():
    rows = returns(100, 4)
    rows[:, 2] = np.nan
    estimator = FactorCovariance().fit(rows)
    assert estimator.observed_[2] == 0.0
    assert not estimator.covariance_[2].any()


def test_errors_name_what_is_wrong():
    with pytest.raises(StageError):
        _ = FactorCovariance().covariance_
    with pytest.raises(NonFiniteError, match="row 3, column 1"):
        FactorCovariance().fit(np.where(np.arange(10).reshape(5, 2) == 7, np.inf, 0.0))
    with pytest.raises(FactorError, match="at least the 4 factors"):
        FactorCovariance().fit(returns(10, 4)).update(np.zeros(3))
    with pytest.raises(SettingsError, match="method"):
        FactorCovarianceSettings(method="garch")
    with pytest.raises(SettingsError, match="regime_clip"):
        FactorCovarianceSettings(regime_clip=(1.2, 2.0))
    with pytest.raises(SettingsError, match="volatility_half_life"):
        FactorCovarianceSettings(volatility_half_life=0.0)
