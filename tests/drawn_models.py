"""Settings of a model drawn at random, a market for them, and what differs between two states."""

from __future__ import annotations

from functools import cache

import numpy as np
from hypothesis import strategies as st

from factors import ModelSettings, Panel, sample_market
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
