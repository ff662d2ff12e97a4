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


def in_float64(factors):
    return factors @ factors.transpose(0, 2, 1)


def in_float32(factors):
    return in_float64(factors.astype(np.float32)).astype(np.float64)


def cases():
    """Spectra of days as a model has them: of one size, with a null space, with too few days, of factors unlike."""
    rng = np.random.default_rng(5)
    yield from ((np.geomspace(1e-8, 1e-4, 12) * rng.uniform(0.5, 2.0, 12), 300.0 + i) for i in range(6))
    yield np.r_[np.zeros(2), np.geomspace(1e-6, 1e-4, 10)], 200.5
    yield np.geomspace(1e-6, 1e-4, 12), 20.0
    yield np.geomspace(1e-12, 1e-3, 12), 150.0


@pytest.mark.parametrize("n_draws", [5, 70])
def test_products_of_many_days_at_once_give_the_ratios_of_each_day_to_the_bit(n_draws):
    drawn, right = [], []
    for day, (spectrum, n_days) in enumerate(cases()):
        right.append(simulate_variance_ratios(spectrum, n_days, n_draws, np.random.default_rng(day)))
        drawn.append(eigenfactor.draw(spectrum, n_days, n_draws, np.random.default_rng(day)))
    made = iter(eigenfactor.ratios_together([d for d in drawn if isinstance(d, eigenfactor.Drawn)], in_float64))
    for one, expected in zip(drawn, right, strict=True):
        np.testing.assert_array_equal(next(made) if isinstance(one, eigenfactor.Drawn) else one, expected)
    assert sum(not isinstance(one, eigenfactor.Drawn) for one in drawn) == 1, "too few days for the draws"


def test_draws_that_take_too_much_room_are_not_kept_until_others_are_made(monkeypatch):
    monkeypatch.setattr(eigenfactor, "BATCH_BYTES", 1000)
    spectrum = np.geomspace(1e-6, 1e-4, 12)
    made = eigenfactor.draw(spectrum, 300.0, 5, np.random.default_rng(1))
    np.testing.assert_array_equal(made, simulate_variance_ratios(spectrum, 300.0, 5, np.random.default_rng(1)))


def test_products_of_few_digits_move_no_estimated_variance_beyond_the_bound():
    """However unlike the factors: the largest of these has a billion times the variance of the smallest."""
    rng = np.random.default_rng(6)
    day = eigenfactor.draw(np.geomspace(1e-12, 1e-3, 30), 150.0, 40, rng)
    seen = []

    def short(factors):
        made = in_float32(factors)
        exponents = np.frexp(np.sqrt(day.truth))[1]
        back = np.ldexp(made, exponents[:, None] + exponents)
        true = day.factors @ day.factors.transpose(0, 2, 1)
        root = np.sqrt(np.diagonal(true, axis1=1, axis2=2))
        scaled = true / root[:, :, None] / root[:, None, :]
        # gamma(L + 3) of the sum of magnitudes, as `devices.kernels.sum_bound` has it
        error = (30 + 3) * 2.0**-24 / (1 - (30 + 3) * 2.0**-24)
        bound = 30 * error / np.linalg.eigvalsh(scaled)[:, 0]
        off = np.abs(np.linalg.eigvalsh(back) / np.linalg.eigvalsh(true) - 1.0).max(axis=1)
        # What a decomposition in float64 errs by itself, of variances a billion apart.
        seen.append((off <= bound + 1e-5).all())
        return made

    eigenfactor.ratios_together([day], short)
    assert seen == [True]


@pytest.mark.parametrize("missing", [False, True])
def test_a_covariance_whose_products_were_made_together_is_the_same_to_the_bit(missing):
    rows = 0.01 * np.random.default_rng(4).standard_normal((130, 9)) * np.geomspace(0.05, 1.0, 9)
    rows[:, 3] = -rows[:, 1:3].sum(axis=1)
    if missing:
        rows[20:60, 5] = rows[:100, 8] = np.nan
    for chosen in (
        FactorCovarianceSettings(),
        FactorCovarianceSettings.adaptive(21),
        FactorCovarianceSettings(method="sample"),
    ):
        plain, together = FactorCovariance(chosen).fit(rows), FactorCovariance(chosen).fit(rows, in_float64)
        assert np.array_equal(plain.covariance_, together.covariance_)
        for name, array in plain.state().items():
            assert np.array_equal(array, together.state()[name], equal_nan=True), name


@pytest.mark.parametrize("room", [1 << 25, 40_000])
def test_a_path_of_covariances_is_that_of_day_after_day_to_the_bit(monkeypatch, room):
    monkeypatch.setattr("factors.risk.covariance.BATCH_BYTES", room)
    rows = 0.01 * np.random.default_rng(7).standard_normal((90, 6))
    rows[:70, 4] = np.nan
    batches = []

    def counted(factors):
        batches.append(len(factors))
        return in_float64(factors)

    for simulations in (0, 200):
        chosen = FactorCovarianceSettings(eigenfactor_simulations=simulations)
        daily = FactorCovariance(chosen).fit(rows[:50])
        expected = [daily.update(row).covariance_ for row in rows[50:]]
        for products in (None, counted):
            own = FactorCovariance(chosen).update(rows[:50], followed_by=1)
            np.testing.assert_array_equal(own.path(rows[50:], products), expected)
            np.testing.assert_array_equal(own.covariance_, expected[-1])
            for name, array in daily.state().items():
                assert np.array_equal(array, own.state()[name], equal_nan=True), name
    assert sum(batches) == 200, "with the adjustment, where somebody else makes them"
    # Two numbers of factors are two batches: one of them has no return at first.
    assert len(batches) <= 2 or room < 1 << 25


def test_products_in_float32_leave_seven_digits_of_the_covariance():
    rng = np.random.default_rng(8)
    rows = rng.standard_normal((400, 30)) * np.geomspace(1e-4, 1e-2, 30)
    rows[:, 10:20] -= rows[:, 10:20].mean(axis=1, keepdims=True)  # sectors, which sum to zero
    right = FactorCovariance().fit(rows).covariance_
    made = FactorCovariance().fit(rows, in_float32).covariance_
    assert 0.0 < np.abs(made - right).max() <= 1e-7 * np.abs(right).max()
    # Of the smallest factors too: they are not hidden behind the market.
    scale = np.sqrt(np.diag(right))
    assert np.abs((made - right) / scale[:, None] / scale).max() <= 1e-7
