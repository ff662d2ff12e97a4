"""Names that a formula may use without defining them: fields, groups, constants and derived names."""

from __future__ import annotations

import math
import re

from factors.library.language.conventions import Conventions

FIELDS = frozenset(
    "open high low close volume vwap amount returns market_cap shares rf "
    "benchmark_open benchmark_close benchmark_return "
    "book sales sales_q earnings earnings_q cash_flow cash_flow_q dividends assets debt cash "
    "long_term_debt gross_profit ebit ebitda interest capex rnd".split()
)
BENCHMARK = frozenset(("benchmark_open", "benchmark_close", "benchmark_return"))
"""Fields that are the same for all names, and change for all when one does."""
GROUPS = frozenset(("sector", "industry", "subindustry", "exchange", "country"))
# The same for all names, whether a name has a row on the date or not.
SHARED = frozenset(("benchmark_open", "benchmark_close", "benchmark_return", "rf"))
ALIASES = {
    "cap": "market_cap",
    "ret": "returns",
    "vol": "volume",
    "banchmarkindexopen": "benchmark_open",
    "banchmarkindexclose": "benchmark_close",
    "benchmarkindexopen": "benchmark_open",
    "benchmarkindexclose": "benchmark_close",
}
DERIVED = frozenset(("mkt_return", "industry_return", "tp", "true_range", "turnover"))
CONSTANTS = {"nan": math.nan, "pi": math.pi}

_ADV = re.compile(r"adv(\d{1,4})")
_WEIGHTS = "delay(market_cap, 1)"
_FIXED = {
    "mkt_return": f"cs_wmean(returns, {_WEIGHTS})",
    "industry_return": f"group_wmean(returns, {_WEIGHTS}, industry)",
    "tp": "(high + low + close) / 3",
    "true_range": "maximum(high - low, abs(high - delay(close, 1)), abs(low - delay(close, 1)))",
    "turnover": "volume / shares",
}
_VWAP = {
    "typical": "(high + low + close) / 3",
    "ohlc4": "(open + high + low + close) / 4",
    "amount_volume": "amount / volume",
}
_MARKET_BENCHMARK = {
    "benchmark_return": "mkt_return",
    "benchmark_close": "exp(cumsum(log(1 + mkt_return)))",
    "benchmark_open": f"exp(cumsum(log(1 + mkt_return))) / (1 + cs_wmean(close / open - 1, {_WEIGHTS}))",
}


def canonical(name: str) -> str:
    """Lower-case name without the `IndClass.` prefix, aliases resolved."""
    low = name.lower()
    if low.startswith("indclass."):
        low = low.removeprefix("indclass.")
    return ALIASES.get(low, low)


def is_panel_name(name: str) -> bool:
    """Whether the canonical name is a field or a derived name of panel type."""
    return name in FIELDS or name in DERIVED or _ADV.fullmatch(name) is not None


def is_reserved(name: str) -> bool:
    """Whether a local name may not be called so."""
    return is_panel_name(name) or name in GROUPS or name in CONSTANTS or name in ("true", "false")


def expansion(name: str, conventions: Conventions) -> str | None:
    """Text that a derived name stands for under the conventions, or None for a field of the panel."""
    adv = _ADV.fullmatch(name)
    if adv is not None:
        inner = "amount" if conventions.adv == "dollar" else "volume"
        return f"mean({inner}, {adv.group(1)})"
    if name in _FIXED:
        return _FIXED[name]
    if name == "vwap":
        return _VWAP.get(conventions.vwap)
    if name == "amount" and conventions.amount == "vwap_volume" and conventions.vwap != "amount_volume":
        return "vwap * volume"
    if name in _MARKET_BENCHMARK and conventions.benchmark == "market":
        return _MARKET_BENCHMARK[name]
    return None
