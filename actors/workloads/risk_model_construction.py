"""Risk models for a universe and a period, and the predicted risk of portfolios."""

from __future__ import annotations

from typing import Any

import numpy as np

from actors.portfolio.reader import BookReader
from actors.portfolio.risk import BookRisk
from actors.reading.columns import Named, Rows
from actors.reading.confidence import confidence_score
from actors.reading.estimates import estimated
from actors.reading.slices import Slice, Slices, caps_name, rows_between, unknown_symbols
from contracts import requests as rq
from contracts.answers import Calculation
from contracts.errors import InvalidInput
from contracts.work import Device
from devices.draws import draw_products
from factors.portfolio.margin import margin
from factors.risk.covariance import FactorCovariance
from factors.risk.settings import FactorCovarianceSettings, SpecificRiskSettings
from factors.risk.specific import SpecificRisk
from store import Version

LEAST_DAYS = 20


class RiskModelConstruction(BookRisk):
    """Gives the estimates that the model carries, or estimates on the stored returns of the period asked for."""

    def prepare(self) -> None:
        """Open the store, look for devices, and compile the estimators' kernels."""
        self.slices = Slices()
        self.books = BookReader(self.slices, lambda: draw_products(self.devices))
        self.find_devices("risk_model_construction")
        rng = np.random.default_rng(0)
        returns, residuals = rng.standard_normal((60, 4)) * 0.01, rng.standard_normal((60, 20)) * 0.02
        specific = SpecificRisk(SpecificRiskSettings.adaptive()).fit(residuals, np.ones((60, 20))).specific_variance_
        covariance = FactorCovariance(FactorCovarianceSettings.adaptive()).fit(returns).covariance_
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
        ran: list[Device] = []
        if whole:
            covariance, specific = _carried(version)
        else:
            covariance, specific = estimated(version, days, found.exposures, draw_products(self.devices, ran))
        specific, year = specific[columns], found.periods_per_year
        names, symbols = list(found.factor_names), version.names_of(columns)
        asked = len(request.universe_symbols) or len(columns)
        return Calculation(
            values={
                "factors": names,
                "symbols": symbols,
                "factor_covariance": covariance.tolist(),
                "factor_volatility_annual": dict(zip(names, np.sqrt(np.diag(covariance) * year).tolist(), strict=True)),
                "specific_volatility_annual": Named(symbols, np.sqrt(specific * year)),
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
                "periods_per_year": year,
                "units": "daily variance; exposures are [symbols][factors]",
                **self._issuers(found, columns),
                **_absent(found, columns, request),
            },
            device=max(ran, key=ran.count, default=Device.CPU),
        )

    def _issuers(self, found: Slice, columns: np.ndarray) -> dict[str, Any]:
        """Give the correlations of specific returns of one issuer's names, which the risk of books counts."""
        linked = self.books.risk.linked(found).among(columns)
        rows = [
            {"symbols": [found.symbols[i] for i in columns[group]], "correlation": correlation.tolist()}
            for group, correlation in zip(linked.groups, linked.correlations, strict=True)
            if len(group) > 1
        ]
        return {"specific_correlations": rows} if rows else {}


def _absent(found: Slice, columns: np.ndarray, request: rq.RiskModel) -> dict[str, Any]:
    """Name what was asked for and is not there: what the model does not cover, and what `universe_size` cut."""
    asked = dict.fromkeys(found.column[symbol] for symbol in request.universe_symbols)
    there = set(columns.tolist())
    uncovered = [found.symbols[i] for i in asked if not found.known[i]]
    cut = [found.symbols[i] for i in asked if found.known[i] and i not in there]
    return {name: symbols for name, symbols in (("uncovered_symbols", uncovered), ("cut_symbols", cut)) if symbols}


def _carried(version: Version) -> tuple[np.ndarray, np.ndarray]:
    """Read the estimates that the model carries from day to day, which cover its whole period."""
    return (
        np.asarray(version.latest("answer/factor_covariance")),
        np.asarray(version.latest("answer/specific_variance")),
    )


def _universe(found: Slice, version: Version, row: int, request: rq.RiskModel) -> np.ndarray:
    """Positions of the universe: the symbols asked for, or all covered; the largest by cap where there are more."""
    asked = request.universe_symbols
    if asked:
        wrong = [symbol for symbol in asked if symbol not in found.column]
        if wrong:
            raise unknown_symbols(asked, found.version, "universe_symbols")
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
