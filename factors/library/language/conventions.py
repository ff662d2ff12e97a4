"""Settings that change the numbers of a formula: where published implementations differ, a named choice."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

CHOICES: dict[str, tuple[str, ...]] = {
    "window_fraction": ("floor", "round", "ceil"),
    "adv": ("dollar", "shares"),
    "amount": ("vwap_volume", "field"),
    "vwap": ("field", "typical", "ohlc4", "amount_volume"),
    "rank_scale": ("pct", "unit", "zero"),
    "rank_ties": ("average", "min", "max", "ordinal"),
    "ts_rank_scale": ("pct", "unit", "count"),
    "ts_rank_ties": ("average", "min", "max"),
    "argmax_basis": ("oldest_1", "oldest_0", "days_ago"),
    "corr_zero_variance": ("nan", "zero"),
    "neutralisation": ("as_written", "sector", "industry", "subindustry", "none"),
    "minmax_constant": ("rolling", "elementwise"),
    "comparison_nan": ("undefined", "false"),
    "min_periods": ("strict", "one"),
    "sma_seed": ("first", "mean"),
    "ema_seed": ("mean", "first"),
    "subindustry": ("field", "industry"),
    "benchmark": ("field", "market"),
    "absent": ("left_out", "counted"),
}


@dataclass(frozen=True, slots=True)
class Conventions:
    """One setting of every open point. The defaults follow the papers' text, and pandas where the text is silent."""

    name: str = "paper"
    version: int = 2
    window_fraction: str = "floor"
    adv: str = "dollar"
    amount: str = "vwap_volume"
    vwap: str = "field"
    rank_scale: str = "pct"
    rank_ties: str = "average"
    ts_rank_scale: str = "pct"
    ts_rank_ties: str = "average"
    argmax_basis: str = "oldest_1"
    ddof: int = 1
    corr_zero_variance: str = "nan"
    corr_tolerance: float = 0.0
    neutralisation: str = "as_written"
    minmax_constant: str = "rolling"
    comparison_nan: str = "undefined"
    min_periods: str = "strict"
    sma_seed: str = "first"
    ema_seed: str = "mean"
    subindustry: str = "field"
    benchmark: str = "field"
    absent: str = "left_out"

    def __post_init__(self) -> None:
        for key, allowed in CHOICES.items():
            value = getattr(self, key)
            if value not in allowed:
                raise ValueError(f"convention {key} is {value!r}; expected one of {', '.join(allowed)}")
        if self.ddof not in (0, 1):
            raise ValueError(f"convention ddof is {self.ddof!r}; expected 0 or 1")
        if not 0.0 <= self.corr_tolerance < 1.0:
            raise ValueError(f"convention corr_tolerance is {self.corr_tolerance!r}; expected a number in [0, 1)")

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
    ValueError
        For an unknown preset, key or value.
    """
    if isinstance(value, Conventions):
        return value
    if isinstance(value, str):
        if value not in PRESETS:
            raise ValueError(f"unknown conventions {value!r}; expected one of {', '.join(PRESETS)}")
        return PRESETS[value]
    settings = dict(value)
    base = conventions(settings.pop("base", "paper"))
    known = {f.name for f in fields(Conventions)} - {"name", "version"}
    unknown = sorted(set(settings) - known)
    if unknown:
        raise ValueError(f"unknown convention {unknown[0]!r}; expected one of {', '.join(sorted(known))}")
    if not settings:
        return base
    label = base.name + "+" + ",".join(f"{k}={v}" for k, v in sorted(settings.items()))
    return replace(base, name=label, **settings)
