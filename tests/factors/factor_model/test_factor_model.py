"""The factor model as a whole: stages, updates, universes, and what must not matter."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from factors import FactorError, FactorModel, ModelSettings, Panel, sample_market
from factors.errors import EmptyFrameError, MissingColumnError, SettingsError, StageError, UnknownDateError
from factors.factor_model.settings import RegressionSettings, StyleSettings
from factors.numeric.kernels import standardize_rows, winsorize_rows
from factors.panel.panel import Categories
from factors.style.descriptors import Inputs, momentum

N_DATES, SPLIT = 330, 322


@pytest.fixture(scope="module")
def panel():
    return sample_market(60, N_DATES, seed=3).panel


@pytest.fixture(scope="module")
def model(panel):
    return FactorModel().fit(panel)


def same(a, b):
    return np.array_equal(a, b, equal_nan=a.dtype.kind == "f")


def different(one, other):
    """Names of the arrays in which two states differ."""
    found = []
    for group in ("day_asset", "day", "latest"):
        mine, theirs = getattr(one, group), getattr(other, group)
        found += sorted(set(mine) ^ set(theirs))
        found += [name for name in set(mine) & set(theirs) if not same(mine[name], theirs[name])]
    return found


def days(panel, begin, end):
    return panel.select(dates=slice(begin, end))


SETTINGS = {
    "default": ModelSettings(),
    "inverse": ModelSettings(proxy_for_idio_cov="inverse_specific_variance", fill_features=("book_price",)),
    "ledoit_wolf": ModelSettings(proxy_for_idio_cov="ledoit_wolf", top_n_by_mkt_cap=30),
    "toraniko": ModelSettings.toraniko(),
    "custom": ModelSettings(
        style_factors=StyleSettings(names=("size", "lowvol"), custom={"lowvol": "-stddev(returns, 20)"})
    ),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_days_added_one_by_one_give_the_bits_of_a_batch_even_after_a_restart(panel, name):
    early = panel.select(dates=slice(0, SPLIT), symbols=panel.symbols[:55])
    whole = Panel.concat([early, days(panel, SPLIT, N_DATES)])
    batch = FactorModel(SETTINGS[name]).fit(whole)
    grown = FactorModel(SETTINGS[name]).fit(early)
    for day in range(SPLIT, N_DATES):
        if day == SPLIT + 4:
            grown = FactorModel.from_state(None, grown.state())
        grown.update(days(panel, day, day + 1))
    assert different(batch.state(), grown.state()) == []
    assert grown.symbols_ == batch.symbols_


def test_several_days_at_once_give_the_bits_of_a_batch(panel, model):
    grown = FactorModel().fit(days(panel, 0, SPLIT)).update(days(panel, SPLIT, N_DATES))
    assert different(model.state(), grown.state()) == []


def test_the_last_days_of_a_state_are_the_end_of_the_whole_state(model):
    whole, last = model.state(), model.state(last=3)
    assert same(whole.dates[-3:], last.dates)
    assert whole.day_asset.keys() == last.day_asset.keys() >= {"scores", "residuals"}
    for name, values in last.day_asset.items():
        assert same(whole.day_asset[name][-3:], values)


def test_saving_and_loading_changes_nothing(model, panel, tmp_path):
    model.save(tmp_path / "model")
    loaded = FactorModel.load(tmp_path / "model")
    assert different(model.state(), loaded.state()) == []
    assert loaded.factor_names_ == model.factor_names_
    with pytest.raises(FactorError, match="not empty"):
        model.save(tmp_path / "model")
    with pytest.raises(FactorError, match="no saved model"):
        FactorModel.load(tmp_path)


def test_changing_the_future_changes_nothing_in_the_past(panel, model):
    cut = 300
    rng = np.random.default_rng(0)
    fields = {name: values.copy() for name, values in panel.fields.items()}
    for values in fields.values():
        values[cut:] *= np.exp(rng.normal(0.0, 0.5, values[cut:].shape))
    fields["returns"][cut:] = rng.normal(0.0, 0.05, fields["returns"][cut:].shape)
    changed = FactorModel().fit(Panel(panel.dates, panel.symbols, fields, panel.categories))
    for name in ("scores_", "factor_returns_", "residuals_", "estimation_universe_"):
        assert same(getattr(model, name)[:cut], getattr(changed, name)[:cut]), name
        assert not same(getattr(model, name)[cut:], getattr(changed, name)[cut:]) or name == "estimation_universe_"


def test_returns_are_exactly_exposures_times_factor_returns_plus_residuals(model):
    for row in (260, N_DATES - 1):
        explained = model.exposures(model.dates_[row - 1]) @ model.factor_returns_[row]
        known = ~np.isnan(model.residuals_[row])
        assert known.sum() > 40
        total = explained + model.residuals_[row]
        np.testing.assert_allclose(total[known], model.panel_.fields["returns"][row][known], atol=1e-13)


def test_sector_returns_have_cap_weighted_mean_zero(model):
    caps = model.state().day_asset["clean/market_cap"][-2]
    returns = model.panel_.fields["returns"][-1]
    exposures = model.exposures(model.dates_[-2])[:, 1 : 1 + len(model.sector_names_)]
    inside = model.estimation_universe_[-2] & np.isfinite(returns)
    held = caps[inside] @ exposures[inside]
    assert held @ model.factor_returns_[-1, 1 : 1 + len(held)] / held.sum() == pytest.approx(0.0, abs=1e-15)


def test_scores_have_cap_weighted_mean_zero_and_deviation_one(model):
    caps = model.state().day_asset["clean/market_cap"][-1]
    inside = model.estimation_universe_[-1]
    for name, score in zip(model.style_names_, model.scores_[-1], strict=True):
        known = inside & ~np.isnan(score)
        if name == "growth":  # needs two years of rows before it has a value
            assert not known.any()
            continue
        assert np.average(score[known], weights=caps[known]) == pytest.approx(0.0, abs=1e-10), name
        assert score[known].std(ddof=1) == pytest.approx(1.0), name


def test_orthogonal_styles_are_uncorrelated_with_their_bases_before_standardising(model):
    caps = model.state().day_asset["clean/market_cap"][-1]
    size, nonlinear = (model.scores_[-1, model.style_names_.index(name)] for name in ("size", "nonlinear_size"))
    known = model.estimation_universe_[-1] & ~np.isnan(size) & ~np.isnan(nonlinear)
    weights = np.sqrt(caps[known])
    a, b = (x[known] - np.average(x[known], weights=weights) for x in (size, nonlinear))
    correlation = (weights @ (a * b)) / np.sqrt((weights @ a**2) * (weights @ b**2))
    assert abs(correlation) < 0.15  # clipping at three deviations moves it a little


def test_the_order_of_assets_does_not_matter(panel, model):
    order = np.random.default_rng(0).permutation(60)
    shuffled = FactorModel().fit(panel.select(symbols=[panel.symbols[k] for k in order]))
    np.testing.assert_allclose(shuffled.factor_returns_, model.factor_returns_, rtol=1e-7, atol=1e-10)
    np.testing.assert_allclose(shuffled.specific_variance_, model.specific_variance_[order], rtol=1e-7)


def test_the_unit_of_the_caps_does_not_matter(panel, model):
    scaled = {"market_cap", "shares"}
    fields = {name: values * 1e-6 if name in scaled else values for name, values in panel.fields.items()}
    names = ("beta", "momentum", "size", "value", "nonlinear_size")
    one, other = (
        FactorModel(ModelSettings(style_factors=StyleSettings(names=names))).fit(
            Panel(panel.dates, panel.symbols, data, panel.categories)
        )
        for data in (dict(panel.fields), fields)
    )
    np.testing.assert_allclose(one.factor_returns_, other.factor_returns_, rtol=1e-6, atol=1e-10)


def test_an_asset_with_no_data_changes_nothing_but_its_own_row(panel, model):
    fields = {name: np.column_stack([values, np.full(N_DATES, np.nan)]) for name, values in panel.fields.items()}
    categories = {
        name: Categories(np.column_stack([c.codes, np.full(N_DATES, -1, dtype=np.int16)]), c.names)
        for name, c in panel.categories.items()
    }
    wider = FactorModel().fit(Panel(panel.dates, (*panel.symbols, "EMPTY"), fields, categories))
    assert same(wider.factor_returns_, model.factor_returns_)
    assert same(wider.factor_covariance_, model.factor_covariance_)
    assert np.isnan(wider.exposures()[-1]).all()


def test_the_universe_holds_the_largest_and_new_days_keep_it(panel):
    model = FactorModel().reduce_universe_by_market_cap(20).fit(days(panel, 0, SPLIT))
    model.update(days(panel, SPLIT, SPLIT + 1))
    caps = model.state().day_asset["clean/market_cap"][-1]
    inside = model.estimation_universe_[-1]
    assert inside.sum() == 20
    assert caps[inside].min() >= np.nanmax(caps[~inside])
    assert np.isfinite(model.residuals_[-1]).sum() > 40  # names outside the universe are covered all the same
    assert model.recipe_.top_n == 20


def test_cleaning_clips_fills_and_smooths_and_is_reapplied_to_new_days(panel):
    recipe = {"to_winsorize": {"book_price": 0.1}, "to_fill": ["book_price"], "to_smooth": {"market_cap": 5}}
    model = FactorModel().set_panel(days(panel, 0, SPLIT)).clean_features(**recipe).fit()
    model.update(days(panel, SPLIT, N_DATES))
    state = model.state()
    raw, clean = panel.fields["book_price"], state.day_asset["clean/book_price"]
    low, high = np.nanpercentile(raw[-1], [10.0, 90.0])
    known = ~np.isnan(raw[-1])
    np.testing.assert_allclose(clean[-1][known], np.clip(raw[-1][known], low, high))
    assert np.isnan(raw).sum() > np.isnan(clean).sum()
    caps = panel.fields["market_cap"]
    whole = ~np.isnan(caps[-5:]).any(axis=0)
    np.testing.assert_allclose(state.day_asset["clean/market_cap"][-1][whole], caps[-5:, whole].mean(axis=0))
    assert model.recipe_.to_dict()["to_winsorize"] == {"book_price": 0.1}


def test_inverse_variance_weights_use_only_what_was_known_before(panel):
    model = FactorModel().proxy_idio_cov("inverse_specific_variance").fit(panel)
    shocked = {name: values.copy() for name, values in panel.fields.items()}
    shocked["returns"][-1, :30] = 0.9
    other = (
        FactorModel()
        .proxy_idio_cov("inverse_specific_variance")
        .fit(Panel(panel.dates, panel.symbols, shocked, panel.categories))
    )
    before = [m.state().day_asset["variance_before"][-1] for m in (model, other)]
    assert same(*before)
    assert np.isfinite(before[0]).sum() > 40


def test_toranikos_conventions_give_toranikos_momentum(panel):
    settings = ModelSettings.toraniko()
    model = FactorModel(replace(settings, smooth_features={}, top_n_by_mkt_cap=None)).fit(panel)
    ours = model.scores_[:, model.style_names_.index("momentum")]
    mom = settings.style_factors.mom
    plain = momentum(Inputs({"returns": panel.fields["returns"]}, np.empty(0), panel.n_dates, settings.style_factors))
    everything = np.ones(plain.shape, dtype=np.bool_)
    winsorize_rows(plain, everything, mom.winsor_factor)
    standardize_rows(plain, plain, everything, True, True, False)
    listed = np.isfinite(panel.fields["market_cap"])
    alike = (np.isfinite(plain) == np.isfinite(ours))[listed]
    assert alike.mean() > 0.999
    row = -1
    both = np.isfinite(plain[row]) & np.isfinite(ours[row])
    np.testing.assert_allclose(ours[row][both], plain[row][both], rtol=1e-8)


def test_an_unknown_sector_in_a_new_day_is_outside_every_sector_with_a_warning(panel):
    model = FactorModel().fit(days(panel, 0, SPLIT))
    day = days(panel, SPLIT, SPLIT + 1)
    sector = day.categories["sector"]
    codes = sector.codes.copy()
    codes[0, 0] = len(sector.names)
    changed = Categories(codes, (*sector.names, "Space"))
    model.update(Panel(day.dates, day.symbols, day.fields, {**day.categories, "sector": changed}))
    assert not model.exposures()[0, 1 : 1 + len(model.sector_names_)].any()
    assert any("Space" in warning for warning in model.warnings_)


def test_stages_out_of_order_say_which_comes_first(panel):
    with pytest.raises(StageError, match="no panel"):
        FactorModel().estimate_style_scores()
    model = FactorModel().set_panel(days(panel, 0, 30))
    with pytest.raises(StageError, match="estimate_style_scores"):
        model.estimate_factor_returns()
    with pytest.raises(StageError, match="estimate_factor_returns"):
        model.estimate_covariance()
    with pytest.raises(StageError, match="estimate_style_scores"):
        _ = model.scores_
    for early in (model.exposures, model.mimicking_weights):
        with pytest.raises(StageError, match="stage"):
            early()
    with pytest.raises(StageError, match="estimate_factor_returns"):
        model.peek(days(panel, 30, 31))
    assert model.risk_model().factor_covariance.shape == (len(model.factor_names_),) * 2


def test_bad_input_is_refused_by_name(panel, model):
    short = days(panel, 0, 30)
    with pytest.raises(EmptyFrameError):
        FactorModel().fit(short.select(dates=slice(0, 0)))
    without = {name: values for name, values in short.fields.items() if name != "returns"}
    with pytest.raises(MissingColumnError, match="returns"):
        FactorModel().fit(Panel(short.dates, short.symbols, without))
    with pytest.raises(FactorError, match="does not come after"):
        FactorModel().fit(short).update(short)
    with pytest.raises(FactorError, match="no field 'nonsense'"):
        FactorModel().set_panel(short).clean_features(to_fill=["nonsense"])
    with pytest.raises(SettingsError, match="to_winsorize"):
        FactorModel().clean_features(to_winsorize={"book_price": 0.7})
    with pytest.raises(SettingsError, match="proxy_idio_cov"):
        FactorModel().proxy_idio_cov("guess")
    with pytest.raises(UnknownDateError, match="2031"):
        model.exposures("2031-01-01")
    with pytest.raises(MissingColumnError, match="growth"):
        FactorModel(ModelSettings(style_factors=StyleSettings(names=("growth",)))).fit(
            Panel(short.dates, short.symbols, {name: short.fields[name] for name in ("returns", "market_cap")})
        )


DEGENERATE = {
    "one asset": "never estimated, their returns are 0: Communication, ",
    "one sector": "never estimated, their returns are 0: beta, ",
    "no sector": "never estimated, their returns are 0: beta, ",
    "zero caps": "rank deficient: minimum-norm answer",
    "all null": "no names: factor returns are 0",
}
"""What a model of it warns of; of 60 days no style that looks back further has a value."""


@pytest.mark.parametrize("kind", DEGENERATE)
def test_degenerate_markets_give_a_documented_answer(panel, kind):
    part = panel.select(dates=slice(0, 60), symbols=panel.symbols[1:2] if kind == "one asset" else panel.symbols[:20])
    fields = {name: values.copy() for name, values in part.fields.items()}
    categories = dict(part.categories)
    if kind == "one sector":
        categories = {"sector": Categories(np.zeros(part.shape, dtype=np.int16), ("All",))}
    if kind == "no sector":
        categories = {}
    if kind == "zero caps":
        fields["market_cap"][:, :5] = 0.0
    if kind == "all null":
        fields["book_price"][:] = np.nan
        fields["returns"][:] = np.nan
    model = FactorModel().fit(Panel(part.dates, part.symbols, fields, categories))
    assert np.isfinite(model.factor_returns_[1:]).all()
    covariance = model.factor_covariance_
    np.testing.assert_array_equal(covariance, covariance.T)
    assert np.linalg.eigvalsh(covariance).min() >= -1e-12
    if kind == "zero caps":
        assert np.isnan(model.exposures()[:5]).all()
    if kind == "one sector":
        assert not model.factor_returns_[1:, 1].any()
    if kind == "one asset":
        np.testing.assert_allclose(model.factor_returns_[1:, 0], part.fields["returns"][1:, 0], atol=1e-15)
    assert any(DEGENERATE[kind] in warning for warning in model.warnings_)


def test_equal_and_cap_weights_differ_from_root_cap_weights(panel, model):
    for weights in ("equal", "cap"):
        other = FactorModel(ModelSettings(regression=RegressionSettings(weights=weights))).fit(panel)
        assert np.isfinite(other.factor_returns_[1:]).all()
        assert not np.allclose(other.factor_returns_[1:], model.factor_returns_[1:], atol=1e-6)


def test_condition_numbers_and_vif_are_at_least_one(model):
    assert np.nanmin(model.condition_numbers()[-5:]) >= 1.0
    assert np.nanmin(model.vif_) >= 1.0 - 1e-9
    assert np.nanmax(np.abs(model.t_stats_)) > 2.0
