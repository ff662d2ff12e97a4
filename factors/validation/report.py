"""The figures of the validation report, as JSON-able values."""

from dataclasses import asdict
from typing import Any

import numpy as np

from factors.factor_model.model import FactorModel
from factors.panel.frequency import periods_per_year
from factors.risk.arrays import IntArray
from factors.validation.backtest import FAMILIES, BacktestSettings, LayerOutcome
from factors.validation.statistics import (
    bias_interval,
    bias_statistic,
    breach_share,
    diebold_mariano,
    mean_rolling_deviation,
    qlike,
    standardized_outcomes,
    student_breach_share,
)

ROLLING_DAYS = 252
TARGET = (0.9, 1.1)
# What a figure should be: the nearer, the better.
RIGHT = {
    "mean_bias": 1.0,
    "mrad": 0.0,
    "qlike": 0.0,
    "breaches_95": 0.05,
    "breaches_99": 0.01,
    "student_breaches_99": 0.01,
    "filtered_breaches_99": 0.01,
    "filtered_shortfall_99": 1.0,
}


def family_figures(outcome: LayerOutcome, families: tuple[str, ...], horizon: int) -> dict[str, dict[str, Any]]:
    """Return the figures of each family of portfolios."""
    figures = {}
    for family in families:
        b = standardized_outcomes(outcome.returns[family], outcome.volatility[family])
        low, high = bias_interval(b.shape[0])
        bias = bias_statistic(b)
        bias = bias[~np.isnan(bias)]
        figures[family] = {
            "n_portfolios": int(bias.size),
            "mean_bias": _rounded(bias.mean() if bias.size else np.nan),
            "share_inside": _rounded(((bias >= low) & (bias <= high)).mean() if bias.size else np.nan),
            "mrad": _rounded(mean_rolling_deviation(b, max(ROLLING_DAYS // horizon, 2))),
            "qlike": _rounded(qlike(b)),
            "breaches_95": _rounded(breach_share(b, 0.95)),
            "breaches_99": _rounded(breach_share(b, 0.99)),
            "student_breaches_99": _rounded(student_breach_share(b, 0.99)),
            "filtered_breaches_99": _rounded(_beyond(outcome, family)),
            "filtered_shortfall_99": _rounded(_shortfall(outcome, family)),
        }
    return figures


def _beyond(outcome: LayerOutcome, family: str) -> float:
    """Share of outcomes below the loss that filtered historical days put at 99 %; NaN where it was not asked for."""
    losses = outcome.value_at_risk.get(family)
    if losses is None:
        return float("nan")
    held = outcome.volatility[family] > 0.0
    return float((outcome.returns[family] < -losses)[held].mean()) if held.any() else float("nan")


def _shortfall(outcome: LayerOutcome, family: str) -> float:
    """Losses beyond the value at risk over the expected shortfall of their periods, both summed; NaN without any."""
    losses = outcome.value_at_risk.get(family)
    if losses is None:
        return float("nan")
    beyond = (outcome.returns[family] < -losses) & (outcome.volatility[family] > 0.0)
    if not beyond.any():
        return float("nan")
    return float(-outcome.returns[family][beyond].sum() / outcome.expected_shortfall[family][beyond].sum())


def peer_figures(ours: LayerOutcome, peer: LayerOutcome, settings: BacktestSettings) -> dict[str, Any]:
    """Return a peer's figures beside ours, the Diebold-Mariano statistic of QLIKE, and what is worse in ours.

    A bias is worse that is further from 1, a share of losses that is further from the one that is right.
    """
    names = tuple(family for family in peer.returns if family in ours.returns)
    mine, theirs = (family_figures(outcome, names, settings.horizon) for outcome in (ours, peer))
    lags = max(int(np.cbrt(ours.returns[names[0]].shape[0])), 1)
    families, worse = {}, []
    for family in names:
        pair = [standardized_outcomes(o.returns[family], o.volatility[family]) for o in (ours, peer)]
        gap, t = diebold_mariano(pair[0], pair[1], lags)
        families[family] = theirs[family] | {"qlike_gap": _rounded(gap), "dm_t": _rounded(t)}
        for measure, right in RIGHT.items():
            one, other = mine[family][measure], theirs[family][measure]
            if one is not None and other is not None and abs(one - right) > abs(other - right):
                worse.append({"family": family, "measure": measure, "ours": one, "peer": other})
    return {"name": peer.name, "families": families, "worse": worse}


def horizon_figures(
    model: FactorModel, settings: BacktestSettings, rows: IntArray, outcomes: list[LayerOutcome]
) -> dict[str, Any]:
    """Return the figures of one horizon, a row per layer and a column per family of portfolios."""
    window = max(ROLLING_DAYS // settings.horizon, 2)
    low, high = bias_interval(rows.size)
    layers = [
        {"name": outcome.name, "families": family_figures(outcome, FAMILIES, settings.horizon)} for outcome in outcomes
    ]
    dates = model.dates_
    return {
        "horizon_days": settings.horizon,
        "n_periods": int(rows.size),
        "first_forecast": str(dates[rows[0]]),
        "last_forecast": str(dates[rows[-1]]),
        "bias_interval": [_rounded(low), _rounded(high)],
        "rolling_periods": window,
        "layers": layers,
        "specific_groups": [
            {name: _rounded(value) if isinstance(value, float) else value for name, value in group.items()}
            for group in outcomes[-1].specific_groups
        ],
    }


def factor_figures(model: FactorModel) -> list[dict[str, Any]]:
    """Return how each factor fared in the regressions, over all dates it was estimated on."""
    t_stats, returns, vif = model.t_stats_, model.factor_returns_, model.vif_
    n_styles, year = len(model.style_names_), periods_per_year(model.dates_)
    figures = []
    for k, name in enumerate(model.factor_names_):
        t = t_stats[:, k]
        known = ~np.isnan(t)
        made = returns[known, k]
        style = k - (len(model.factor_names_) - n_styles)
        inflation = vif[:, style][~np.isnan(vif[:, style])] if style >= 0 else np.empty(0)
        figures.append(
            {
                "name": name,
                "n_dates": int(known.sum()),
                "share_significant": _rounded((np.abs(t[known]) > 2.0).mean() if known.any() else np.nan),
                "annual_return": _rounded(made.mean() * year if made.size else np.nan),
                "annual_volatility": _rounded(made.std() * np.sqrt(year) if made.size else np.nan),
                "mean_vif": _rounded(inflation.mean()) if inflation.size else None,
            }
        )
    return figures


def report_figures(model: FactorModel, settings: BacktestSettings, horizons: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the whole report as JSON-able values; the first horizon is the one that the criterion reads."""
    full = horizons[0]["layers"][-1]["families"]
    judged = {family: full[family]["mean_bias"] for family in ("random", "cap-weighted", "minimum-variance")}
    required = [judged["random"], judged["cap-weighted"]]
    r2 = model.r2_[~np.isnan(model.r2_)]
    panel = model.panel_
    return {
        "data": {
            "n_dates": panel.n_dates,
            "n_assets": panel.n_assets,
            "first_date": str(panel.dates[0]),
            "last_date": str(panel.dates[-1]),
            "periods_per_year": periods_per_year(panel.dates),
        },
        "quality": model.quality_.to_dict(),
        "settings": {
            "backtest": asdict(settings),
            "factor_covariance": _plain(asdict(model.settings.factor_covariance)),
            "specific_risk": _plain(asdict(model.settings.specific_risk)),
        },
        "criterion": {
            "mean_bias_within": list(TARGET),
            "full_model": judged,
            "met": all(value is not None and TARGET[0] <= value <= TARGET[1] for value in required),
        },
        "mean_r2": _rounded(r2.mean() if r2.size else np.nan),
        "factors": factor_figures(model),
        "horizons": horizons,
    }


def _rounded(value: Any) -> float | None:
    """Return a figure with six significant digits, None for NaN (JSON has none)."""
    return None if np.isnan(value) else float(f"{float(value):.6g}")


def _plain(settings: dict[str, Any]) -> dict[str, Any]:
    """Return settings without infinities, which JSON has no word for."""
    return {name: str(value) if value == float("inf") else value for name, value in settings.items()}
