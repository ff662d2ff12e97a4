"""The validation report: figures as JSON-able values, and a page to read."""

import html
from dataclasses import asdict
from typing import Any

import numpy as np

from factors.factor_model import FactorModel
from factors.risk.arrays import IntArray
from factors.validation.backtest import FAMILIES, BacktestSettings, LayerOutcome
from factors.validation.statistics import (
    bias_interval,
    bias_statistic,
    mean_rolling_deviation,
    qlike,
    standardized_outcomes,
)

DAYS_PER_YEAR = 252.0
ROLLING_DAYS = 252
TARGET = (0.9, 1.1)
TITLES = {
    "mean_bias": "Mean bias statistic",
    "share_inside": "Share of portfolios within the 95 % interval of the bias statistic",
    "mrad": "MRAD (mean rolling absolute deviation of the bias statistic from 1, 252 days)",
    "qlike": "QLIKE",
}
BASIS = (
    "Every forecast uses what was known at the end of its date. The portfolios, the window and the horizon are fixed "
    "beforehand and nothing is fitted to these data. A bias statistic of 1 is right, above 1 risk was understated.</p>"
)
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 64rem; margin: 2rem auto; padding: 0 1rem; color: #1b1f24; }
table { border-collapse: collapse; margin: 0.5rem 0 1.5rem; } caption { text-align: left; font-weight: 600; }
th, td { padding: 0.2rem 0.8rem; text-align: right; border-bottom: 1px solid #d5dae0; }
th:first-child, td:first-child { text-align: left; } svg { max-width: 100%; height: auto; }
"""


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


def page(figures: dict[str, Any], charts: list[tuple[str, str]]) -> str:
    """Return the report as one HTML page; `charts` are pairs of a caption and an SVG."""
    data, criterion = figures["data"], figures["criterion"]
    full = criterion["full_model"]
    verdict = "lie" if criterion["met"] else "do not both lie"
    parts = [
        "<!doctype html><html lang='en'><head><meta charset='utf-8'><title>Risk model validation</title>",
        f"<style>{STYLE}</style></head><body><h1>Risk model validation</h1>",
        f"<p>{data['n_assets']} assets, {data['n_dates']} dates from {data['first_date']} to {data['last_date']}.",
        BASIS,
        f"<p>Full model, one-day forecasts: mean bias statistic {_shown(full['random'])} for random and",
        f"{_shown(full['cap-weighted'])} for cap-weighted portfolios, which {verdict} in",
        f"{TARGET[0]} to {TARGET[1]}; {_shown(full['minimum-variance'])} for minimum-variance portfolios.</p>",
    ]
    for caption, svg in charts:
        parts.append(f"<h2>{html.escape(caption)}</h2>{svg}")
    for horizon in figures["horizons"]:
        low, high = horizon["bias_interval"]
        parts.append(
            f"<h2>Forecasts over {horizon['horizon_days']} day(s)</h2><p>{horizon['n_periods']} periods without"
        )
        parts.append(f"overlap, {horizon['first_forecast']} to {horizon['last_forecast']}; 95 % interval of the bias")
        parts.append(f"statistic of a right forecast of normal returns {low:.3f} to {high:.3f}.</p>")
        parts += [_layer_table(horizon, key, title) for key, title in TITLES.items()]
    parts.append(f"<h2>Factors</h2><p>Mean R-squared of the daily regressions {_shown(figures['mean_r2'])}.</p>")
    parts.append(_factor_table(figures["factors"]))
    parts.append("</body></html>")
    return "\n".join(parts)


def _layer_table(horizon: dict[str, Any], key: str, title: str) -> str:
    head = "".join(f"<th>{family}</th>" for family in FAMILIES)
    rows = "".join(
        f"<tr><td>{html.escape(layer['name'])}</td>"
        + "".join(f"<td>{_shown(layer['families'][family][key])}</td>" for family in FAMILIES)
        + "</tr>"
        for layer in horizon["layers"]
    )
    return f"<table><caption>{title}</caption><tr><th>layer</th>{head}</tr>{rows}</table>"


def _factor_table(factors: list[dict[str, Any]]) -> str:
    keys = ("n_dates", "share_significant", "annual_return", "annual_volatility", "mean_vif")
    titles = ("dates", "share of |t| > 2", "annual return", "annual volatility", "mean VIF")
    head = "".join(f"<th>{title}</th>" for title in titles)
    rows = "".join(
        f"<tr><td>{html.escape(factor['name'])}</td>"
        + "".join(f"<td>{_shown(factor[key])}</td>" for key in keys)
        + "</tr>"
        for factor in factors
    )
    return f"<table><tr><th>factor</th>{head}</tr>{rows}</table>"


def _rounded(value: Any) -> float | None:
    """Return a figure with six significant digits, None for NaN (JSON has none)."""
    return None if np.isnan(value) else float(f"{float(value):.6g}")


def _plain(settings: dict[str, Any]) -> dict[str, Any]:
    """Return settings without infinities, which JSON has no word for."""
    return {name: str(value) if value == float("inf") else value for name, value in settings.items()}


def _shown(value: float | None) -> str:
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.3f}"
