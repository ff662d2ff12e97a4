"""A fit that stops on its way is the fit, and what it carried at a stop is enough to go on from there, bit for bit."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from drawn_models import FIRST_CUT, N_DATES, differences, market, model_settings
from hypothesis import given, settings
from hypothesis import strategies as st

from factors import FactorModel, ModelSettings
from factors.errors import FactorError
from factors.factor_model.recipe import Recipe
from factors.factor_model.settings import StyleSettings
from factors.factor_model.stepwise import fit_through, update_through
from factors.panel.intake import Intake
from factors.panel.quality.report import QualityError


def cut(state, n_dates, carried):
    """The state of a model of the first days: rows of the whole model's, and what was carried."""
    return replace(
        state,
        dates=state.dates[:n_dates],
        day_asset={name: values[:n_dates] for name, values in state.day_asset.items()},
        day={name: values[:n_dates] for name, values in state.day.items()},
        latest=carried,
    )


def fitted(chosen, panel, stops, recipe=None, policy=None):
    kept = {}
    recipe = recipe or FactorModel(chosen).recipe_
    return fit_through(chosen, panel, recipe, stops, kept.__setitem__, policy), kept


@settings(max_examples=20, deadline=None)
@given(
    chosen=model_settings(),
    stops=st.lists(st.integers(2, N_DATES + 3), min_size=1, max_size=5, unique=True).map(sorted),
    cuts=st.lists(st.integers(FIRST_CUT, N_DATES - 1), max_size=3, unique=True).map(sorted),
)
def test_for_any_settings_a_model_goes_on_from_any_stop_to_the_bits_of_a_fit(chosen, stops, cuts):
    panel = market()
    whole = FactorModel(chosen).fit(panel)
    model, kept = fitted(chosen, panel, stops)
    assert differences(model.state(), whole.state()) == []
    assert model.warnings_ == whole.warnings_
    assert model.quality_ == whole.quality_
    assert sorted(kept) == [stop for stop in stops if stop < N_DATES]
    for stop, carried in kept.items():
        again = FactorModel.from_state(None, cut(model.state(), stop, carried)).forget()
        for begin, end in pairwise([stop, *[at for at in cuts if at > stop], N_DATES]):
            again.update(panel.select(dates=slice(begin, end)))
        last = N_DATES - stop
        assert differences(again.state(last), whole.state(last)) == []
        assert again.quality_ == whole.quality_


def test_days_are_added_with_stops_as_without():
    panel, kept = market(), {}
    first = panel.select(dates=slice(0, 60))
    plain = FactorModel().fit(first).update(panel.select(dates=slice(60, N_DATES)))
    model = FactorModel().fit(first)
    model = update_through(model, panel.select(dates=slice(60, N_DATES)), [5, 11, 99], kept.__setitem__)
    assert sorted(kept) == [5, 11]
    assert differences(model.state(), plain.state()) == []


def test_the_adjustment_for_actions_statements_custom_styles_and_a_recipe_are_carried():
    panel = market()
    split = np.full(panel.shape, np.nan)
    split[30, 4], split[70, 5] = 2.0, 0.1
    panel = panel.with_fields(split_ratio=split, dividend=np.where(np.isnan(split), np.nan, 0.2))
    custom = StyleSettings(custom={"slow": "ema(returns, 30)"})
    recipe = Recipe({"close": 0.05}, ("volume",), {"market_cap": 4}, 18)
    whole = FactorModel(ModelSettings(style_factors=custom)).set_panel(panel)
    whole.clean_features(recipe.to_winsorize, recipe.to_fill, recipe.to_smooth)
    whole.reduce_universe_by_market_cap(18).fit()
    model, kept = fitted(whole.settings, panel, [20, 50], recipe)
    assert differences(model.state(), whole.state()) == []
    for stop, carried in kept.items():
        again = FactorModel.from_state(None, cut(model.state(), stop, carried)).forget()
        again.update(panel.select(dates=slice(stop, None)))
        assert differences(again.state(N_DATES - stop), whole.state(N_DATES - stop)) == []


def test_what_a_fit_refuses_is_refused_before_anything_is_computed():
    panel = market()
    ratio = np.full(panel.shape, np.nan)
    ratio[[3, 80], 2] = -1.0
    with pytest.raises(FactorError, match="positive") as caught:
        fitted(ModelSettings(), panel.with_fields(split_ratio=ratio), [40])
    assert (caught.value.n_rows, len(caught.value.rows)) == (2, 2)
    volume = panel.fields["volume"].copy()
    volume[[3, 80], 2] = -1.0
    strict = ModelSettings(intake=Intake(policy="strict"))
    with pytest.raises(QualityError) as refused:
        fitted(strict, panel.with_fields(volume=volume), [40])
    assert refused.value.n_rows == 2


def test_a_field_without_any_value_is_told_of_the_whole_panel():
    panel = market()
    late = np.full(panel.shape, np.nan)
    late[70:] = 1.0
    blank = np.full(panel.shape, np.nan)
    panel = panel.with_fields(late=late, blank=blank)
    model, _ = fitted(ModelSettings(), panel, [40])
    assert model.warnings_ == FactorModel().fit(panel).warnings_
    assert f"'blank' holds no value from {panel.dates[0]} to {panel.dates[-1]}" in model.warnings_
