"""Long frames into the model and its estimates back into frames, by the column names of the settings."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from factors import FactorModel, ModelSettings, sample_market
from factors.errors import MissingColumnError, WrongTypeError
from factors.settings import SizeSettings

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
    with pytest.raises(MissingColumnError, match="'symbol'"):
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
