import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from factors.errors import FactorError, SettingsError, StageError
from factors.risk.bayes import bayes_shrunk, size_groups
from factors.risk.settings import SpecificRiskSettings
from factors.risk.specific import SpecificRisk
from factors.risk.structural import structural_volatility

PLAIN = {"newey_west_lags": 0, "blend_history": (0, 0), "bayes_shrinkage": 0.0, "regime_half_life": 0.0}


def market(n_dates: int = 260, n_assets: int = 60, seed: int = 0):
    rng = np.random.default_rng(seed)
    volatility = 0.01 * np.exp(0.4 * rng.standard_normal(n_assets))
    residuals = rng.standard_normal((n_dates, n_assets)) * volatility
    caps = np.exp(rng.standard_normal(n_assets) + 0.01 * rng.standard_normal((n_dates, n_assets)).cumsum(axis=0))
    exposures = np.column_stack([np.ones(n_assets), rng.standard_normal((n_assets, 3))])
    return residuals, caps, exposures


@given(seed=st.integers(0, 200), missing=st.floats(0.0, 0.5), method=st.sampled_from(["ewma", "sample"]))
@settings(max_examples=20, deadline=None)
def test_adding_days_one_by_one_gives_the_bits_of_a_fit_on_the_longer_panel(seed, missing, method):
    residuals, caps, exposures = market(90, 30, seed)
    rng = np.random.default_rng(seed)
    residuals[rng.random(residuals.shape) < missing] = np.nan
    caps[rng.random(caps.shape) < missing] = np.nan
    chosen = SpecificRiskSettings(method=method, window=50, regime_half_life=42.0 if method == "ewma" else 0.0)
    whole = SpecificRisk(chosen).fit(residuals, caps, exposures)
    daily = SpecificRisk(chosen).fit(residuals[:70], caps[:70], exposures)
    for row, cap in zip(residuals[70:], caps[70:], strict=True):
        daily.update(row, cap, exposures)
    assert np.array_equal(whole.specific_variance_, daily.specific_variance_)


@pytest.mark.parametrize("half_life", [84.0, "adaptive"])
@pytest.mark.parametrize(
    "chosen", [{}, {"structural": False}, {"blend_history": (0, 0)}, {"blend_history": (400, 800)}]
)
def test_names_that_were_never_seen_change_nothing_for_the_others(half_life, chosen):
    residuals, caps, exposures = market(120, 60, 3)
    residuals[:90, :7] = np.nan  # young, but with a capitalisation
    picked = SpecificRiskSettings(half_life=half_life, **chosen)
    alone = SpecificRisk(picked).fit(residuals, caps, exposures).specific_variance_
    unseen = np.full((120, 25), np.nan)
    before = [np.hstack([unseen[:, :20], caps, unseen[:, 20:]]), np.hstack([unseen[:, :20], residuals, unseen[:, 20:]])]
    held = np.vstack([np.full((20, 4), np.nan), exposures, np.full((5, 4), np.nan)])
    beside = SpecificRisk(picked).fit(before[1], before[0], held).specific_variance_
    np.testing.assert_array_equal(beside[20:80], alone)
    assert np.isfinite(beside).all(), "and each of them has a variance too"


def test_a_restored_state_carries_on_with_the_same_bits():
    residuals, caps, exposures = market()
    first = SpecificRisk().fit(residuals[:200], caps[:200], exposures)
    second = SpecificRisk().restore(first.state())
    for estimator in (first, second):
        estimator.update(residuals[200:], caps[200:])
    assert np.array_equal(first.specific_variance_, second.specific_variance_)


def test_without_adjustments_the_variance_is_the_weighted_mean_square():
    residuals, _, _ = market()
    weights = 0.5 ** (np.arange(260)[::-1] / 84.0)
    expected = weights @ residuals**2 / weights.sum()
    variance = SpecificRisk(SpecificRiskSettings(**PLAIN)).fit(residuals).specific_variance_
    np.testing.assert_allclose(variance, expected, rtol=1e-12)


def test_the_sample_variance_is_the_mean_square_of_the_window():
    residuals, _, _ = market()
    chosen = SpecificRiskSettings(method="sample", window=50, **PLAIN)
    variance = SpecificRisk(chosen).fit(residuals).specific_variance_
    np.testing.assert_allclose(variance, (residuals[-50:] ** 2).mean(axis=0), rtol=1e-12)


def test_serial_correlation_raises_and_reversal_lowers_the_variance():
    residuals, _, _ = market(800, 20)
    trending = residuals.copy()
    trending[1:] += 0.4 * residuals[:-1]
    reverting = residuals.copy()
    reverting[1:] -= 0.4 * residuals[:-1]
    corrected = SpecificRiskSettings(**(PLAIN | {"newey_west_lags": 5}))
    for panel, direction in ((trending, 1.0), (reverting, -1.0)):
        with_lags = SpecificRisk(corrected).fit(panel).specific_variance_
        without = SpecificRisk(SpecificRiskSettings(**PLAIN)).fit(panel).specific_variance_
        assert direction * np.median(np.log(with_lags / without)) > 0.2


def test_missing_days_leave_the_variance_as_it_was():
    residuals, caps, _ = market(120, 20)
    chosen = SpecificRiskSettings(**PLAIN)
    estimator = SpecificRisk(chosen).fit(residuals, caps)
    before = estimator.specific_variance_[4]
    row = residuals[-1].copy()
    row[4] = np.nan
    assert estimator.update(row, caps[-1]).specific_variance_[4] == pytest.approx(before, rel=1e-12)


def test_a_new_asset_takes_the_forecast_of_the_structural_model():
    rng = np.random.default_rng(5)
    n_assets = 200
    exposures = np.column_stack([np.ones(n_assets), rng.standard_normal(n_assets)])
    truth = np.exp(exposures @ np.array([np.log(0.01), 0.5]))
    residuals = rng.standard_normal((400, n_assets)) * truth
    residuals[:, :5] = np.nan
    residuals[-10:, 3:5] = rng.standard_normal((10, 2)) * truth[3:5]
    estimator = SpecificRisk(SpecificRiskSettings(bayes_shrinkage=0.0)).fit(residuals, np.ones(n_assets), exposures)
    assert estimator.history_[0] == 0.0
    np.testing.assert_allclose(estimator.specific_volatility_[:5], truth[:5], rtol=0.15)
    without = SpecificRisk(SpecificRiskSettings(bayes_shrinkage=0.0, structural=False))
    without.fit(residuals, np.ones(n_assets), exposures)
    assert without.specific_volatility_[0] == pytest.approx(without.specific_volatility_[1])


def test_assets_may_be_added_at_the_end():
    residuals, caps, _ = market(200, 30)
    estimator = SpecificRisk().fit(residuals[:150, :25], caps[:150, :25])
    variance = estimator.update(residuals[150:], caps[150:]).specific_variance_
    assert variance.shape == (30,)
    assert (variance > 0.0).all()
    assert estimator.history_[25] == 50.0


@given(seed=st.integers(0, 200))
@settings(max_examples=20, deadline=None)
def test_permuting_assets_permutes_the_variances(seed):
    residuals, caps, exposures = market(80, 40, seed)
    order = np.random.default_rng(seed).permutation(40)
    plain = SpecificRisk().fit(residuals, caps, exposures).specific_variance_
    permuted = SpecificRisk().fit(residuals[:, order], caps[:, order], exposures[order]).specific_variance_
    np.testing.assert_allclose(permuted, plain[order], rtol=1e-9)


@given(seed=st.integers(0, 200), scale=st.floats(1e-3, 1e6))
@settings(max_examples=20, deadline=None)
def test_the_currency_of_caps_does_not_matter(seed, scale):
    residuals, caps, exposures = market(80, 40, seed)
    plain = SpecificRisk().fit(residuals, caps, exposures).specific_variance_
    scaled = SpecificRisk().fit(residuals, scale * caps, exposures).specific_variance_
    np.testing.assert_allclose(scaled, plain, rtol=1e-9)


def test_an_asset_without_data_changes_no_other_by_more_than_its_place_in_the_size_groups():
    residuals, caps, _ = market(200, 40)
    chosen = SpecificRiskSettings(bayes_shrinkage=0.0)
    plain = SpecificRisk(chosen).fit(residuals, caps).specific_variance_
    empty = np.full((200, 1), np.nan)
    wider = SpecificRisk(chosen).fit(np.hstack([residuals, empty]), np.hstack([caps, empty])).specific_variance_
    assert np.array_equal(wider[:40], plain)
    assert wider[40] > 0.0


def test_bayesian_shrinkage_pulls_the_extremes_of_a_size_group_most():
    volatility = np.array([0.010, 0.011, 0.012, 0.013, 0.060])
    groups = np.zeros(5, dtype=np.int64)
    shrunk = bayes_shrunk(volatility, np.ones(5), groups, 0.1)
    mean = volatility.mean()
    gap = np.abs(volatility - mean)
    spread = np.sqrt((gap**2).mean())
    share = 0.1 * gap / (spread + 0.1 * gap)
    np.testing.assert_allclose(shrunk, share * mean + (1 - share) * volatility, rtol=1e-14)
    assert np.argmax(np.abs(shrunk - volatility)) == 4


def test_size_groups_hold_equal_numbers_in_order_of_cap():
    caps = np.random.default_rng(0).permutation(200).astype(float)
    groups = size_groups(caps, 10, np.ones(200, dtype=bool))
    assert np.array_equal(np.bincount(groups), np.full(10, 20))
    assert caps[groups == 0].max() < caps[groups == 9].min()


def test_the_structural_model_recovers_a_log_linear_truth():
    rng = np.random.default_rng(2)
    exposures = np.column_stack([np.ones(300), rng.standard_normal((300, 2))])
    truth = np.exp(exposures @ np.array([-4.0, 0.3, -0.2]))
    mature = np.arange(300) < 250
    forecast = structural_volatility(np.where(mature, truth, np.nan), exposures, np.ones(300), mature)
    inside = (truth > truth[mature].min()) & (truth < truth[mature].max())
    np.testing.assert_allclose(forecast[inside], truth[inside], rtol=1e-10)


@pytest.mark.parametrize("n_assets", [1, 2, 5])
def test_tiny_universes_get_an_answer(n_assets):
    residuals, caps, exposures = market(40, n_assets)
    variance = SpecificRisk().fit(residuals, caps, exposures).specific_variance_
    assert (variance > 0.0).all()


def test_caps_of_zero_and_unknown_caps_get_an_answer():
    residuals, caps, exposures = market(80, 30)
    caps[:, :5], caps[:, 5:10] = 0.0, np.nan
    assert np.isfinite(SpecificRisk().fit(residuals, caps, exposures).specific_variance_).all()


def test_errors_name_what_is_wrong():
    residuals, caps, exposures = market(20, 10)
    with pytest.raises(StageError):
        _ = SpecificRisk().specific_variance_
    with pytest.raises(FactorError, match="market_cap must have 10 columns"):
        SpecificRisk().fit(residuals, caps[:, :3])
    with pytest.raises(FactorError, match="exposures must have 10 rows"):
        SpecificRisk().fit(residuals, caps, exposures[:4])
    with pytest.raises(SettingsError, match="regime_half_life must be 0"):
        SpecificRiskSettings(method="sample")
