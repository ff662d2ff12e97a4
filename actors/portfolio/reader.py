"""A book of a request on its model's slice: what every answer about a book begins with, and says at its end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from actors.reading.books import RESERVED, Book, Books
from actors.reading.estimates import Covered, Estimates, RiskReader
from actors.reading.slices import Slice, Slices
from contracts.requests import Between, BookRequest, DatedBook
from contracts.settings import settings
from store import PortfolioStore


@dataclass(frozen=True)
class Held:
    """A book, and the benchmark where one is named, on the names that either holds.

    Attributes
    ----------
    found
        The slice of the date.
    book, benchmark
        As they were given.
    covered
        One row of weights for the book and one for the benchmark.
    estimates
        Of the date, on all names.
    """

    found: Slice
    book: Book
    benchmark: Book | None
    covered: Covered
    estimates: Estimates

    @property
    def weights(self) -> np.ndarray:
        """The book's weights on the covered names, [n]."""
        weights: np.ndarray = self.covered.weights[0]
        return weights

    @property
    def against(self) -> np.ndarray | None:
        """The benchmark's weights, [n]."""
        return None if self.benchmark is None else self.covered.weights[1]

    @property
    def given(self) -> np.ndarray:
        """The (active) weights on the same names as they were given, those that the model does not cover among them."""
        out = np.zeros(len(self.covered.columns))
        for book, sign in ((self.book, 1.0), (self.benchmark, -1.0)):
            if book is not None:
                np.add.at(out, np.searchsorted(self.covered.columns, book.columns), sign * book.weights)
        return out

    @property
    def root(self) -> float:
        """What a row's volatility is multiplied by for a year's."""
        return float(np.sqrt(self.found.periods_per_year))

    @property
    def coverage(self) -> float:
        """Share of the book's gross weight that the model covers."""
        return 1.0 - float(self.covered.share[0])

    def details(self) -> dict[str, Any]:
        """Give what an answer says beside its values."""
        out: dict[str, Any] = {
            "date": self.found.date_text,
            "coverage": round(self.coverage, 6),
            "periods_per_year": self.found.periods_per_year,
            **self.book.told(),
        }
        if self.covered.uncovered:
            out["uncovered_symbols"] = self.covered.uncovered
        if self.benchmark is not None:
            out["benchmark_coverage"] = round(1.0 - float(self.covered.share[1]), 6)
            out |= self.benchmark.told_as_benchmark()
        return out


class BookReader:
    """Reads books for an actor."""

    def __init__(self, slices: Slices) -> None:
        current = settings()
        self.slices = slices
        self.books = Books(PortfolioStore(current.store_path, current.keep_versions))
        self.risk = RiskReader()

    def held(self, request: DatedBook) -> Held:
        """Put a request's book, and its benchmark, on the slice of its date."""
        found = self.slices.at(request.model_id, request.date_requested)
        book = self.book(found, request)
        benchmark = None
        books = [("portfolio_weights" if request.portfolio_weights is not None else "portfolio_id", book)]
        if request.benchmark_weights is not None or request.benchmark is not None:
            benchmark = self.books.of(
                found, request.benchmark_weights, request.benchmark, "benchmark_weights", "benchmark"
            )
            books.append(("benchmark_weights" if request.benchmark_weights is not None else "benchmark", benchmark))
        covered = self.risk.cover(found, books, request.uncovered)
        return Held(found, book, benchmark, covered, self.risk.estimates(found))

    def dated(
        self,
        found: Slice,
        given: Mapping[str, float] | None,
        name: str | None,
        days: slice,
        field: str,
        between: Between = "rebalance",
    ) -> tuple[np.ndarray, list[Book]]:
        """Give a book's holdings by date, as far as a period needs them: dates [H] and books.

        A book of weights, and one whose holdings have no date, hold from before the period on. The books that every
        model has are set at each close, or, to drift between, at the first close of each month.
        """
        version = found.version
        first = version.date(days.start) - np.timedelta64(1, "D")
        if given is not None or name is None:
            return np.array([first]), [self.books.of(found, given, name, field)]
        if name in RESERVED and between == "rebalance":
            return self.books.reserved_daily(found, name, slice(days.start - 1, days.stop - 1))
        if name in RESERVED:
            months = np.array([version.date(row) for row in range(days.start - 1, days.stop)]).astype("datetime64[M]")
            rows = days.start - 1 + np.flatnonzero(np.r_[True, months[1:] != months[:-1]])
            slices = [self.slices.at(found.model_id, version.date(row).astype(object)) for row in rows]
            return np.array([s.date for s in slices]), [self.books.of(s, None, name) for s in slices]
        kept = self.books.store.get(name)
        dates = [held.date for held in kept.holdings if held.date is not None]
        if not dates:
            return np.array([first]), [self.books.of(found, None, name)]
        # The newest holdings before the period, and all within it; each is valued on the last date up to its own.
        last = str(version.date(days.stop - 1))
        needed = [d for d in dates if str(first) < d <= last]
        needed = [*[d for d in dates if d <= str(first)][-1:], *needed] or dates[:1]
        rows = [max(version.rows_before(np.datetime64(d), through=True) - 1, 0) for d in needed]
        slices = [self.slices.at(found.model_id, version.date(row).astype(object)) for row in rows]
        books = [self.books.of(s, None, name, on=d) for s, d in zip(slices, needed, strict=True)]
        return np.array(needed, "datetime64[D]"), books

    def book(self, found: Slice, request: BookRequest) -> Book:
        """Give a request's book by its weights, or by name."""
        return self.books.of(found, request.portfolio_weights, request.portfolio_id)
