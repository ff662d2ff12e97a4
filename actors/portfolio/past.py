"""What books did: attribution of returns to factors, and predicted beside realised risk."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from actors.portfolio.period import DailyBook, Period, period
from actors.portfolio.reader import BookReader
from actors.reading.books import Book
from actors.reading.risk_path import RiskPaths
from actors.reading.slices import Slice, by_name, rows_between
from contracts import portfolio_requests as pq
from contracts import requests as rq
from contracts.answers import Calculation
from contracts.errors import InvalidInput
from factors.errors import FactorError
from factors.portfolio.attribution import Attribution, attribute
from factors.portfolio.history import risk_history
from factors.portfolio.holdings import Held, daily_weights
from factors.portfolio.linking import carino_scale

LONGEST_DAYS = 1260
YEAR = 252


class _Path(NamedTuple):
    """A book through a period: names, weights at the start of each day, returns, and who was not there."""

    columns: np.ndarray
    held: Held
    returns: np.ndarray
    books: list[Book]
    field: str


class PastBooks:
    """The methods of an actor that has a `BookReader` as `books` and `RiskPaths` as `paths`."""

    books: BookReader
    paths: RiskPaths

    def portfolio_attribution(self, request: rq.PortfolioAttribution) -> Calculation:
        """Contributions of factors and specific returns, with standard errors; they sum to the (active) return."""
        found = self.books.slices.at(request.model_id)
        version = found.version
        lag = int(version.manifest.meta["settings"]["regression"]["exposure_lag"])
        days = _days(found, request, lag, LONGEST_DAYS)
        own, other = self._through(found, request, days), self._benchmark(found, request, days)
        columns = np.unique(np.concatenate([own.columns, other.columns])) if other else own.columns
        weights = spread(own, columns)
        against = spread(other, columns) if other else None
        rows = slice(days.start - lag, days.stop - lag)
        covered = _covered(found, request, rows, columns, (own, weights), (other, against))
        returns = version.day_asset("fields/returns", days, columns)
        factor_returns = np.asarray(version.day("factor_returns", days))
        errors = np.asarray(version.day("standard_errors", days))
        result = attribute(
            weights,
            covered.exposures,
            factor_returns,
            asset_returns=returns,
            benchmark=against,
            factor_return_covariance=np.nan_to_num(errors),
        )
        values = _attribution_values(found, result)
        scale, _, _ = carino_scale(result.portfolio_returns, result.benchmark_returns)
        active = weights if against is None else weights - against
        by_symbol = (scale[:, None] * active * np.nan_to_num(returns)).sum(axis=0)
        held = np.flatnonzero(active.any(axis=0))
        sectors = _sectors(found, columns)
        values["by_symbol"] = {found.symbols[columns[i]]: float(by_symbol[i]) for i in held}
        values["by_sector"] = _summed({int(i): sectors[i] for i in held}, by_symbol)
        gross = float(np.abs(active).sum())
        coverage = 1.0 - float(result.missing_weight.sum()) / gross if gross else 0.0
        coverage = min(coverage, 1.0 - covered.shares[0])
        message = f"attribution of {len(held)} names over {days.stop - days.start} days"
        details = {"linking": "carino", "between": request.between, **_beside(found, covered, other)}
        return _answer(found, days, values, message, coverage, own, details)

    def risk_history(self, request: pq.RiskHistory) -> Calculation:
        """Predicted risk day by day beside the return of the next day, and whether it was right."""
        found = self.books.slices.at(request.model_id)
        version = found.version
        days = _days(found, request, 1, YEAR)
        own, other = self._through(found, request, days), self._benchmark(found, request, days)
        columns = np.unique(np.concatenate([own.columns, other.columns])) if other else own.columns
        # Weights at the start of a day are those at the close before, which is when its risk was predicted.
        held, against = (None if path is None else _at_close(spread(path, columns)) for path in (own, other))
        assert held is not None
        before = slice(days.start - 1, days.stop)
        covariances, specific = self.paths.of(version, before)
        covered = _covered(found, request, before, columns, (own, held), (other, against), specific)
        assert covered.specific is not None
        returns = version.day_asset("fields/returns", before, columns)
        linked = self.books.risk.linked(found).among(columns)
        history = risk_history(
            held if against is None else held - against,
            covered.exposures,
            list(covariances),
            covered.specific,
            returns,
            linked=linked,
            confidence=request.confidence,
        )
        dates = [str(day) for day in version.dates_of(before)]
        values = {
            "dates": dates,
            "total_risk": _or_none(history.total),
            "factor_risk": _or_none(history.factor),
            "specific_risk": _or_none(history.specific),
            "realised_next_day": _or_none(history.realised),
            "uncovered_share": history.uncovered_share.tolist(),
            "bias": None if np.isnan(history.bias) else history.bias,
            "value_at_risk_exceedances": int(history.breaches.sum()),
            "value_at_risk_exceeded_share": None if np.isnan(history.breach_share) else history.breach_share,
            "qlike": None if np.isnan(history.qlike) else history.qlike,
        }
        details = {
            "units": "daily volatility as a fraction of portfolio value, known at the close of the date",
            "confidence": request.confidence,
            "active": other is not None,
            **_beside(found, covered, other),
        }
        coverage = 1.0 - covered.shares[0]
        message = f"predicted and realised risk of {len(own.columns)} names over {len(dates)} days"
        return _answer(found, days, values, message, coverage, own, details)

    def _through(self, found: Slice, request: Any, days: slice) -> _Path:
        given, name = request.portfolio_weights, request.portfolio_id
        field = "portfolio_weights" if given is not None else "portfolio_id"
        return self._path(found, given, name, request, days, field)

    def _benchmark(self, found: Slice, request: Any, days: slice) -> _Path | None:
        if request.benchmark_weights is None and request.benchmark is None:
            return None
        field = "benchmark_weights" if request.benchmark_weights is not None else "benchmark"
        return self._path(found, request.benchmark_weights, request.benchmark, request, days, field)

    def _path(
        self, found: Slice, given: dict[str, float] | None, name: str | None, request: Any, days: slice, field: str
    ) -> _Path:
        """Put a book, with its holdings by date, on every day of a period."""
        version = found.version
        set_on, books = self.books.dated(found, given, name, days, field, request.between)
        columns = np.unique(np.concatenate([book.columns for book in books])).astype(np.intp)
        weights = np.zeros((len(books), len(columns)))
        for row, book in zip(weights, books, strict=True):
            np.add.at(row, np.searchsorted(columns, book.columns), book.weights)
        returns = version.day_asset("fields/returns", days, columns)
        try:
            held = daily_weights(version.dates_of(days), set_on, weights, returns, request.between)
        except FactorError as error:
            raise InvalidInput(str(error), field=field) from None
        return _Path(columns, held, returns, books, field)


def _days(found: Slice, request: Any, lag: int, default: int) -> slice:
    """Give the rows of a request's period, from the first that has exposures before it."""
    days = rows_between(found.version, request.start_date, request.end_date, found.model_id)
    if request.start_date is None and days.stop - days.start > default:
        days = slice(days.stop - default, days.stop)
    days = slice(max(days.start, lag), days.stop)
    if not 1 <= days.stop - days.start <= LONGEST_DAYS:
        raise InvalidInput(
            f"the period must hold 1 to {LONGEST_DAYS} dates, holds {days.stop - days.start}", field="start_date"
        )
    return days


def spread(path: _Path, columns: np.ndarray) -> np.ndarray:
    """Give a path's weights [n_days, n_columns] on other columns, which hold its own; ascending."""
    out = np.zeros((len(path.held.weights), len(columns)))
    out[:, np.searchsorted(columns, path.columns)] = path.held.weights
    return out


def _at_close(weights: np.ndarray) -> np.ndarray:
    """Give the weights at each close of those at the starts of the days after; the last ones stay."""
    return np.vstack([weights, weights[-1:]])


def _covered(
    found: Slice,
    request: Any,
    rows: slice,
    columns: np.ndarray,
    own: tuple[_Path, np.ndarray],
    other: tuple[_Path | None, np.ndarray | None],
    specific: np.ndarray | None = None,
) -> Period:
    books = [DailyBook(path.field, w) for path, w in (own, other) if path is not None and w is not None]
    return period(found.version, rows, columns, books, request.uncovered, specific)


def _told(path: _Path) -> Book:
    """Give the last of a path's books, with what looks like a slip in any of them."""
    return path.books[-1]._replace(warnings=tuple(dict.fromkeys(w for book in path.books for w in book.warnings)))


def _or_none(values: np.ndarray) -> list[float | None]:
    return [None if np.isnan(x) else float(x) for x in values]


def _absent(found: Slice, path: _Path) -> dict[str, int]:
    gone = path.held.absent.sum(axis=0)
    return {found.symbols[path.columns[i]]: int(gone[i]) for i in np.flatnonzero(gone)}


def _beside(found: Slice, covered: Period, other: _Path | None) -> dict[str, Any]:
    """Give what an answer says of names that the model did not cover, and of the benchmark."""
    out: dict[str, Any] = {}
    if covered.uncovered_days:
        out |= {"uncovered_symbols": [*covered.uncovered_days], "uncovered_days": covered.uncovered_days}
    if other is not None:
        out["benchmark_coverage"] = round(1.0 - covered.shares[1], 6)
        out |= _told(other).told_as_benchmark()
        absent = _absent(found, other)
        if absent:
            out["benchmark_absent_days"] = absent
    return out


def _sectors(found: Slice, columns: np.ndarray) -> list[str]:
    names = list(found.version.manifest.meta["category_names"].get("sector", ()))
    return [names[code] if code >= 0 else "Unknown" for code in found.day.sectors[columns]]


def _summed(groups: dict[int, str], values: np.ndarray) -> dict[str, float]:
    out: dict[str, float] = {}
    for i, group in groups.items():
        out[group] = out.get(group, 0.0) + float(values[i])
    return out


def _attribution_values(found: Slice, result: Attribution) -> dict[str, Any]:
    total = result.total()
    names, styles = found.factor_names, set(found.style_names)
    assert total.factor_errors is not None
    family = ["styles" if n in styles else "market" if i == 0 else "sectors" for i, n in enumerate(names)]
    return {
        "portfolio_return": total.portfolio_return,
        "benchmark_return": total.benchmark_return,
        "active_return": total.active_return,
        "factor_contributions": by_name(names, total.factor),
        "factor_errors": by_name(names, total.factor_errors),
        "specific_contribution": total.specific,
        "unexplained": total.unexplained,
        "by_family": {**_summed(dict(enumerate(family)), total.factor), "specific": total.specific},
        "sum_of_parts": float(total.factor.sum() + total.specific + total.unexplained),
    }


def _answer(
    found: Slice, days: slice, values: dict[str, Any], message: str, coverage: float, own: _Path, more: dict[str, Any]
) -> Calculation:
    version, absent = found.version, _absent(found, own)
    return Calculation(
        values=values,
        message=message,
        confidence_score=found.confidence(max(coverage, 0.0)),
        model_version=found.number,
        details={
            "start_date": str(version.date(days.start)),
            "end_date": str(version.date(days.stop - 1)),
            "n_days": days.stop - days.start,
            "coverage": round(coverage, 6),
            **_told(own).told(),
            **({"absent_days": absent, "absent_rule": "the others of its side carry its weight"} if absent else {}),
            **more,
        },
    )
