"""A book of a request on its model's slice: what every answer about a book begins with, and says at its end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from actors.reading.books import Book, Books
from actors.reading.estimates import Covered, Estimates, RiskReader
from actors.reading.slices import Slice, Slices
from contracts.requests import BookRequest, DatedBook
from contracts.settings import settings
from factors.risk.eigenfactor import Products
from store import PortfolioStore
from store.place import store_place


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
        columns = self.covered.columns
        book = self.book.on(columns)
        return book if self.benchmark is None else book - self.benchmark.on(columns)

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
    """Reads books for an actor; `products` as `RiskReader` has it."""

    def __init__(self, slices: Slices, products: Callable[[], Products | None] = lambda: None) -> None:
        current = settings()
        self.slices = slices
        self.books = Books(PortfolioStore(store_place(current), current.keep_versions))
        self.risk = RiskReader(products)

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

    def book(self, found: Slice, request: BookRequest) -> Book:
        """Give a request's book by its weights, or by name."""
        return self.books.of(found, request.portfolio_weights, request.portfolio_id)
