"""The figures of the validation report, as JSON-able values."""

from dataclasses import asdict
from typing import Any

import numpy as np

from factors.factor_model.model import FactorModel
from factors.risk.arrays import IntArray
from factors.validation.backtest import FAMILIES, BacktestSettings, LayerOutcome
from factors.validation.statistics import (
    bias_interval,
    bias_statistic,
    breach_share,
    mean_rolling_deviation,
    qlike,
    standardized_outcomes,
)

DAYS_PER_YEAR = 252.0
ROLLING_DAYS = 252
TARGET = (0.9, 1.1)


def horizon_figures(
    model: FactorModel, settings: BacktestSettings, rows: IntArray, outcomes: list[LayerOutcome]
) -> dict[str, Any]:
    """Return the figures of one horizon, a row per layer and a column per family of portfolios."""
    window = max(ROLLING_DAYS // settings.horizon, 2)
    low, high = bias_interval(rows.size)
    layers = []
    for outcome in outcomes:
        families = {}
        for family in FAMILIES:
            b = standardized_outcomes(outcome.returns[family], outcome.volatility[family])
            bias = bias_statistic(b)
            bias = bias[~np.isnan(bias)]
            families[family] = {
                "n_portfolios": int(bias.size),
                "mean_bias": _rounded(bias.mean() if bias.size else np.nan),
                "share_inside": _rounded(((bias >= low) & (bias <= high)).mean() if bias.size else np.nan),
                "mrad": _rounded(mean_rolling_deviation(b, window)),
                "qlike": _rounded(qlike(b)),
                "breaches_95": _rounded(breach_share(b, 0.95)),
                "breaches_99": _rounded(breach_share(b, 0.99)),
            }
        layers.append({"name": outcome.name, "families": families})
    dates = model.dates_
    return {
        "horizon_days": settings.horizon,
        "n_periods": int(rows.size),
        "first_forecast": str(dates[rows[0]]),
        "last_forecast": str(dates[rows[-1]]),
        "bias_interval": [_rounded(low), _rounded(high)],
        "rolling_periods": window,
        "layers": layers,
    }


def factor_figures(model: FactorModel) -> list[dict[str, Any]]:
    """Return how each factor fared in the regressions, over all dates it was estimated on."""
    t_stats, returns, vif = model.t_stats_, model.factor_returns_, model.vif_
    n_styles = len(model.style_names_)
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
                "annual_return": _rounded(made.mean() * DAYS_PER_YEAR if made.size else np.nan),
                "annual_volatility": _rounded(made.std() * np.sqrt(DAYS_PER_YEAR) if made.size else np.nan),
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
