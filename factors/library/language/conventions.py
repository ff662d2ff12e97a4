"""Settings that change the numbers of a formula: where published implementations differ, a named choice."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from pydantic import Field

from factors.errors import SettingsError
from factors.setting import SHOWN, Count, settings_class


@settings_class
class Conventions:
    """One setting of every open point. The defaults follow the papers' text, and pandas where the text is silent."""

    name: Annotated[str, Field(strict=True, min_length=1, max_length=1000)] = "paper"
    version: Count = 2
    window_fraction: Literal["floor", "round", "ceil"] = "floor"
    adv: Literal["dollar", "shares"] = "dollar"
    amount: Literal["vwap_volume", "field"] = "vwap_volume"
    vwap: Literal["field", "typical", "ohlc4", "amount_volume"] = "field"
    rank_scale: Literal["pct", "unit", "zero"] = "pct"
    rank_ties: Literal["average", "min", "max", "ordinal"] = "average"
    ts_rank_scale: Literal["pct", "unit", "count"] = "pct"
    ts_rank_ties: Literal["average", "min", "max"] = "average"
    argmax_basis: Literal["oldest_1", "oldest_0", "days_ago"] = "oldest_1"
    ddof: Annotated[int, Field(strict=True, ge=0, le=1)] = 1
    corr_zero_variance: Literal["nan", "zero"] = "nan"
    corr_tolerance: Annotated[float, Field(strict=True, ge=0.0, lt=1.0)] = 0.0
    neutralisation: Literal["as_written", "sector", "industry", "subindustry", "none"] = "as_written"
    minmax_constant: Literal["rolling", "elementwise"] = "rolling"
    comparison_nan: Literal["undefined", "false"] = "undefined"
    min_periods: Literal["strict", "one"] = "strict"
    sma_seed: Literal["first", "mean"] = "first"
    ema_seed: Literal["mean", "first"] = "mean"
    subindustry: Literal["field", "industry"] = "field"
    benchmark: Literal["field", "market"] = "field"
    absent: Literal["left_out", "counted"] = "left_out"

    @property
    def digest(self) -> str:
        """First 12 hex digits of a hash over every setting but the name."""
        settings = asdict(self)
        settings.pop("name")
        return hashlib.sha256(repr(sorted(settings.items())).encode()).hexdigest()[:12]

    def differences(self) -> dict[str, Any]:
        """Settings that differ from the paper's."""
        paper = Conventions()
        return {
            f.name: getattr(self, f.name)
            for f in fields(self)
            if f.name not in ("name", "version") and getattr(self, f.name) != getattr(paper, f.name)
        }


CHOICES: dict[str, tuple[str, ...]] = {
    name: get_args(hint) for name, hint in get_type_hints(Conventions).items() if get_origin(hint) is Literal
}
"""The values of each convention that is chosen by a word, the default first."""

PAPER = Conventions()
PRESETS: dict[str, Conventions] = {
    "paper": PAPER,
    "alpha101v": Conventions(
        name="alpha101v",
        rank_scale="unit",
        ts_rank_scale="unit",
        argmax_basis="days_ago",
        ddof=0,
        absent="counted",
    ),
    "brain": Conventions(
        name="brain",
        version=3,
        adv="shares",
        rank_scale="unit",
        ts_rank_scale="unit",
        argmax_basis="days_ago",
        ddof=0,
        minmax_constant="elementwise",
    ),
    "kunquant": Conventions(
        name="kunquant",
        window_fraction="round",
        adv="shares",
        ts_rank_scale="count",
        corr_zero_variance="zero",
        absent="counted",
    ),
    "qlib": Conventions(
        name="qlib",
        version=3,
        min_periods="one",
        corr_tolerance=2e-5,
        ema_seed="first",
        comparison_nan="false",
        absent="counted",
    ),
}


def conventions(value: str | Mapping[str, Any] | Conventions) -> Conventions:
    """Read a preset's name, or a table `{base = ..., key = value}`, as a catalogue entry gives it.

    Raises
    ------
    SettingsError
        Names the path of what is wrong (``conventions.rank_ties``), and what it must be.
    """
    if isinstance(value, Conventions):
        return value
    if isinstance(value, str):
        if value not in PRESETS:
            raise SettingsError(
                f"unknown conventions {value!r}; expected one of {', '.join(PRESETS)}", field="conventions"
            )
        return PRESETS[value]
    if not isinstance(value, Mapping):
        raise SettingsError("conventions must be a preset's name or a table", field="conventions")
    settings = dict(value)
    named = settings.pop("base", "paper")
    if not isinstance(named, str) or named not in PRESETS:
        shown = repr(named[:SHOWN]) if isinstance(named, str) else f"a {type(named).__name__}"
        raise SettingsError(
            f"conventions.base must be one of {', '.join(PRESETS)}, got {shown}", field="conventions.base"
        )
    base = PRESETS[named]
    known = {f.name for f in fields(Conventions)} - {"name", "version"}
    for key in settings.keys() - known:
        raise SettingsError(
            f"conventions.{key} is not a setting; expected one of {', '.join(sorted(known))}",
            field=f"conventions.{key}",
        )
    if not settings:
        return base
    try:
        changed = replace(base, **settings)
    except SettingsError as error:
        raise SettingsError(f"conventions.{error}", field=f"conventions.{error.field}") from None
    return replace(changed, name=base.name + "+" + ",".join(f"{k}={v}" for k, v in sorted(settings.items())))
