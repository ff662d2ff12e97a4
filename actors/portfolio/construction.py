"""Books that are looked for: optimal weights under limits, the frontier, risk budgets, the trades of a rebalance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from actors.portfolio.infeasible import field_of, infeasible
from actors.portfolio.reader import BookReader
from actors.reading.books import Book
from actors.reading.confidence import share
from actors.reading.share_prices import of_a_share_of
from actors.reading.slices import Slice, by_name
from actors.reading.unknown import no_factor
from contracts import portfolio_requests as pq
from contracts.answers import Calculation
from contracts.errors import InvalidInput
from factors.errors import FactorError
from factors.portfolio.frontier import frontier, trades
from factors.portfolio.limits import InfeasibleError, Limits
from factors.portfolio.optimize import Optimum, Problem, optimize
from factors.portfolio.risk_budget import risk_budget

SMALLEST = 1e-6
"""Weights below it are what a solver leaves of 0, and are not told."""


@dataclass(frozen=True)
class _Case:
    """A request's problem on the names that may be held, or are held now, or are in the benchmark."""

    found: Slice
    columns: np.ndarray
    problem: Problem
    limits: Limits
    start: np.ndarray
    book: Book | None
    benchmark: Book | None
    uncovered: list[str]
    covered: np.ndarray
    unheard: list[str]


class Construction:
    """The methods of an actor that has a `BookReader` as `books`."""

    books: BookReader

    def optimize(self, request: pq.Optimize) -> Calculation:
        """Weights of least risk, or of most alpha for the risk, under limits."""
        case = self._case(request, request.alpha, request.alpha_style)
        # Alphas are a year's and so is the aversion's variance; the problem is in days. A cost stands against a year.
        made = _solved(lambda: optimize(
            case.problem, case.limits, request.sought,
            risk_aversion=request.risk_aversion, factor_names=case.found.factor_names,
        ))  # fmt: skip
        return _answer(case, _told(case, made), f"{request.sought} over {len(case.columns)} names")

    def frontier(self, request: pq.Frontier) -> Calculation:
        """The books of most alpha at each level of risk."""
        case = self._case(request, request.alpha, request.alpha_style)
        points = _solved(lambda: frontier(case.problem, case.limits, request.n_points, case.found.factor_names))
        values = {"points": [_told(case, point) for point in points]}
        return _answer(case, values, f"frontier of {len(points)} books over {len(case.columns)} names")

    def rebalance(self, request: pq.Rebalance) -> Calculation:
        """The least trades, in weights and in shares, that bring a book within limits."""
        case = self._case(request, None, None)
        made = _solved(
            lambda: optimize(case.problem, case.limits, "min_turnover", factor_names=case.found.factor_names)
        )
        prices = _prices(case.found, case.columns)
        done = trades(case.start, made.weights, prices, request.book_value, request.lot)
        symbols = [case.found.symbols[i] for i in case.columns]
        listed = {
            symbol: {
                "weight": float(weight),
                "shares": None if np.isnan(shares) else float(shares),
                "value": None if np.isnan(shares) else float(value),
            }
            for symbol, weight, shares, value in zip(symbols, done.weights, done.shares, done.values, strict=True)
            if abs(weight) > SMALLEST
        }
        values = {**_told(case, made), "trades": listed, "left_over_value": done.left}
        return _answer(case, values, f"{len(listed)} trades of {made.turnover:.2%} of the book")

    def risk_budget(self, request: pq.RiskBudget) -> Calculation:
        """Long-only weights whose risk contributions are equal, or in given shares."""
        found = self.books.slices.at(request.model_id, request.date_requested)
        if request.budgets is not None:
            field, (columns, given) = "budgets", found.holdings(request.budgets, "budgets")
        else:
            field, columns = "symbols", found.chosen(request.symbols)
            given = np.ones(len(columns))
        order = np.argsort(columns, kind="stable")
        columns, given = columns[order], given[order]
        n_asked = len(columns)
        named = [(field, np.ones(n_asked, bool))] if getattr(request, field) is not None else []
        exposures, specific, uncovered = self.books.risk.choice(found, columns, named, request.uncovered)
        able = ~np.isnan(exposures).any(axis=1) & (specific > 0.0)
        if not able.all():
            names = [found.symbols[i] for i in columns[~able]]
            if request.budgets is not None:  # who gave it a part of the risk would get another book
                raise InvalidInput(
                    f"budgets names what the model does not cover on {found.date_text}: {', '.join(names[:10])}",
                    field="budgets",
                    rows=names,
                )
            columns, given, exposures, specific = columns[able], given[able], exposures[able], specific[able]
            uncovered = sorted({*uncovered, *names}, key=found.symbols.index)
        linked = self.books.risk.linked(found).among(columns)
        try:
            weights = risk_budget(exposures, self.books.risk.estimates(found).covariance, specific, given, linked)
        except FactorError as error:
            raise InvalidInput(str(error), field=error.field or "budgets") from None
        values = {
            "weights": {found.symbols[i]: float(w) for i, w in zip(columns, weights, strict=True) if w > 0.0},
            "budgets": "equal" if request.budgets is None else "given",
        }
        return Calculation(
            values=values,
            message=f"risk budgets of {len(columns)} names on {found.date_text}",
            confidence_score=found.confidence(1.0 - len(uncovered) / n_asked),
            model_version=found.number,
            details={"date": found.date_text, **({"uncovered_symbols": uncovered} if uncovered else {})},
        )

    def _case(self, request: pq.ConstructBook, alpha: Mapping[str, float] | None, alpha_style: str | None) -> _Case:
        """Put a request's names, books and limits together."""
        books, found = self.books, self.books.slices.at(request.model_id, request.date_requested)
        book = benchmark = None
        if request.portfolio_weights is not None or request.portfolio_id is not None:
            book = books.books.of(found, request.portfolio_weights, request.portfolio_id)
        if request.benchmark_weights is not None or request.benchmark is not None:
            benchmark = books.books.of(
                found, request.benchmark_weights, request.benchmark, "benchmark_weights", "benchmark"
            )
        allowed = found.chosen(request.symbols)
        held = [one.columns for one in (book, benchmark) if one is not None]
        columns = np.unique(np.concatenate([allowed, *held])).astype(np.intp)
        start = book.on(columns) if book is not None else np.zeros(len(columns))
        least, most = _positions(request, np.isin(columns, allowed), start)
        alphas, unheard = np.zeros(len(columns)), list[str]()
        if alpha is not None:
            at, sizes = found.holdings(alpha, "alpha")
            inside = np.isin(at, columns)
            unheard = [found.symbols[i] for i in at[~inside]]
            alphas[np.searchsorted(columns, at[inside])] = sizes[inside] / found.periods_per_year
        elif alpha_style is not None:
            if alpha_style not in found.style_names:
                raise no_factor([alpha_style], found.style_names, "alpha_style", "style")
            alphas = np.nan_to_num(found.scores[found.style_names.index(alpha_style)][columns]) / found.periods_per_year
        named = [
            (field, np.isin(columns, those))
            for field, those in (
                ("symbols", allowed if request.symbols is not None else None),
                ("portfolio_weights" if request.portfolio_weights is not None else "portfolio_id", _held(book)),
                ("benchmark_weights" if request.benchmark_weights is not None else "benchmark", _held(benchmark)),
            )
            if those is not None
        ]
        exposures, specific, uncovered = books.risk.choice(found, columns, named, request.uncovered)
        problem = Problem(
            exposures=exposures,
            factor_covariance=books.risk.estimates(found).covariance,
            specific_variance=specific,
            alpha=alphas,
            start=start,
            benchmark=benchmark.on(columns) if benchmark is not None else None,
            cost=request.cost_bps / 1e4,
            holding_days=found.periods_per_year,
            linked=books.risk.linked(found).among(columns),
        )
        wrong = [name for name in request.exposures if name not in found.factor_names]
        if wrong:
            raise no_factor(wrong, found.factor_names, "exposures")
        try:
            limits = Limits(
                position=request.position,
                positions=(least, most),
                net=request.net,
                gross=request.gross,
                active_position=request.active_position,
                exposures=request.exposures,
                turnover=request.turnover,
                risk=None if request.max_risk is None else request.max_risk / float(np.sqrt(found.periods_per_year)),
            )
        except FactorError as error:
            raise InvalidInput(str(error), field=error.field) from None
        own = found.known[columns] & ~np.isnan(books.risk.estimates(found).specific[columns])
        return _Case(found, columns, problem, limits, start, book, benchmark, uncovered, own, unheard)


def _held(book: Book | None) -> np.ndarray | None:
    """Give the positions of the names that a book holds."""
    return None if book is None else book.columns


def _coverage(book: Book, case: _Case) -> float:
    """Give the share of a book's gross weight that the model covers."""
    size = np.abs(book.on(case.columns))
    gross = size.sum()
    return round(float(size[case.covered].sum() / gross), 6) if gross > 0.0 else 1.0


def _positions(request: pq.ConstructBook, allowed: np.ndarray, start: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Give the least and greatest weight of each name; one that may not be held can only be sold."""
    low, high = request.position
    least = np.full(len(start), -np.inf if low is None else low)
    most = np.full(len(start), np.inf if high is None else high)
    return np.where(allowed, least, 0.0), np.where(allowed, most, 0.0)


def _prices(found: Slice, columns: np.ndarray) -> np.ndarray:
    version = found.version
    if "close" not in version.manifest.meta["fields"]:
        raise InvalidInput("trades in shares need the model's field close", field="book_value")
    # What a share costs is the raw price; an adjusted one is of the shares of the first day.
    raw = "raw_close" in version.manifest.meta["fields"]
    day = slice(found.row, found.row + 1)
    prices: np.ndarray = version.day_asset(f"fields/{'raw_close' if raw else 'close'}", day, columns)[0]
    return prices if raw else prices * of_a_share_of(version, found.row, columns)


def _solved(work: Any) -> Any:
    """Run a search; what cannot be met is the caller's to change."""
    try:
        return work()
    except InfeasibleError as error:
        raise infeasible(error) from None
    except FactorError as error:
        raise InvalidInput(str(error), field=field_of(error)) from None


def _told(case: _Case, made: Optimum) -> dict[str, Any]:
    symbols = case.found.symbols
    return {
        "weights": {symbols[i]: float(w) for i, w in zip(case.columns, made.weights, strict=True) if abs(w) > SMALLEST},
        "risk_annual": made.risk * float(np.sqrt(case.found.periods_per_year)),
        "alpha_annual": made.alpha * case.found.periods_per_year,
        "exposures": by_name(case.found.factor_names, made.exposures),
        "turnover": made.turnover,
        "cost": made.cost,
        "binding": made.binding,
        **({"uncovered_symbols": [symbols[case.columns[i]] for i in made.excluded]} if made.excluded.size else {}),
    }


def _answer(case: _Case, values: dict[str, Any], message: str) -> Calculation:
    found = case.found
    covered = share(found.known[case.columns])
    return Calculation(
        values=values,
        message=f"{message} on {found.date_text}",
        confidence_score=found.confidence(covered),
        model_version=found.number,
        details={
            "date": found.date_text,
            "periods_per_year": found.periods_per_year,
            "active": case.problem.benchmark is not None,
            **({"coverage": _coverage(case.book, case), **case.book.told()} if case.book is not None else {}),
            **(
                {"benchmark_coverage": _coverage(case.benchmark, case), **case.benchmark.told_as_benchmark()}
                if case.benchmark is not None
                else {}
            ),
            **({"uncovered_symbols": case.uncovered} if case.uncovered else {}),
            **({"alpha_left_out": case.unheard} if case.unheard else {}),
        },
    )
