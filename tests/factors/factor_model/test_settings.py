"""Settings from TOML, from toraniko's INI, and back."""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass, replace
from typing import get_args, get_type_hints

import pytest

from factors import FactorModel, sample_market
from factors.errors import SettingsError
from factors.factor_model.settings import ModelSettings, MomentumSettings, RegressionSettings, StyleSettings
from factors.risk.settings import HalfLife

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
    if isinstance(value, bool) or text.startswith("bool"):
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
    own |= {"date_format": "%d/%m/%Y", "after_close": "17:30"}
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
        ({"style_factors": {"mom": {"lag": -1}}}, "mom.lag"),
        ({"style_factors": {"names": ["speed"]}}, "style_factors.names"),
        ({"top_n_by_mkt_cap": 0}, "top_n_by_mkt_cap"),
        ({"regression": {"exposure_lag": True}}, "regression.exposure_lag"),
        ({"smooth_features": {"market_cap": 0}}, "smooth_features"),
        ({"style_factors": 3}, "style_factors"),
    ],
)
def test_a_wrong_setting_is_named(values, field):
    with pytest.raises(SettingsError) as caught:
        ModelSettings.from_dict(values)
    assert caught.value.field == field


def test_files_that_cannot_be_read_are_refused(tmp_path):
    path = tmp_path / "x"
    path.write_text("[[[")
    with pytest.raises(SettingsError, match="not TOML"):
        ModelSettings.from_toml(path)
    with pytest.raises(SettingsError, match="not INI"):
        ModelSettings.from_ini(path)
