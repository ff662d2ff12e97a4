"""Risk models for a universe and a period, and the predicted risk of portfolios."""

from __future__ import annotations

from typing import Any

import numpy as np

from actors.reading.columns import Named, Rows
from actors.reading.confidence import confidence_score
from actors.reading.slices import Slice, Slices, by_name, caps_name, rows_between, settings_of, unknown_symbols
from actors.runtime.base import WorkloadActor
from contracts import requests as rq
from contracts.answers import Calculation
from contracts.errors import InvalidInput
from factors.portfolio.coverage import cover
from factors.portfolio.margin import MarginSettings, margin
from factors.portfolio.risk import portfolio_risk
from factors.risk.covariance import FactorCovariance
from factors.risk.specific import SpecificRisk
from store import Version

TRADING_DAYS = 252
LEAST_DAYS = 20


class RiskModelConstruction(WorkloadActor):
    """Gives the estimates that the model carries, or estimates on the stored returns of the period asked for."""

    def prepare(self) -> None:
        """Open the store and compile the estimators' kernels."""
        self.slices = Slices()
        rng = np.random.default_rng(0)
        returns, residuals = rng.standard_normal((60, 4)) * 0.01, rng.standard_normal((60, 20)) * 0.02
        specific = SpecificRisk().fit(residuals, np.ones((60, 20))).specific_variance_
        covariance = FactorCovariance().fit(returns).covariance_
        margin(np.full((1, 20), 0.05), rng.standard_normal((20, 4)), covariance, specific, returns)

    def risk_model(self, request: rq.RiskModel) -> Calculation:
        """Factor covariance, exposures and specific risk of a universe, estimated over a period."""
        version = self.slices.head(request.model_id)
        days = rows_between(version, request.start_date, request.end_date, version.manifest.model_id)
        n_days = days.stop - days.start
        if n_days < LEAST_DAYS:
            raise InvalidInput(f"the period holds {n_days} dates; at least {LEAST_DAYS} are needed", field="start_date")
        found = self.slices.at(request.model_id, version.date(days.stop - 1).astype(object))
        columns = _universe(found, version, days.stop - 1, request)
        whole = n_days == version.manifest.n_dates
        covariance, specific = _carried(version) if whole else _estimated(version, days, found)
        specific = specific[columns]
        names, symbols = list(found.factor_names), version.names_of(columns)
        asked = len(request.universe_symbols) or len(columns)
        return Calculation(
            values={
                "factors": names,
                "symbols": symbols,
                "factor_covariance": covariance.tolist(),
                "factor_volatility_annual": dict(
                    zip(names, np.sqrt(np.diag(covariance) * TRADING_DAYS).tolist(), strict=True)
                ),
                "specific_volatility_annual": Named(symbols, np.sqrt(specific * TRADING_DAYS)),
                "exposures": Rows(found.exposures_of(columns)),
            },
            message=f"risk model of {len(columns)} names and {len(names)} factors over {n_days} days",
            confidence_score=confidence_score(len(columns) / asked, n_days, len(names)),
            model_version=found.number,
            details={
                "start_date": str(version.date(days.start)),
                "end_date": str(version.date(days.stop - 1)),
                "n_days": n_days,
                "stored": whole,
                "units": "daily variance; exposures are [symbols][factors]",
            },
        )

    def portfolio_risk(self, request: rq.PortfolioRisk) -> Calculation:
        """Predicted total, factor and specific risk of a portfolio, contributions, value at risk."""
        found = self.slices.at(request.model_id)
        weights = found.weights(request.portfolio_weights)
        benchmark = request.benchmark_weights
        against = found.weights(benchmark, "benchmark_weights") if benchmark else None
        covariance = np.asarray(found.version.latest("answer/factor_covariance"))
        specific = np.asarray(found.version.latest("answer/specific_variance"))
        exposures, symbols = found.exposures, found.symbols
        book = cover(weights[None, :], exposures, specific, symbols=symbols)
        left_out = [symbols[i] for i in book.uncovered]
        weights = book.weights[0]
        if against is not None:
            base = cover(against[None, :], exposures, specific, symbols=symbols, field="benchmark_weights")
            left_out += [symbols[i] for i in base.uncovered if symbols[i] not in left_out]
            against = base.weights[0]
        risk = portfolio_risk(weights[None, :], exposures, covariance, specific, against)
        settings = MarginSettings(confidence=request.confidence, horizon_days=request.horizon_days)
        history = np.asarray(found.version.day("factor_returns"))
        tail = margin(weights[None, :], exposures, covariance, specific, history, settings)
        names = found.factor_names
        held = np.flatnonzero(weights)
        assert risk.percent is not None
        values: dict[str, Any] = {
            "total_risk": float(risk.total[0]),
            "factor_risk": float(risk.factor[0]),
            "specific_risk": float(risk.specific[0]),
            "total_risk_annual": float(risk.total[0] * np.sqrt(TRADING_DAYS)),
            "exposures": by_name(names, risk.exposures[0]),
            "percent_factor": by_name(names, risk.percent_factor[0]),
            "percent_specific": float(risk.percent_specific[0]),
            "percent_by_symbol": {found.symbols[i]: float(risk.percent[0, i]) for i in held},
            "value_at_risk": float(tail.value_at_risk[0]),
            "expected_shortfall": float(tail.expected_shortfall[0]),
        }
        if risk.active is not None:
            values["active"] = {
                "active_risk": float(risk.active.risk.total[0]),
                "beta": float(risk.active.beta[0]),
                "benchmark_risk": float(risk.active.benchmark_risk),
                "exposures": by_name(names, risk.active.risk.exposures[0]),
            }
        return self._risk_answer(found, weights, values, settings, 1.0 - float(book.share[0]), left_out)

    @staticmethod
    def _risk_answer(
        found: Slice,
        weights: np.ndarray,
        values: dict[str, Any],
        settings: MarginSettings,
        coverage: float,
        left_out: list[str],
    ) -> Calculation:
        return Calculation(
            values=values,
            message=f"predicted risk of {np.count_nonzero(weights)} names on {found.date}",
            confidence_score=found.confidence(coverage),
            model_version=found.number,
            details={
                "date": str(found.date),
                "coverage": round(coverage, 6),
                "units": "daily volatility, as a fraction of portfolio value",
                "margin_method": settings.method,
                **({"uncovered_symbols": left_out} if left_out else {}),
            },
        )


def _carried(version: Version) -> tuple[np.ndarray, np.ndarray]:
    """Read the estimates that the model carries from day to day, which cover its whole period."""
    return (
        np.asarray(version.latest("answer/factor_covariance")),
        np.asarray(version.latest("answer/specific_variance")),
    )


def _estimated(version: Version, days: slice, found: Slice) -> tuple[np.ndarray, np.ndarray]:
    """Estimate over a part of the period with the model's settings, specific risk on all its names."""
    settings = settings_of(version)
    errors = np.asarray(version.day("standard_errors", days))
    returns = np.where(np.isfinite(errors), version.day("factor_returns", days), np.nan)
    covariance = FactorCovariance(settings.factor_covariance).fit(returns).covariance_
    residuals = np.asarray(version.day_asset("residuals", days))
    caps = np.asarray(version.day_asset(caps_name(version), days))
    return covariance, SpecificRisk(settings.specific_risk).fit(residuals, caps, found.exposures).specific_variance_


def _universe(found: Slice, version: Version, row: int, request: rq.RiskModel) -> np.ndarray:
    """Positions of the universe: the symbols asked for, or all covered; the largest by cap where there are more."""
    asked = request.universe_symbols
    if asked:
        wrong = [symbol for symbol in asked if symbol not in found.column]
        if wrong:
            raise unknown_symbols(asked, found.column, found.model_id, "universe_symbols")
        columns = np.array(sorted({found.column[symbol] for symbol in asked}), dtype=np.intp)
        columns = columns[found.known[columns]]
    else:
        columns = np.flatnonzero(found.known)
    if not len(columns):
        raise InvalidInput(f"no name of the universe has exposures on {found.date}", field="universe_symbols")
    size = request.universe_size
    if len(columns) > size:
        caps = np.asarray(version.day_asset(caps_name(version), slice(row, row + 1))[0])[columns]
        columns = np.sort(columns[np.argsort(-np.nan_to_num(caps), kind="stable")[:size]])
    return columns
