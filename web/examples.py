"""A body for each POST of the OpenAPI document that works as it stands: on the loaded model, or with a table in it.

What changes a model changes `example`, which the example of creating makes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

MODEL = "example"
SYMBOLS = ("S0000", "S0001", "S0002")
"""Names of the sample market, for a document that is made without an engine."""

_NAMES = ("A", "B", "C", "D", "E", "F")
_LONG = tuple(f"2024-01-{day:02d}" for day in range(2, 32))
_SHORT = _LONG[-6:]
_PERIOD = 7


def _table(dates: Sequence[str], **columns: Any) -> dict[str, list[Any]]:
    """Make a table of every date and name; each column is a function of the date's and the name's number."""
    rows = [(t, i) for t in range(len(dates)) for i in range(len(_NAMES))]
    out: dict[str, list[Any]] = {"date": [dates[t] for t, _ in rows], "symbol": [_NAMES[i] for _, i in rows]}
    return out | {name: [value(t, i) for t, i in rows] for name, value in columns.items()}


def _wave(t: int, i: int) -> float:
    """Numbers that repeat, so that they are the same everywhere, and differ between dates and names."""
    return ((t * 5 + i * 3 + t * i) % _PERIOD - _PERIOD // 2) / 1000


def _caps(t: int, i: int) -> float:
    return 1e9 * (i + 1) + 1e6 * t


def _ratio(t: int, i: int) -> float:
    return round(0.5 + 0.1 * i + _wave(i, t), 4)


_FUNDAMENTALS = {"book_price": _ratio, "sales_price": _ratio, "cf_price": _ratio}
_FEATURES = {
    "asset_returns": _wave,
    "market_cap": _caps,
    "sector": lambda _t, i: ("Energy", "Utilities")[i % 2],
    **_FUNDAMENTALS,
}
_MARKET_CAP_DATA = _table(_SHORT, market_cap=_caps)
_SECTORS = {"Energy": lambda _t, i: 1 - i % 2, "Utilities": lambda _t, i: i % 2}
_STYLES = {"mom_score": lambda t, i: 100 * _wave(t, i), "sze_score": lambda t, i: 100 * _wave(i, t)}


def examples(symbols: Sequence[str] = SYMBOLS) -> dict[str, dict[str, Any]]:
    """Give an example body per operation and per service route.

    Parameters
    ----------
    symbols
        Names of the loaded model; the first three are used.
    """
    weights = dict(zip(symbols, (0.5, 0.3, 0.2), strict=False))
    portfolio = {"portfolio_weights": weights}
    chosen = {"symbols": list(weights)}
    return {
        "create_model": {"model_id": MODEL, "feature_data": _table(_SHORT, **_FEATURES)},
        "clean_features": {"model_id": MODEL, "to_winsorize": {"book_price": 0.05}, "to_fill": ["sales_price"]},
        "reduce_universe": {"model_id": MODEL, "top_n": 5},
        "append_day": {"feature_data": _table(["2024-02-01"], **_FEATURES)},
        "estimate_style_scores": {"model_id": MODEL, "trailing_days": 20, "winsor_factor": 0.01},
        "estimate_factor_returns": {"model_id": MODEL, "winsor_factor": 0.01, "residualize_styles": False},
        "style_factors": chosen,
        "factor_returns": {
            "returns_df": _table(_SHORT, asset_returns=_wave),
            "market_cap_df": _MARKET_CAP_DATA,
            "sector_df": _table(_SHORT, **_SECTORS),
            "style_df": _table(_SHORT, **_STYLES),
        },
        "factor_exposures": {**portfolio, "portfolio_id": "example"},
        "factor_features": chosen,
        "factor_signals": chosen,
        "covariance": {"method": "ledoit_wolf", "window_days": 60},
        "momentum": {"returns_data": _table(_LONG, asset_returns=_wave), "trailing_days": 5},
        "value": {"fundamental_data": _table(_SHORT, **_FUNDAMENTALS)},
        "size": {"market_cap_data": _MARKET_CAP_DATA},
        "risk_model": {"universe_symbols": list(weights)},
        "portfolio_risk": {**portfolio, "confidence": 0.99, "horizon_days": 1},
        "portfolio_attribution": portfolio,
        "calculate_factors": {"factors": ["barra_rstr"]},
        "factor_cross_section": {"factors": ["barra_rstr"], **chosen},
        "update_factors": {"wait": False},
        "factor_correlations": {"factors": ["barra_rstr", "barra_dastd"], "window_days": 20},
        "evaluate_formula": {"formula": "rank(ts_mean(returns, 5))", **chosen},
        "test_broadcast": {"message": "hello"},
    }


def path_examples(symbols: Sequence[str] = SYMBOLS) -> dict[str, str]:
    """Give an example value per path parameter."""
    return {"model_id": MODEL, "symbol": symbols[0], "category": "momentum"}
