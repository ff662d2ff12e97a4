"""Settings from TOML, from toraniko's INI, and back."""

from __future__ import annotations

import pytest

from factors.errors import SettingsError
from factors.settings import ModelSettings, MomentumSettings, RegressionSettings, StyleSettings

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
