"""Settings of the model: frozen values, checked when made, read from TOML or from toraniko's INI."""

from __future__ import annotations

import configparser
import json
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, field, fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from factors.errors import SettingsError
from factors.panel.intake import Intake
from factors.risk.settings import (
    ADAPTIVE,
    HORIZONS,
    FactorCovarianceSettings,
    SpecificRiskSettings,
    Use4Horizon,
)
from factors.setting import (
    Count,
    Days,
    DaysOrNone,
    Deviations,
    Flag,
    Formula,
    Fraction,
    Name,
    Share,
    Threads,
    read_settings,
    settings_class,
)
from factors.style.table import STYLE_NAMES

OF_THE_REGRESSION = ("winsor_factor", "residualize_styles")
OF_THE_INTAKE = {"asset_returns_col": "returns_col"} | {n: n for n in ("symbol_col", "date_col", "mkt_cap_col")}
COLUMNS = {
    "asset_returns_col": "asset_returns",
    "symbol_col": "symbol",
    "date_col": "date",
    "mkt_cap_col": "market_cap",
    "sectors_col": "sector",
}


def _check(condition: bool, name: str, what: str) -> None:
    if not condition:
        raise SettingsError(f"{name} {what}", field=name)


@settings_class
class MomentumSettings:
    """Momentum: toraniko's compounded weighted return, or the weighted sum of log returns (USE4's RSTR).

    Attributes
    ----------
    trailing_days, half_life, lag : int
        Window, decay and the latest days left out, in dates.
    winsor_factor : float or None
        Symmetric percentile at which the raw scores are clipped.
    least_observations : float
        Share of the window that must be there.
    """

    enabled: Flag | None = None
    trailing_days: Days = 252
    half_life: Annotated[int, Field(strict=True, ge=1, le=1_000_000)] = 126
    lag: DaysOrNone = 20
    winsor_factor: Fraction | None = 0.01
    center: Flag = True
    standardize: Flag = True
    score_col: Name = "mom_score"
    formula: Literal["product", "log_sum"] = "product"
    least_observations: Annotated[float, Field(strict=True, gt=0.0, le=1.0)] = 0.5


@settings_class
class SizeSettings:
    """Size: minus the logarithm of the cap (small minus big); scores between the deciles, if given, become 0."""

    enabled: Flag | None = None
    lower_decile: Share | None = None
    upper_decile: Share | None = None
    center: Flag = True
    standardize: Flag = True
    score_col: Name = "sze_score"


@settings_class
class ValueSettings:
    """Value: the mean of standardised log book, log sales and cash flow to price."""

    enabled: Flag | None = None
    winsor_factor: Fraction | None = None
    center: Flag = True
    standardize: Flag = True
    bp_col: Name = "book_price"
    sp_col: Name = "sales_price"
    cf_col: Name = "cf_price"
    score_col: Name = "val_score"


@settings_class
class StyleSettings:
    """Which styles the model has, and the settings of each.

    Attributes
    ----------
    names : tuple of str or None
        Styles in the order of the factor axis; None takes every style that the panel has the data for.
    standardization : "cap_weighted" (USE4: cap-weighted mean 0, equal-weighted deviation 1) or "equal_weighted".
    winsor_deviations : float
        Descriptors are clipped at this many deviations (USE4: 3).
    custom : mapping of name to formula of the factor library
    """

    names: Annotated[tuple[Name, ...], Field(max_length=1000)] | None = None
    mom: MomentumSettings = field(default_factory=MomentumSettings)
    sze: SizeSettings = field(default_factory=SizeSettings)
    val: ValueSettings = field(default_factory=ValueSettings)
    standardization: Literal["cap_weighted", "equal_weighted"] = "cap_weighted"
    winsor_deviations: Deviations = 3.0
    custom: Annotated[Mapping[Name, Formula], Field(max_length=1000)] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in self.names or ():
            _check(name in STYLE_NAMES or name in self.custom, "names", f"holds no known style {name!r}")
        for name in self.custom:
            _check(name not in STYLE_NAMES, "custom", f"may not take the name {name!r} of a style")

    def enabled(self, name: str) -> bool | None:
        """Whether a style is asked for (True), refused (False), or depends on the data (None)."""
        switch = {"momentum": self.mom.enabled, "size": self.sze.enabled, "value": self.val.enabled}.get(name)
        if self.names is not None:
            return name in self.names and switch is not False
        return switch


@settings_class
class RegressionSettings:
    """The cross-sectional regression.

    Attributes
    ----------
    design : "single" (market, sectors and styles together) or "two_stage" (toraniko).
    weights : "sqrt_cap", "cap", "equal" or "inverse_specific_variance"
    sector_constraint : "cap_weighted" (USE4), "unweighted" (toraniko) or "none".
    winsor_factor : float or None
        Symmetric percentile at which each day's returns are clipped for the fit; residuals are of the raw returns.
    residualize_styles : bool
        With two stages: styles explain the first stage's residual instead of the return.
    huber : float or None
        Huber's constant (1.345 for 95 % efficiency), by iteratively reweighted least squares.
    thin_sector_names : float
        Sectors with fewer effective names are shrunk towards the market by dummy names; 0 for off.
    exposure_lag : 0 or 1
        1 explains day t by what was known at t-1 (USE4); 0 uses the same date (toraniko).
    """

    design: Literal["single", "two_stage"] = "single"
    weights: Literal["sqrt_cap", "cap", "equal", "inverse_specific_variance"] = "sqrt_cap"
    sector_constraint: Literal["cap_weighted", "unweighted", "none"] = "cap_weighted"
    winsor_factor: Fraction | None = 0.02
    residualize_styles: Flag = False
    huber: Annotated[float, Field(strict=True, gt=0.0, le=1e6)] | None = None
    thin_sector_names: Annotated[float, Field(strict=True, ge=0.0, le=10_000.0)] = 0.0
    exposure_lag: Annotated[int, Field(strict=True, ge=0, le=1)] = 1


@settings_class
class ModelSettings:
    """Everything that a factor model is told; toraniko 1.2's names where it has one.

    Attributes
    ----------
    top_n_by_mkt_cap : int or None
        The estimation universe of a date: the largest by cap.
    proxy_for_idio_cov : "market_cap", "ledoit_wolf" or "inverse_specific_variance"
        What stands for the inverse of the specific covariance in the regression.
    make_sector_dummies : bool
        In frames, sectors are one column of labels (True) or one-hot columns already.
    fill_features : tuple of str
        Fields carried forward over missing values.
    smooth_features : mapping of field to window
        Fields replaced by their rolling mean.
    threads : int or None
        Threads of the batch computation; None for all processors. The answer does not depend on it.
    mkt_factor_col, res_ret_col : str
        Name of the market among the factors, and of the residuals' column in frames.
    columns : mapping
        What frames call things: asset_returns_col, symbol_col, date_col, mkt_cap_col, sectors_col.
    intake : Intake
        How tables are read, and what is done about what looks wrong in them; names in `columns` go before its own.
    """

    top_n_by_mkt_cap: Count | None = 2000
    proxy_for_idio_cov: Literal["market_cap", "ledoit_wolf", "inverse_specific_variance"] = "market_cap"
    make_sector_dummies: Flag = True
    fill_features: Annotated[tuple[Name, ...], Field(max_length=1000)] = ()
    smooth_features: Annotated[Mapping[Name, Days], Field(max_length=1000)] = field(
        default_factory=lambda: {"market_cap": 20}
    )
    mkt_factor_col: Name = "market"
    res_ret_col: Name = "res_asset_returns"
    threads: Threads | None = 1
    columns: Annotated[Mapping[Name, Name], Field(max_length=100)] = field(default_factory=dict)
    intake: Intake = field(default_factory=Intake)
    regression: RegressionSettings = field(default_factory=RegressionSettings)
    style_factors: StyleSettings = field(default_factory=StyleSettings)
    factor_covariance: FactorCovarianceSettings = field(default_factory=FactorCovarianceSettings.adaptive)
    specific_risk: SpecificRiskSettings = field(default_factory=SpecificRiskSettings.adaptive)

    def __post_init__(self) -> None:
        unknown = sorted(set(self.columns) - set(COLUMNS))
        _check(not unknown, "columns", f"holds no known name {unknown[:1]}")

    def column(self, name: str) -> str:
        """Give what frames call a column, for instance ``column("mkt_cap_col")``."""
        return self.columns.get(name, COLUMNS[name])

    @property
    def read_as(self) -> Intake:
        """How tables are read: `intake` under the names of `columns`."""
        names = {OF_THE_INTAKE[name]: column for name, column in self.columns.items() if name in OF_THE_INTAKE}
        return replace(self.intake, **names) if names else self.intake  # type: ignore[arg-type]

    @property
    def winsor_factor(self) -> float | None:
        """The percentile at which returns are clipped for the regression."""
        return self.regression.winsor_factor

    @property
    def residualize_styles(self) -> bool:
        """Whether, with two stages, styles explain the first stage's residual."""
        return self.regression.residualize_styles

    @classmethod
    def toraniko(cls) -> ModelSettings:
        """Give toraniko's conventions: two stages, unweighted constraint, same-day exposures, equal weights."""
        return cls(
            regression=RegressionSettings(design="two_stage", sector_constraint="unweighted", exposure_lag=0),
            style_factors=StyleSettings(
                names=("momentum", "size", "value"),
                mom=MomentumSettings(least_observations=1.0),
                standardization="equal_weighted",
                winsor_deviations=1e9,
            ),
        )

    @classmethod
    def use4(cls, horizon: Use4Horizon = "S") -> ModelSettings:
        """Give USE4's conventions where the defaults are toraniko's: RSTR momentum (504 days, half-life 126, lag 21).

        Risk has the half-lives of its daily, short or long horizon: `FactorCovarianceSettings.use4`.

        Descriptors are clipped at three deviations throughout, and caps are not smoothed.
        """
        momentum = MomentumSettings(trailing_days=504, half_life=126, lag=21, winsor_factor=None, formula="log_sum")
        return cls(
            smooth_features={},
            style_factors=StyleSettings(mom=momentum),
            factor_covariance=FactorCovarianceSettings.use4(horizon),
            specific_risk=SpecificRiskSettings.use4(horizon),
        )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ModelSettings:
        """Read nested mappings, as TOML and JSON give them; unknown names are an error.

        `winsor_factor` and `residualize_styles` may stand at the top, where toraniko has them.
        """
        _check(isinstance(values, Mapping), "settings", "must be a table")
        moved = {name: values[name] for name in OF_THE_REGRESSION if name in values}
        if moved:
            regression = values.get("regression", {})
            _check(isinstance(regression, Mapping), "regression", "must be a table")
            rest = {name: value for name, value in values.items() if name not in moved}
            values = {**rest, "regression": {**moved, **regression}}
        return read_settings(cls, {**values, **_with_half_lives(values)})

    def to_dict(self) -> dict[str, Any]:
        """Give nested JSON-able values that `from_dict` reads back."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self), default=dict))
        return plain

    @classmethod
    def from_toml(cls, path: str | Path) -> ModelSettings:
        """Read a TOML file: our names, or toraniko's sections (those of `from_ini`) with toraniko's conventions."""
        try:
            values = tomllib.loads(Path(path).read_text())
        except tomllib.TOMLDecodeError as error:
            raise SettingsError(f"{Path(path).name} is not TOML: {error}", field="path") from error
        return cls._from_toraniko(values) if "model_estimation" in values else cls.from_dict(values)

    @classmethod
    def from_ini(cls, path: str | Path) -> ModelSettings:
        """Read toraniko's config.ini: global_column_names, model_estimation, style_factors.mom, .sze, .val.

        An enabled section custom_factors.* is an error: toraniko's plan gives it columns but no formula.
        """
        parser = configparser.ConfigParser()
        try:
            parser.read_string(Path(path).read_text())
        except configparser.Error as error:
            raise SettingsError(f"{Path(path).name} is not INI: {error}", field="path") from error
        values: dict[str, Any] = {}
        for section in parser.sections():
            *outer, last = section.split(".")
            table = values
            for name in outer:
                table = table.setdefault(name, {})
            table[last] = {name: _ini_value(text) for name, text in parser[section].items()}
        return cls._from_toraniko(values)

    @classmethod
    def _from_toraniko(cls, values: Mapping[str, Any]) -> ModelSettings:
        """Translate the sections of toraniko's configuration, its conventions included."""
        unknown = sorted(set(values) - {"global_column_names", "model_estimation", "style_factors", "custom_factors"})
        _check(not unknown, unknown[0] if unknown else "", "is no section of toraniko's configuration")
        for name, custom in values.get("custom_factors", {}).items():
            off = isinstance(custom, Mapping) and custom.get("enabled") is False
            _check(off, f"custom_factors.{name}", "has no formula: give one in style_factors.custom")
        model = dict(values.get("model_estimation", {}))
        given = values.get("style_factors", {})
        styles = {short: dict(given.get(short, {})) for short in ("mom", "sze", "val")}
        regression = {name: model.pop(name) for name in OF_THE_REGRESSION if name in model}
        if "clean_features" in model:
            model.setdefault("fill_features", model.pop("clean_features"))
        for name, empty in (("fill_features", ()), ("smooth_features", {})):
            if name in model and model[name] is None:
                model[name] = empty
        if model.get("proxy_for_idio_cov") == "market_caps":
            model["proxy_for_idio_cov"] = "market_cap"
        if "mkt_cap_smooth_window" in model:
            window = model.pop("mkt_cap_smooth_window")
            model.setdefault("smooth_features", {} if window is None else {"market_cap": window})
        names = tuple(
            style
            for style, short in (("momentum", "mom"), ("size", "sze"), ("value", "val"))
            if styles[short].get("enabled", True) is not False
        )
        columns = {name: str(value) for name, value in values.get("global_column_names", {}).items()}
        settings = cls.from_dict(
            {**model, "columns": columns, "regression": regression, "style_factors": {**styles, "names": names}}
        )
        two_stage = replace(settings.regression, design="two_stage", sector_constraint="unweighted", exposure_lag=0)
        return replace(settings, regression=two_stage)


def _ini_value(text: str) -> Any:
    """Read a value of the INI: null, a boolean, a number, a JSON list or mapping (single quotes allowed), or text."""
    text = text.strip()
    if text.lower() in ("null", "none", ""):
        return None
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        return json.loads(text.replace("'", '"'))
    except json.JSONDecodeError:
        return text


# Settings of risk that stored tables may lack, because they are older.
ADDED_LATER = {"expert_even_share", "market_asymmetry", "event_days", "event_deviations"}


def _with_half_lives(values: Mapping[str, Any]) -> dict[str, Any]:
    """Give the tables of risk that are not silent, with the model's own half-lives and lags where they name none.

    A table that names a half-life has the published values beside it, and so has one of another method. One that was
    stored names every setting of its time, and is read as it was meant then: without what came later.
    """
    found: dict[str, Any] = {}
    for name, half_life, kind in (
        ("factor_covariance", "volatility_half_life", FactorCovarianceSettings),
        ("specific_risk", "half_life", SpecificRiskSettings),
    ):
        table = values.get(name)
        if not isinstance(table, Mapping) or table.get("method", "ewma") != "ewma":
            continue
        if table.get(half_life, ADAPTIVE) == ADAPTIVE:
            ahead = table.get("horizon_days", 1)
            # Another horizon is refused where the table is read.
            own = kind.adaptive(ahead if isinstance(ahead, int) and ahead in HORIZONS else 1)
            stored = "expert_learning_rate" in table and "expert_discount_half_life" in table
            names = [item.name for item in fields(own) if not (stored and item.name in ADDED_LATER)]
            found[name] = {**{item: getattr(own, item) for item in names}, **table}
    return found
