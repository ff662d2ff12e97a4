"""How the factors of a model did over a period, and where their returns are going."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from actors.reading.confidence import confidence_score, share
from actors.reading.slices import Slices, by_name, factor_returns_of, rows_between
from actors.reading.unknown import no_factor
from contracts import portfolio_requests as pq
from contracts.answers import Calculation
from factors.analytics.factor_returns import factor_correlation, factor_momentum, factor_trend
from factors.analytics.performance import crowding, performance
from factors.panel.frequency import periods_per_year
from store import Version

YEAR = 252


class FactorFigures:
    """The methods of an actor that has `slices`."""

    slices: Slices

    def factor_performance(self, request: pq.FactorPerformance) -> Calculation:
        """Mean, volatility, t, information ratio and drawdown of factor returns, and their correlations."""
        version = self.slices.head(request.model_id)
        days = rows_between(version, request.start_date, request.end_date, version.manifest.model_id)
        if request.start_date is None:
            days = slice(max(days.start, days.stop - YEAR), days.stop)
        names, columns = _chosen(version, request.factors)
        returns = factor_returns_of(version, days)[:, columns]
        dates = version.dates_of(days)
        values: dict[str, Any] = {}
        year = periods_per_year(version.dates)
        for name, series in zip(names, returns.T, strict=True):
            row = asdict(performance(series, periods=year))
            for end in ("drawdown_start", "drawdown_end"):
                row[end] = str(dates[row[end]]) if row[end] >= 0 else None
            values[name] = {key: None if value != value else value for key, value in row.items()}
        correlation = factor_correlation(returns)
        details = {
            "start_date": str(dates[0]),
            "end_date": str(dates[-1]),
            "n_days": len(dates),
            "periods_per_year": year,
            "correlation": {name: by_name(names, row) for name, row in zip(names, correlation, strict=True)},
        }
        message = f"performance of {len(names)} factors over {len(dates)} days"
        known = share(np.isfinite(returns))
        score = confidence_score(known, len(dates), len(names))
        return Calculation(values, message, score, version.manifest.version, details=details)

    def factor_trend(self, request: pq.FactorTrend) -> Calculation:
        """Momentum and trend of each factor's returns; crowding of both ends of each style."""
        version = self.slices.head(request.model_id)
        names, columns = _chosen(version, request.factors)
        n_dates = version.manifest.n_dates
        reach = slice(max(0, n_dates - request.window_days - request.lag_days), n_dates)
        returns = factor_returns_of(version, reach)[:, columns]
        momentum = factor_momentum(returns, request.window_days, request.lag_days)[-1]
        trend = factor_trend(returns, request.window_days)
        crowded = self._crowding(version, names, request)
        values = {
            name: {
                "momentum": _number(momentum[i]),
                "slope_per_day": _number(trend.slope[-1, i]),
                "r_squared": _number(trend.r_squared[-1, i]),
                **crowded.get(name, {}),
            }
            for i, name in enumerate(names)
        }
        details = {
            "date": str(version.date(n_dates - 1)),
            "window_days": request.window_days,
            "lag_days": request.lag_days,
            "quantile": request.quantile,
        }
        message = f"trend of {len(names)} factors over {request.window_days} days"
        score = confidence_score(share(np.isfinite(momentum)), len(returns), len(names))
        return Calculation(values, message, score, version.manifest.version, details=details)

    @staticmethod
    def _crowding(version: Version, names: Sequence[str], request: pq.FactorTrend) -> dict[str, dict[str, Any]]:
        """Mean correlation of the specific returns of the highest and the lowest names of each style."""
        styles = list(version.manifest.meta["style_names"])
        n_dates = version.manifest.n_dates
        window = slice(max(0, n_dates - request.window_days), n_dates)
        residuals = np.asarray(version.day_asset("residuals", window))
        scores = np.asarray(version.day_asset("scores", slice(n_dates - 1, n_dates))[0])
        out: dict[str, dict[str, Any]] = {}
        for name in names:
            if name not in styles or request.quantile <= 0.0:
                continue
            row = scores[styles.index(name)]
            known = row[~np.isnan(row)]
            if not known.size:
                continue
            low, high = np.quantile(known, [request.quantile, 1.0 - request.quantile])
            out[name] = {
                "crowding_high": _number(crowding(residuals, row >= high)),
                "crowding_low": _number(crowding(residuals, row <= low)),
            }
        return out


def _chosen(version: Version, asked: list[str] | None) -> tuple[list[str], list[int]]:
    """Give the factors asked for and their positions. Raises `UnknownFactor` naming those that are not there."""
    every = list(version.manifest.meta["factor_names"])
    names = every if asked is None else asked
    wrong = [name for name in names if name not in every]
    if wrong:
        raise no_factor(wrong, every, "factors")
    return names, [every.index(name) for name in names]


def _number(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None
