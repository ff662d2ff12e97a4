"""Incremental is batch: for any settings, any split of the days and a restart in between, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
from drawn_models import EARLY_ASSETS, FIRST_CUT, N_ASSETS, N_DATES, differences, market, model_settings
from hypothesis import given, settings
from hypothesis import strategies as st

from factors import FactorModel, ModelSettings, Panel
from factors.risk.settings import FactorCovarianceSettings, SpecificRiskSettings


@settings(max_examples=25, deadline=None)
@given(
    chosen=model_settings(),
    cuts=st.lists(st.integers(FIRST_CUT, N_DATES - 1), min_size=1, max_size=6, unique=True).map(sorted),
    restarts=st.sets(st.integers(0, 5)),
    forgets=st.booleans(),
)
def test_any_split_of_the_days_gives_the_bits_of_a_batch_for_any_settings(
    tmp_path_factory, chosen, cuts, restarts, forgets
):
    panel = market()
    early = panel.select(dates=slice(0, cuts[0]), symbols=panel.symbols[:EARLY_ASSETS])
    batch = FactorModel(chosen).fit(Panel.concat([early, panel.select(dates=slice(cuts[0], N_DATES))]))
    grown = FactorModel(chosen).fit(early)
    for number, (begin, end) in enumerate(zip(cuts, [*cuts[1:], N_DATES], strict=True)):
        if number in restarts:
            folder = tmp_path_factory.mktemp("model") / "saved"
            grown.save(folder)
            grown = FactorModel.load(folder)
        grown.update(panel.select(dates=slice(begin, end)))
    last = N_DATES - cuts[-1]
    if forgets:
        grown.forget(last)
    assert differences(batch.state(last), grown.state(last)) == []
    if not forgets:
        assert differences(batch.state(), grown.state()) == []
    assert grown.symbols_ == batch.symbols_
    assert grown.warnings_ == batch.warnings_


@pytest.mark.parametrize("days", [1, 5, 21, 63])
def test_a_model_of_each_horizon_grows_while_names_join_and_leave_to_the_bits_of_a_batch(days):
    chosen = ModelSettings(
        factor_covariance=FactorCovarianceSettings.adaptive(days), specific_risk=SpecificRiskSettings.adaptive(days)
    )
    panel = market()
    early = panel.select(dates=slice(0, FIRST_CUT), symbols=panel.symbols[:EARLY_ASSETS])
    batch = FactorModel(chosen).fit(Panel.concat([early, panel.select(dates=slice(FIRST_CUT, N_DATES))]))
    grown = FactorModel(chosen).fit(early)
    for day in range(FIRST_CUT, N_DATES):
        grown.update(panel.select(dates=slice(day, day + 1)))
    assert differences(batch.state(), grown.state()) == []
    assert np.array_equal(batch.factor_expert_weights_, grown.factor_expert_weights_)
    assert np.array_equal(batch.specific_expert_weights_, grown.specific_expert_weights_)
    variances = np.linalg.eigvalsh(batch.factor_covariance_)
    assert variances[0] >= -1e-14 * variances[-1]


def test_a_model_that_forgets_goes_on_with_the_same_bits_and_holds_no_history():
    panel = market()
    keeps = FactorModel().fit(panel.select(dates=slice(0, 60)))
    forgets = FactorModel().fit(panel.select(dates=slice(0, 60))).forget()
    for day in range(60, N_DATES):
        one = panel.select(dates=slice(day, day + 1))
        keeps.update(one)
        forgets.update(one).forget()
        assert len(forgets.dates_) == 1
    assert differences(keeps.state(1), forgets.state()) == []
    assert forgets.warnings_ == keeps.warnings_
    sizes = {name: len(values) for name, values in forgets.state().day_asset.items()}
    assert set(sizes.values()) == {1}


def test_names_in_another_order_change_no_more_than_the_rounding_of_the_sums_over_them():
    """A name that joins later stands at the end; a panel read anew from a frame has it in the order of the names."""
    panel = market()
    order = np.random.default_rng(4).permutation(N_ASSETS)
    here = FactorModel().fit(panel)
    there = FactorModel().fit(panel.select(dates=slice(0, N_DATES), symbols=tuple(panel.symbols[i] for i in order)))
    for name in ("factor_returns_", "factor_covariance_"):
        np.testing.assert_allclose(getattr(there, name), getattr(here, name), rtol=1e-9, atol=1e-12, err_msg=name)
    for name in ("residuals_", "specific_variance_"):
        a, b = getattr(here, name), getattr(there, name)
        np.testing.assert_allclose(b, a[..., order], rtol=1e-9, atol=1e-12, err_msg=name)
