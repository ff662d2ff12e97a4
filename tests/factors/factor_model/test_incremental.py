"""Incremental is batch: for any settings, any split of the days and a restart in between, bit for bit."""

from __future__ import annotations

from functools import cache

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from factors import FactorModel, ModelSettings, Panel, sample_market
from factors.factor_model.settings import MomentumSettings, RegressionSettings, StyleSettings
from factors.risk.settings import FactorCovarianceSettings, SpecificRiskSettings

N_DATES, N_ASSETS, EARLY_ASSETS, FIRST_CUT = 84, 26, 22, 55
STYLES = ("beta", "momentum", "size", "value", "residual_volatility", "liquidity", "short_term_reversal")


@cache
def market() -> Panel:
    """Assets enter and leave in the sample; one is suspended for a while and a few are new after the first days.

    No fixture: hypothesis writes out every argument of a test.
    """
    whole = sample_market(N_ASSETS, N_DATES, seed=11).panel
    for values in whole.fields.values():
        values[50:66, 3] = np.nan
    return whole


@st.composite
def model_settings(draw: st.DrawFn) -> ModelSettings:
    pick = lambda *values: draw(st.sampled_from(values))  # noqa: E731
    regime = pick(0.0, 8.0)
    factor, specific = pick("sample", "ewma", "ledoit_wolf", "oas"), pick("ewma", "sample")
    return ModelSettings(
        top_n_by_mkt_cap=pick(None, 15),
        proxy_for_idio_cov=pick("market_cap", "ledoit_wolf", "inverse_specific_variance"),
        fill_features=pick((), ("book_price",)),
        smooth_features=pick({}, {"market_cap": 5}),
        threads=pick(1, 2),
        regression=RegressionSettings(
            design=pick("single", "two_stage"),
            weights=pick("sqrt_cap", "cap", "equal", "inverse_specific_variance"),
            sector_constraint=pick("cap_weighted", "unweighted", "none"),
            winsor_factor=pick(None, 0.02),
            residualize_styles=draw(st.booleans()),
            huber=pick(None, 1.345),
            thin_sector_names=pick(0.0, 4.0),
            exposure_lag=pick(0, 1),
        ),
        style_factors=StyleSettings(
            names=pick(STYLES, ("size", "value")),
            mom=MomentumSettings(trailing_days=40, half_life=20, lag=5, formula=pick("product", "log_sum")),
            standardization=pick("cap_weighted", "equal_weighted"),
        ),
        factor_covariance=FactorCovarianceSettings(
            method=factor,
            window=30,
            volatility_half_life=pick(84.0, "adaptive") if factor == "ewma" else 84.0,
            horizon_days=pick(1, 5),
            volatility_lags=pick(0, 3),
            correlation_lags=pick(0, 2),
            eigenfactor_simulations=pick(0, 8),
            eigenfactor_spread_days=4,
            regime_half_life=regime,
            regime_min_observations=5,
        ),
        specific_risk=SpecificRiskSettings(
            method=specific,
            window=20,
            half_life=pick(84.0, "adaptive") if specific == "ewma" else 84.0,
            horizon_days=pick(1, 5),
            newey_west_lags=pick(0, 3),
            blend_history=pick((0, 0), (10, 40)),
            structural=draw(st.booleans()),
            bayes_shrinkage=pick(0.0, 0.1),
            regime_half_life=regime if specific == "ewma" else 0.0,
            regime_min_observations=5,
        ),
    )


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


def differences(one, other) -> list[str]:
    """Names of the arrays in which two states differ."""
    found = []
    for group in ("day_asset", "day", "latest"):
        mine, theirs = getattr(one, group), getattr(other, group)
        found += sorted(set(mine) ^ set(theirs))
        found += [
            name
            for name in set(mine) & set(theirs)
            if not np.array_equal(mine[name], theirs[name], equal_nan=mine[name].dtype.kind == "f")
        ]
    return found


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
