"""Long frames into the model and its estimates back into frames, by the column names of the settings."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from factors import FactorModel, ModelSettings, sample_market
from factors.errors import MissingColumnError, WrongTypeError
from factors.factor_model.settings import SizeSettings
from factors.model import estimate_factor_returns
from factors.styles import factor_mom, factor_sze, factor_val

RATIOS = ("book_price", "sales_price", "cf_price")

COLUMNS = {
    "asset_returns_col": "ret",
    "symbol_col": "ticker",
    "date_col": "day",
    "mkt_cap_col": "cap",
    "sectors_col": "gics",
}
NAMES = {"asset_returns": "ret", "symbol": "ticker", "date": "day", "market_cap": "cap", "sector": "gics"}


@pytest.fixture(scope="module")
def frame():
    panel = sample_market(24, 60, seed=2).panel
    panel = panel.select(fields=["returns", "market_cap", "book_price"])
    return panel.to_frame().drop("industry", "subindustry")


def fitted(settings, *frames):
    return FactorModel(settings).set_features(*frames).fit()


def same(one, other):
    return np.array_equal(one.factor_returns_, other.factor_returns_, equal_nan=True)


def test_columns_are_found_under_the_names_that_the_settings_give(frame):
    plain = fitted(ModelSettings(), frame)
    renamed = fitted(ModelSettings(columns=COLUMNS), frame.rename(NAMES))
    assert same(plain, renamed)
    assert plain.factor_names_ == renamed.factor_names_


def test_sectors_may_come_in_a_frame_of_their_own_as_labels_or_as_dummies(frame):
    plain = fitted(ModelSettings(), frame)
    bare = frame.drop("sector")
    labels = frame.select("date", "symbol", "sector")
    assert same(plain, fitted(ModelSettings(), bare, labels))
    by_symbol = labels.select("symbol", "sector").unique()
    assert same(plain, fitted(ModelSettings(), bare, by_symbol))
    other_types = labels.with_columns(pl.col("date").cast(pl.Datetime("us")), pl.col("symbol").cast(pl.Categorical))
    assert same(plain, fitted(ModelSettings(), bare, other_types))
    dummies = labels.with_columns(
        pl.when(pl.col("sector") == name).then(1).otherwise(0).alias(name) for name in labels["sector"].unique()
    )
    assert same(plain, fitted(ModelSettings(make_sector_dummies=False), bare, dummies.drop("sector")))


def test_a_missing_column_and_what_is_no_frame_are_named(frame):
    with pytest.raises(MissingColumnError, match="'gics'"):
        fitted(
            ModelSettings(columns=COLUMNS),
            frame.rename(NAMES).drop("gics"),
            frame.select("symbol").rename(NAMES, strict=False),
        )
    with pytest.raises(MissingColumnError, match="'cap'"):
        fitted(ModelSettings(columns=COLUMNS), frame.rename(NAMES).drop("cap"))
    with pytest.raises(MissingColumnError, match="`feature_data` has no column 'symbol'"):
        fitted(ModelSettings(), frame.drop("symbol"), frame.select("symbol", "sector"))
    with pytest.raises(MissingColumnError, match="`sector_encodings` has no column 'symbol'"):
        fitted(ModelSettings(), frame, frame.select("sector"))
    with pytest.raises(WrongTypeError, match="feature_data"):
        fitted(ModelSettings(), {"date": []})


def test_estimates_come_back_as_frames_under_the_settings_names(frame):
    settings = ModelSettings(columns=COLUMNS, mkt_factor_col="Market", res_ret_col="specific")
    styles = replace(settings.style_factors, sze=SizeSettings(score_col="small_minus_big"))
    model = fitted(replace(settings, style_factors=styles), frame.rename(NAMES))
    scores = model.scores_frame()
    assert scores.columns[:2] == ["day", "ticker"]
    assert {"small_minus_big", "val_score", "beta"} <= set(scores.columns)
    assert len(scores) == model.coverage_universe_.sum()
    last = scores.filter(pl.col("day") == scores["day"].max())
    row = model.scores_[-1, model.style_names_.index("size")]
    expected = [row[model.symbols_.index(symbol)] for symbol in last["ticker"]]
    assert last["small_minus_big"].to_list() == expected
    returns = model.factor_returns_frame()
    assert returns.columns == ["day", "Market", *model.factor_names_[1:]]
    assert returns["Market"][0] is None
    np.testing.assert_array_equal(returns["Market"][1:].to_numpy(), model.factor_returns_[1:, 0])
    residuals = model.residuals_frame()
    assert residuals.columns == ["day", "ticker", "specific"]
    assert residuals["specific"].to_numpy() == pytest.approx(model.residuals_[~np.isnan(model.residuals_)], abs=0.0)


def test_with_toranikos_conventions_the_model_gives_the_factor_returns_of_the_drop_in_functions():
    panel = sample_market(60, 300, seed=6).panel
    whole = [
        symbol
        for column, symbol in enumerate(panel.symbols)
        if all(np.isfinite(panel.fields[name][1:, column]).all() for name in ("returns", "market_cap", *RATIOS))
    ]
    assert len(whole) > 20
    panel = panel.select(dates=slice(1, 300), symbols=whole, fields=["returns", "market_cap", *RATIOS])
    settings = replace(ModelSettings.toraniko(), smooth_features={}, top_n_by_mkt_cap=None)
    model = FactorModel(settings).fit(panel)
    frame = panel.to_frame()
    scores = factor_mom(frame.select("date", "symbol", "asset_returns"), trailing_days=252).collect()
    scores = scores.join(factor_sze(frame, 0.5, 0.5).collect(), on=["date", "symbol"])
    scores = scores.join(factor_val(frame).collect(), on=["date", "symbol"]).drop_nulls().drop_nans()
    named = model.scores_frame().join(scores, on=["date", "symbol"], suffix="_alone")
    for name in ("mom_score", "val_score"):
        np.testing.assert_allclose(named[name].to_numpy(), named[f"{name}_alone"].to_numpy(), atol=1e-9)
    styles = named.select("date", "symbol", "mom_score", "sze_score", "val_score")
    returns, _ = estimate_factor_returns(
        frame.select("date", "symbol", "asset_returns"),
        frame.select("date", "symbol", "market_cap"),
        frame.select("date", "symbol", "sector").to_dummies("sector"),
        styles,
        0.02,
        residualize_styles=False,
    )
    ours = model.factor_returns_frame().filter(pl.col("date").is_in(returns["date"].implode()))
    assert len(ours) > 20
    np.testing.assert_allclose(ours["market"].to_numpy(), returns["market"].to_numpy(), atol=1e-12)
    held = [name for name in model.sector_names_ if f"sector_{name}" in returns.columns]
    assert len(held) > 5
    for name in held:
        np.testing.assert_allclose(ours[name].to_numpy(), returns[f"sector_{name}"].to_numpy(), atol=1e-12)
    for name, column in (("momentum", "mom_score"), ("size", "sze_score"), ("value", "val_score")):
        np.testing.assert_allclose(ours[name].to_numpy(), returns[column].to_numpy(), atol=1e-12)
