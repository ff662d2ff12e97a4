"""What books did: attribution of returns to factors, and predicted beside realised risk."""

from __future__ import annotations

from typing import Any

import numpy as np

from actors.portfolio.book_path import BookPath, book_path
from actors.portfolio.period import DailyBook, Period, period
from actors.portfolio.reader import BookReader
from actors.reading.books import Book
from actors.reading.risk_path import RiskPaths
from actors.reading.slices import Slice, by_name, rows_between
from actors.runtime.device_user import DeviceUser
from contracts import portfolio_requests as pq
from contracts import requests as rq
from contracts.answers import Calculation
from contracts.errors import InvalidInput
from contracts.work import Device
from devices.draws import draw_products
from factors.panel.memberships import SHARES, joined_codes
from factors.panel.sectors import UNKNOWN
from factors.portfolio.attribution import Attribution, attribute
from factors.portfolio.history import risk_history
from factors.portfolio.linking import carino_scale
from store import Version

LONGEST_DAYS = 1260
YEAR = 252


class PastBooks(DeviceUser):
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
        columns = _columns(own, other)
        weights = own.on(columns, own.weights)
        against = other.on(columns, other.weights) if other else None
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
        for book, made in ((own, result.portfolio_returns), (other, result.benchmark_returns)):
            _refuse_ruined(version, days, book, made)
        values = _attribution_values(found, result)
        scale, _, _ = carino_scale(result.portfolio_returns, result.benchmark_returns)
        active = weights if against is None else weights - against
        of_names = scale[:, None] * active * np.nan_to_num(returns)
        held = np.flatnonzero(active.any(axis=0))
        by_symbol = of_names.sum(axis=0)
        values["by_symbol"] = {found.symbols[columns[i]]: float(by_symbol[i]) for i in held}
        values["by_sector"] = _by_sector(found, rows, days, columns, of_names)
        gross = float(np.abs(active).sum())
        coverage = 1.0 - float(result.missing_weight.sum()) / gross if gross else 1.0
        coverage = min(coverage, 1.0 - covered.shares[0])
        message = f"attribution of {len(held)} names over {days.stop - days.start} days"
        details = {"linking": "carino", "between": request.between, **_beside(found, covered, other)}
        rule = "the others of its side carry its weight"
        return _answer(found, days, values, message, coverage, own, details, rule)

    def risk_history(self, request: pq.RiskHistory) -> Calculation:
        """Predicted risk day by day beside the return of the next day, and whether it was right."""
        found = self.books.slices.at(request.model_id)
        version = found.version
        days = _days(found, request, 1, YEAR)
        own, other = self._through(found, request, days), self._benchmark(found, request, days)
        columns = _columns(own, other)
        # What was held at a close is what its risk was predicted of, and what the next day made of it.
        held = own.on(columns, own.closes)
        against = other.on(columns, other.closes) if other else None
        before = slice(days.start - 1, days.stop)
        ran: list[Device] = []
        covariances, specific = self.paths.of(version, before, draw_products(self.devices, ran))
        covered = _covered(found, request, before, columns, (own, held), (other, against), specific)
        assert covered.specific is not None
        returns = version.day_asset("fields/returns", before, columns)
        linked = self.books.risk.linked_over(version, before, columns)
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
            "exposures": {
                name: _or_none(column) for name, column in zip(found.factor_names, history.exposures.T, strict=True)
            },
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
        made = _answer(found, days, values, message, coverage, own, details, "it earns nothing")
        made.device = max(ran, key=ran.count, default=Device.CPU)
        return made

    def _through(self, found: Slice, request: Any, days: slice) -> BookPath:
        given, name = request.portfolio_weights, request.portfolio_id
        field = "portfolio_weights" if given is not None else "portfolio_id"
        return book_path(self.books, found, given, name, days, field, request.between)

    def _benchmark(self, found: Slice, request: Any, days: slice) -> BookPath | None:
        given, name = request.benchmark_weights, request.benchmark
        if given is None and name is None:
            return None
        field = "benchmark_weights" if given is not None else "benchmark"
        return book_path(self.books, found, given, name, days, field, request.between)


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


def _refuse_ruined(version: Version, days: slice, book: BookPath | None, earned: np.ndarray) -> None:
    """Raise for a book that loses all that it has on a day: contributions of what comes after mean nothing."""
    ruined = np.flatnonzero(earned <= -1.0)
    if book is not None and ruined.size:
        day = version.date(days.start + int(ruined[0]))
        raise InvalidInput(f"the book's value falls to nothing on {day}", field=book.field)


def _columns(own: BookPath, other: BookPath | None) -> np.ndarray:
    """Give the names that either book holds on some day, ascending."""
    return np.unique(np.concatenate([own.columns, other.columns])) if other else own.columns


def _covered(
    found: Slice,
    request: Any,
    rows: slice,
    columns: np.ndarray,
    own: tuple[BookPath, np.ndarray],
    other: tuple[BookPath | None, np.ndarray | None],
    specific: np.ndarray | None = None,
) -> Period:
    books = [DailyBook(path.field, w) for path, w in (own, other) if path is not None and w is not None]
    return period(found.version, rows, columns, books, request.uncovered, specific)


def _told(path: BookPath) -> Book:
    """Give the last of a path's books, with what looks like a slip in any of them."""
    return path.books[-1]._replace(warnings=tuple(dict.fromkeys(w for book in path.books for w in book.warnings)))


def _or_none(values: np.ndarray) -> list[float | None]:
    return [None if np.isnan(x) else float(x) for x in values]


def _absent(found: Slice, path: BookPath) -> dict[str, int]:
    gone = path.absent.sum(axis=0)
    return {found.symbols[path.columns[i]]: int(gone[i]) for i in np.flatnonzero(gone)}


def _beside(found: Slice, covered: Period, other: BookPath | None) -> dict[str, Any]:
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


def _by_sector(
    found: Slice, known: slice, days: slice, columns: np.ndarray, contributions: np.ndarray
) -> dict[str, float]:
    """Sum contributions [T, n] by the sectors that the names were of, as known before each day.

    On its first day a name counts to the sector that it then has. Names in several count to each by their shares.
    """
    version, names = found.version, found.version.manifest.meta["category_names"]
    sectors = list(names.get("sector", ()))
    codes = np.full(contributions.shape, -1, np.int64)
    shares = found.day.shares.reshape(-1, len(sectors))
    if sectors:
        before, then = (_codes(version, rows, columns, len(sectors)) for rows in (known, days))
        codes = np.where(before >= 0, before, then)
    sums = np.bincount((codes + 1).ravel(), contributions.ravel(), minlength=1 + len(sectors) + len(shares))
    of_sector = sums[1 : 1 + len(sectors)] + sums[1 + len(sectors) :] @ shares
    seen = np.bincount((codes + 1).ravel(), (contributions != 0.0).ravel(), minlength=len(sums))
    held = seen[1 : 1 + len(sectors)] + seen[1 + len(sectors) :] @ shares
    out = {name: float(x) for name, x, n in zip(sectors, of_sector, held, strict=True) if n}
    if seen[0]:
        out[UNKNOWN] = out.get(UNKNOWN, 0.0) + float(sums[0])
    return out


def _codes(version: Version, rows: slice, columns: np.ndarray, n_sectors: int) -> np.ndarray:
    """Give codes of sectors, and above them of memberships in several."""
    codes = version.day_asset("category/sector", rows, columns)
    if SHARES in version.manifest.meta["category_names"]:
        codes = joined_codes(codes, version.day_asset(f"category/{SHARES}", rows, columns), n_sectors)
    return np.asarray(codes, np.int64)


def _summed(groups: list[str], values: np.ndarray) -> dict[str, float]:
    out: dict[str, float] = {}
    for group, value in zip(groups, values.tolist(), strict=True):
        out[group] = out.get(group, 0.0) + value
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
        "by_family": {
            **_summed(family, total.factor),
            "specific": total.specific,
            **({"unexplained": total.unexplained} if result.unexplained.any() else {}),
        },
        "sum_of_parts": float(total.factor.sum() + total.specific + total.unexplained),
    }


def _answer(
    found: Slice,
    days: slice,
    values: dict[str, Any],
    message: str,
    coverage: float,
    own: BookPath,
    more: dict[str, Any],
    absent_rule: str,
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
            **({"absent_days": absent, "absent_rule": absent_rule} if absent else {}),
            **more,
        },
    )
