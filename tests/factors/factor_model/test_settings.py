"""Settings from TOML, from toraniko's INI, and back."""

from __future__ import annotations

import json
import re
from dataclasses import fields, is_dataclass, replace
from typing import get_args, get_type_hints

import pytest
from pydantic import TypeAdapter
from schema_numbers import numbers

from factors import FactorModel, sample_market
from factors.analytics.tear_sheet import TearSheetSettings
from factors.errors import SettingsError
from factors.factor_model.recipe import Recipe
from factors.factor_model.settings import ModelSettings, MomentumSettings, RegressionSettings, StyleSettings
from factors.portfolio.margin import MarginSettings
from factors.risk.settings import FactorCovarianceSettings, HalfLife, SpecificRiskSettings
from factors.validation.backtest import BacktestSettings

INI = """
[global_column_names]
asset_returns_col = asset_returns
mkt_cap_col = market_cap
[model_estimation]
winsor_factor = 0.02
residualize_styles = true
mkt_factor_col = Market
res_ret_col = res_asset_returns
top_n_by_mkt_cap = 500
proxy_for_idio_cov = market_cap
make_sector_dummies = true
fill_features = ['book_price']
smooth_features = {'market_cap': 10}
[style_factors.mom]
enabled = true
trailing_days = 120
half_life = 60
lag = 22
winsor_factor = null
center = true
standardize = true
score_col = mom_score
[style_factors.sze]
enabled = true
lower_decile = 0.2
upper_decile = 0.8
[style_factors.val]
enabled = false
"""


def test_defaults_carry_toranikos_names_and_values():
    settings = ModelSettings()
    mom = settings.style_factors.mom
    assert (settings.winsor_factor, settings.residualize_styles, settings.top_n_by_mkt_cap) == (0.02, False, 2000)
    assert settings.smooth_features == {"market_cap": 20}
    assert (mom.trailing_days, mom.half_life, mom.lag, mom.winsor_factor, mom.score_col) == (
        252,
        126,
        20,
        0.01,
        "mom_score",
    )


def test_settings_survive_a_round_trip_through_plain_values():
    settings = ModelSettings(
        top_n_by_mkt_cap=None,
        regression=RegressionSettings(huber=1.345, weights="equal"),
        style_factors=StyleSettings(names=("size", "mine"), custom={"mine": "rank(close)"}),
    )
    assert ModelSettings.from_dict(settings.to_dict()) == settings
    assert ModelSettings.from_dict(ModelSettings.toraniko().to_dict()) == ModelSettings.toraniko()


def test_a_half_life_is_a_number_or_adaptive():
    read = ModelSettings.from_dict(
        {"factor_covariance": {"volatility_half_life": "adaptive"}, "specific_risk": {"half_life": 30}}
    )
    assert read.factor_covariance.volatility_half_life == "adaptive"
    assert read.specific_risk.half_life == 30.0
    assert ModelSettings.from_dict(read.to_dict()) == read
    for wrong in ("fast", True, None):
        with pytest.raises(SettingsError, match="half_life"):
            ModelSettings.from_dict({"specific_risk": {"half_life": wrong}})


def test_what_a_table_of_risk_leaves_out_is_the_models_own():
    own = ModelSettings()
    assert own.factor_covariance == FactorCovarianceSettings.adaptive()
    assert own.specific_risk == SpecificRiskSettings.adaptive()
    told = ModelSettings.from_dict({"factor_covariance": {"regime_half_life": 10.0}, "specific_risk": {}})
    assert told.factor_covariance == replace(own.factor_covariance, regime_half_life=10.0)
    assert told.specific_risk == own.specific_risk
    window = ModelSettings.from_dict({"factor_covariance": {"method": "oas"}})
    assert window.factor_covariance == FactorCovarianceSettings(method="oas")


def test_settings_stored_before_there_were_experts_are_read_as_they_were():
    stored = ModelSettings.use4().to_dict()
    new = ("horizon_days", "expert_half_lives", "expert_discount_half_life", "expert_learning_rate")
    for table in ("factor_covariance", "specific_risk"):
        stored[table] = {name: value for name, value in stored[table].items() if name not in new}
    assert ModelSettings.from_dict(stored) == ModelSettings.use4()
    assert ModelSettings.from_dict(stored).factor_covariance.volatility_half_life == 84.0


def test_use4_has_a_daily_a_short_and_a_long_horizon():
    found = {horizon: ModelSettings.use4(horizon) for horizon in ("D", "S", "L")}
    assert found["S"] == ModelSettings.use4()
    half_lives = [found[horizon].factor_covariance.volatility_half_life for horizon in ("D", "S", "L")]
    assert half_lives == [42.0, 84.0, 252.0]
    assert [each.specific_risk.half_life for each in found.values()] == half_lives
    assert [each.specific_risk.regime_half_life for each in found.values()] == [4.0, 42.0, 168.0]
    assert [each.factor_covariance.volatility_lags for each in found.values()] == [0, 5, 5]


def test_settings_stored_before_the_market_leant_are_read_as_they_were():
    new = ("expert_even_share", "market_asymmetry")
    stored = ModelSettings().to_dict()
    for table in ("factor_covariance", "specific_risk"):
        stored[table] = {name: value for name, value in stored[table].items() if name not in new}
    read = ModelSettings.from_dict(stored).factor_covariance
    assert (read.expert_even_share, read.market_asymmetry) == (0.0, 0.0)
    assert read == replace(FactorCovarianceSettings.adaptive(), expert_even_share=0.0, market_asymmetry=0.0)
    told = ModelSettings.from_dict({"factor_covariance": {"expert_half_lives": [20.0, 90.0]}}).factor_covariance
    assert told == replace(FactorCovarianceSettings.adaptive(), expert_half_lives=(20.0, 90.0))


def other(value, hint):
    """Give a valid value of a setting that is not its default."""
    text = str(hint)
    if is_dataclass(value):
        return altered(value)
    if hint == HalfLife:
        return 21.0
    if "Literal" in text:
        choices = [word for part in (hint, *get_args(hint)) for word in get_args(part) if isinstance(word, str)]
        return next(word for word in choices if word != value)
    if isinstance(value, bool) or "bool" in text:
        return not value
    if "tuple[float, float]" in text:
        return (0.25, 3.0)
    if "tuple[int, int]" in text:
        return (10, 20)
    if "tuple[float, ...]" in text:
        return (10.0, 300.0)
    if "tuple" in text:
        return ("size", "mine") if value is None else ("book_price",)
    if "int" in text:
        return 1 - value if value in (0, 1) else value + 1 if value is not None else 2
    if "float" in text:
        return 0.25 if value is None or value < 0.2 else value / 2.0
    return f"{value}_other"


def altered(settings):
    """Give settings of which no leaf is the default."""
    hints = get_type_hints(type(settings))
    own = {"smooth_features": {"book_price": 3}, "custom": {"mine": "rank(close)"}, "columns": {"date_col": "day"}}
    own |= {"threads": 2, "date_format": "%d/%m/%Y", "after_close": "17:30"}
    own["regime_half_life"] = 0.0  # sample variances of specific risk have no regime
    own["horizon_days"] = 5
    made = {
        item.name: own[item.name] if item.name in own else other(getattr(settings, item.name), hints[item.name])
        for item in fields(settings)
    }
    return type(settings)(**made)


def leaves(settings, path=""):
    for item in fields(settings):
        value = getattr(settings, item.name)
        yield from leaves(value, f"{path}{item.name}.") if is_dataclass(value) else [(path + item.name, value)]


def toml(values, path=""):
    """Write nested plain values as TOML; what is null is left out."""
    lines, tables = [], []
    for name, value in values.items():
        if isinstance(value, dict):
            tables.append(toml(value, f"{path}{name}."))
        elif value is not None:
            lines.append(f"{name} = {json.dumps(value)}")
    return "\n".join([*([f"[{path[:-1]}]"] if path else []), *lines, *tables])


def test_every_setting_survives_plain_values_toml_and_a_saved_model(tmp_path):
    settings = altered(ModelSettings())
    defaults = dict(leaves(ModelSettings()))
    changed = dict(leaves(settings))
    assert len(changed) > 60
    assert [name for name, value in changed.items() if value == defaults[name]] == []
    assert ModelSettings.from_dict(json.loads(json.dumps(settings.to_dict()))) == settings
    (tmp_path / "model.toml").write_text(toml(settings.to_dict()))
    assert ModelSettings.from_toml(tmp_path / "model.toml") == settings
    panel = sample_market(20, 30).panel
    model = FactorModel(settings).set_panel(panel)
    model.save(tmp_path / "model")
    loaded = FactorModel.load(tmp_path / "model")
    assert loaded.settings == settings
    assert loaded.recipe_ == model.recipe_


def test_toranikos_names_may_stand_at_the_top():
    settings = ModelSettings.from_dict(
        {"winsor_factor": 0.03, "residualize_styles": True, "regression": {"huber": 2.0}}
    )
    assert settings.regression == RegressionSettings(winsor_factor=0.03, residualize_styles=True, huber=2.0)
    assert settings.winsor_factor == 0.03


def test_toranikos_sections_are_read_from_toml_as_from_its_ini(tmp_path):
    (tmp_path / "config.ini").write_text(INI)
    (tmp_path / "config.toml").write_text(
        """
        [global_column_names]
        asset_returns_col = "asset_returns"
        mkt_cap_col = "market_cap"
        [model_estimation]
        winsor_factor = 0.02
        residualize_styles = true
        mkt_factor_col = "Market"
        res_ret_col = "res_asset_returns"
        top_n_by_mkt_cap = 500
        proxy_for_idio_cov = "market_cap"
        make_sector_dummies = true
        fill_features = ["book_price"]
        smooth_features = {market_cap = 10}
        [style_factors.mom]
        enabled = true
        trailing_days = 120
        half_life = 60
        lag = 22
        center = true
        standardize = true
        score_col = "mom_score"
        [style_factors.sze]
        enabled = true
        lower_decile = 0.2
        upper_decile = 0.8
        [style_factors.val]
        enabled = false
        """
    )
    from_toml, from_ini = (
        ModelSettings.from_toml(tmp_path / "config.toml"),
        ModelSettings.from_ini(tmp_path / "config.ini"),
    )
    styles = from_ini.style_factors
    # TOML has no null: what is left out has its default.
    assert styles.mom.winsor_factor is None
    assert replace(from_ini, style_factors=replace(styles, mom=replace(styles.mom, winsor_factor=0.01))) == from_toml


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("[custom_factors.test]\nenabled = true\n", "custom_factors.test"),
        ("[model_estimation]\nspeed = 3\n", "speed"),
        ("[model]\nwinsor_factor = 0.1\n", "model"),
        ("[global_column_names]\nvolume_col = v\n", "columns"),
    ],
)
def test_what_the_ini_asks_for_and_we_do_not_have_is_an_error(tmp_path, text, field):
    (tmp_path / "config.ini").write_text(text)
    with pytest.raises(SettingsError) as caught:
        ModelSettings.from_ini(tmp_path / "config.ini")
    assert caught.value.field == field


def test_the_ini_of_an_earlier_draft_and_a_custom_factor_that_is_off_are_read(tmp_path):
    (tmp_path / "config.ini").write_text(
        "[model_estimation]\nclean_features = ['cf_price']\nmkt_cap_smooth_window = 5\n"
        "proxy_for_idio_cov = market_caps\n"
        "[custom_factors.test]\nname = test\nenabled = false\nfeature_cols = []\n"
    )
    settings = ModelSettings.from_ini(tmp_path / "config.ini")
    assert settings.fill_features == ("cf_price",)
    assert settings.smooth_features == {"market_cap": 5}
    assert settings.proxy_for_idio_cov == "market_cap"


def test_toml_is_read_into_nested_settings(tmp_path):
    path = tmp_path / "model.toml"
    path.write_text('top_n_by_mkt_cap = 100\n[regression]\nhuber = 2\n[style_factors.mom]\nformula = "log_sum"\n')
    settings = ModelSettings.from_toml(path)
    assert settings.regression.huber == 2.0
    assert settings.style_factors.mom == MomentumSettings(formula="log_sum")


def test_toranikos_ini_is_read_with_its_conventions(tmp_path):
    path = tmp_path / "config.ini"
    path.write_text(INI)
    settings = ModelSettings.from_ini(path)
    assert settings.style_factors.names == ("momentum", "size")
    assert settings.style_factors.mom.trailing_days == 120
    assert settings.style_factors.mom.winsor_factor is None
    assert settings.style_factors.sze.lower_decile == 0.2
    assert settings.fill_features == ("book_price",)
    assert settings.smooth_features == {"market_cap": 10}
    assert settings.residualize_styles
    assert settings.regression.design == "two_stage"
    assert settings.columns["mkt_cap_col"] == "market_cap"


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"winsor": 1}, "winsor"),
        ({"regression": {"huber": "big"}}, "regression.huber"),
        ({"regression": {"design": "both"}}, "regression.design"),
        ({"style_factors": {"mom": {"lag": -1}}}, "style_factors.mom.lag"),
        ({"style_factors": {"names": ["speed"]}}, "style_factors.names"),
        ({"top_n_by_mkt_cap": 0}, "top_n_by_mkt_cap"),
        ({"regression": {"exposure_lag": True}}, "regression.exposure_lag"),
        ({"smooth_features": {"market_cap": 0}}, "smooth_features.market_cap"),
        ({"style_factors": 3}, "style_factors"),
        ({"fill_features": [["a"]]}, "fill_features[0]"),
        ({"fill_features": "market_cap"}, "fill_features"),
        ({"style_factors": {"custom": {"x": 3}}}, "style_factors.custom.x"),
        ({"style_factors": {"custom": {"size": "rank(close)"}}}, "style_factors.custom"),
        ({"style_factors": {"mom": {"trailing_days": 10**9}}}, "style_factors.mom.trailing_days"),
        ({"style_factors": {"mom": {"half_life": 2**70}}}, "style_factors.mom.half_life"),
        ({"factor_covariance": {"window": 2**70}}, "factor_covariance.window"),
        ({"factor_covariance": {"eigenfactor_simulations": 10**9}}, "factor_covariance.eigenfactor_simulations"),
        ({"factor_covariance": {"regime_clip": [0.5]}}, "factor_covariance.regime_clip[1]"),
        ({"factor_covariance": {"regime_clip": [0.5, float("nan")]}}, "factor_covariance.regime_clip[1]"),
        ({"factor_covariance": {"volatility_half_life": float("nan")}}, "factor_covariance.volatility_half_life"),
        ({"factor_covariance": {"volatility_half_life": "adaptively"}}, "factor_covariance.volatility_half_life"),
        ({"factor_covariance": {"expert_half_lives": []}}, "factor_covariance.expert_half_lives"),
        ({"specific_risk": {"regime_half_life": float("nan")}}, "specific_risk.regime_half_life"),
        ({"specific_risk": {"blend_history": [9, 3]}}, "specific_risk.blend_history"),
        ({"specific_risk": {"method": "sample"}}, "specific_risk.regime_half_life"),
        ({"columns": {"symbol_col": 3}}, "columns.symbol_col"),
        ({"columns": {"sector": "s"}}, "columns"),
        ({"regression": {"winsor_factor": float("nan")}}, "regression.winsor_factor"),
        ({"threads": -1}, "threads"),
        ({"make_sector_dummies": 1}, "make_sector_dummies"),
        ({"intake": {"speed": 3}}, "intake.speed"),
        ({"intake": {"date_format": 3}}, "intake.date_format"),
        ({"intake": {"na_values": "NA"}}, "intake.na_values"),
    ],
)
def test_a_wrong_setting_is_named(values, field):
    with pytest.raises(SettingsError, match=f"^{re.escape(field)} ") as caught:
        ModelSettings.from_dict(values)
    assert caught.value.field == field


def test_a_constructor_names_the_field_and_counts_what_else_is_wrong():
    with pytest.raises(SettingsError) as caught:
        MomentumSettings(trailing_days=0, lag="long")
    assert caught.value.field == "trailing_days"
    assert str(caught.value) == "trailing_days must be greater than or equal to 1, got 0 (and 1 more)"
    with pytest.raises(SettingsError, match=r"^mom must be a table"):
        StyleSettings(mom=3)


def test_half_lives_may_be_infinite_and_whole_numbers_are_read_as_floats():
    settings = ModelSettings.from_dict({"factor_covariance": {"volatility_half_life": float("inf")}})
    assert settings.factor_covariance.volatility_half_life == float("inf")
    assert isinstance(RegressionSettings(huber=2).huber, float)


@pytest.mark.parametrize("kind", [ModelSettings, Recipe, MarginSettings, BacktestSettings, TearSheetSettings])
def test_every_number_has_bounds(kind):
    found, endless = numbers(TypeAdapter(kind).json_schema())
    assert len(found) >= 3
    # What weighs all days alike has an infinite half-life.
    assert [path for path in endless if "half_li" not in path] == []


def test_files_that_cannot_be_read_are_refused(tmp_path):
    path = tmp_path / "x"
    path.write_text("[[[")
    with pytest.raises(SettingsError, match="not TOML"):
        ModelSettings.from_toml(path)
    with pytest.raises(SettingsError, match="not INI"):
        ModelSettings.from_ini(path)
