"""Settings of the model: frozen values, checked when made, read from TOML or from toraniko's INI."""

from __future__ import annotations

import configparser
import json
import tomllib
from collections.abc import Hashable, Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeVar, get_type_hints

from factors.errors import SettingsError
from factors.panel.intake import Intake
from factors.risk.settings import FactorCovarianceSettings, HalfLife, SpecificRiskSettings

T = TypeVar("T")

STYLE_NAMES = (
    "beta",
    "momentum",
    "size",
    "value",
    "residual_volatility",
    "nonlinear_size",
    "liquidity",
    "earnings_yield",
    "growth",
    "leverage",
    "dividend_yield",
    "short_term_reversal",
)

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


def _check_fraction(name: str, value: float | None) -> None:
    _check(value is None or 0.0 <= value < 0.5, name, "must be in [0, 0.5)")


@dataclass(frozen=True)
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

    enabled: bool | None = None
    trailing_days: int = 252
    half_life: int = 126
    lag: int = 20
    winsor_factor: float | None = 0.01
    center: bool = True
    standardize: bool = True
    score_col: str = "mom_score"
    formula: Literal["product", "log_sum"] = "product"
    least_observations: float = 0.5

    def __post_init__(self) -> None:
        _check(self.trailing_days > 0, "mom.trailing_days", "must be positive")
        _check(self.half_life > 0, "mom.half_life", "must be positive")
        _check(self.lag >= 0, "mom.lag", "must not be negative")
        _check(0.0 < self.least_observations <= 1.0, "mom.least_observations", "must be in (0, 1]")
        _check_fraction("mom.winsor_factor", self.winsor_factor)


@dataclass(frozen=True)
class SizeSettings:
    """Size: minus the logarithm of the cap (small minus big); scores between the deciles, if given, become 0."""

    enabled: bool | None = None
    lower_decile: float | None = None
    upper_decile: float | None = None
    center: bool = True
    standardize: bool = True
    score_col: str = "sze_score"

    def __post_init__(self) -> None:
        for name, value in (("sze.lower_decile", self.lower_decile), ("sze.upper_decile", self.upper_decile)):
            _check(value is None or 0.0 <= value <= 1.0, name, "must be in [0, 1]")


@dataclass(frozen=True)
class ValueSettings:
    """Value: the mean of standardised log book, log sales and cash flow to price."""

    enabled: bool | None = None
    winsor_factor: float | None = None
    center: bool = True
    standardize: bool = True
    bp_col: str = "book_price"
    sp_col: str = "sales_price"
    cf_col: str = "cf_price"
    score_col: str = "val_score"

    def __post_init__(self) -> None:
        _check_fraction("val.winsor_factor", self.winsor_factor)


@dataclass(frozen=True)
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

    names: tuple[str, ...] | None = None
    mom: MomentumSettings = field(default_factory=MomentumSettings)
    sze: SizeSettings = field(default_factory=SizeSettings)
    val: ValueSettings = field(default_factory=ValueSettings)
    standardization: Literal["cap_weighted", "equal_weighted"] = "cap_weighted"
    winsor_deviations: float = 3.0
    custom: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in self.names or ():
            _check(name in STYLE_NAMES or name in self.custom, "style_factors.names", f"holds no known style {name!r}")
        for name in self.custom:
            _check(name not in STYLE_NAMES, "style_factors.custom", f"may not take the name {name!r} of a style")
        _check(self.winsor_deviations > 0.0, "style_factors.winsor_deviations", "must be positive")

    def enabled(self, name: str) -> bool | None:
        """Whether a style is asked for (True), refused (False), or depends on the data (None)."""
        switch = {"momentum": self.mom.enabled, "size": self.sze.enabled, "value": self.val.enabled}.get(name)
        if self.names is not None:
            return name in self.names and switch is not False
        return switch


@dataclass(frozen=True)
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
    winsor_factor: float | None = 0.02
    residualize_styles: bool = False
    huber: float | None = None
    thin_sector_names: float = 0.0
    exposure_lag: int = 1

    def __post_init__(self) -> None:
        _check_fraction("winsor_factor", self.winsor_factor)
        _check(self.huber is None or self.huber > 0.0, "huber", "must be positive")
        _check(self.thin_sector_names >= 0.0, "thin_sector_names", "must not be negative")
        _check(self.exposure_lag in (0, 1), "exposure_lag", "must be 0 or 1")


@dataclass(frozen=True)
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

    top_n_by_mkt_cap: int | None = 2000
    proxy_for_idio_cov: Literal["market_cap", "ledoit_wolf", "inverse_specific_variance"] = "market_cap"
    make_sector_dummies: bool = True
    fill_features: tuple[str, ...] = ()
    smooth_features: Mapping[str, int] = field(default_factory=lambda: {"market_cap": 20})
    mkt_factor_col: str = "market"
    res_ret_col: str = "res_asset_returns"
    threads: int | None = 1
    columns: Mapping[str, str] = field(default_factory=dict)
    intake: Intake = field(default_factory=Intake)
    regression: RegressionSettings = field(default_factory=RegressionSettings)
    style_factors: StyleSettings = field(default_factory=StyleSettings)
    factor_covariance: FactorCovarianceSettings = field(default_factory=FactorCovarianceSettings)
    specific_risk: SpecificRiskSettings = field(default_factory=SpecificRiskSettings)

    def __post_init__(self) -> None:
        _check(self.top_n_by_mkt_cap is None or self.top_n_by_mkt_cap > 0, "top_n_by_mkt_cap", "must be positive")
        unknown = sorted(set(self.columns) - set(COLUMNS))
        _check(not unknown, "columns", f"holds no known name {unknown[:1]}")
        for name, window in self.smooth_features.items():
            _check(isinstance(window, int) and window > 0, "smooth_features", f"needs a positive window for {name!r}")

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
    def use4(cls) -> ModelSettings:
        """Give USE4's conventions where the defaults are toraniko's: RSTR momentum (504 days, half-life 126, lag 21).

        Descriptors are clipped at three deviations throughout, and caps are not smoothed.
        """
        momentum = MomentumSettings(trailing_days=504, half_life=126, lag=21, winsor_factor=None, formula="log_sum")
        return cls(smooth_features={}, style_factors=StyleSettings(mom=momentum))

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
        return _build(cls, values, "")

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


@cache
def _hints(kind: Hashable) -> dict[str, Any]:
    return get_type_hints(kind)


def _build(kind: type[T], values: Mapping[str, Any], path: str) -> T:
    if not isinstance(values, Mapping):
        raise SettingsError(f"{path or 'settings'} must be a table", field=path)
    hints = _hints(kind)  # type: ignore[arg-type]
    known = {item.name for item in fields(kind)}  # type: ignore[arg-type]
    made: dict[str, Any] = {}
    for name, value in values.items():
        where = f"{path}.{name}" if path else name
        if name not in known:
            raise SettingsError(f"{where} is not a setting", field=where)
        hint = hints[name]
        if is_dataclass(hint):
            made[name] = value if isinstance(value, hint) else _build(hint, value, where)  # type: ignore[arg-type]
        else:
            made[name] = _read(value, hint, where)
    return kind(**made)


def _read(value: Any, hint: Any, where: str) -> Any:
    """Check a scalar, list or mapping against its annotation, reading lists as tuples and integers as floats."""
    text = str(hint)
    if value is None:
        _check("None" in text, where, "must not be null")
        return None
    if "Literal" in text:
        if hint == HalfLife and not isinstance(value, str):
            return _read(value, float, where)
        allowed = [item for item in _literals(hint) if item not in (None, float)]
        _check(value in allowed, where, f"must be one of {allowed}")
        return value
    if "Mapping" in text:
        _check(isinstance(value, Mapping), where, "must be a table")
        return dict(value)
    if "tuple" in text:
        _check(isinstance(value, list | tuple), where, "must be a list")
        return tuple(value)
    if "bool" in text:
        _check(isinstance(value, bool), where, "must be true or false")
        return value
    if "float" in text:
        _check(isinstance(value, int | float) and not isinstance(value, bool), where, "must be a number")
        return float(value)
    if "int" in text:
        _check(isinstance(value, int) and not isinstance(value, bool), where, "must be a whole number")
        return value
    _check(isinstance(value, str), where, "must be text")
    return value


def _literals(hint: Any) -> list[Any]:
    found: list[Any] = []
    for item in getattr(hint, "__args__", ()):
        if hasattr(item, "__args__"):
            found.extend(_literals(item))
        else:
            found.append(item)
    return found
