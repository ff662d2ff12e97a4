"""Stored books: put, show, list, append, delete."""

from __future__ import annotations

import datetime as dt
from typing import Any

from actors.portfolio.reader import BookReader
from actors.reading.books import RESERVED
from contracts import portfolio_requests as pq
from contracts.answers import Calculation, Page
from contracts.errors import InvalidInput
from store import Holdings, Portfolio

ALWAYS = "always"


class StoredBooks:
    """The methods of an actor that has a `BookReader` as `books`."""

    books: BookReader

    def put_portfolio(self, request: pq.PutPortfolio) -> Calculation:
        """Store a book, or a new version of it."""
        if request.portfolio_id in RESERVED:
            raise InvalidInput(f"{request.portfolio_id!r} is a book that every model has", field="portfolio_id")
        given = Portfolio(request.portfolio_id, 0, request.kind, _holdings(request.holdings), request.description)
        assert request.request_id is not None
        made = self.books.books.store.put(given, request_id=request.request_id, base=request.base_version)
        return _made(made, f"portfolio {made.portfolio_id} is at version {made.version}")

    def append_portfolio(self, request: pq.AppendPortfolio) -> Calculation:
        """Add holdings of later dates."""
        assert request.request_id is not None
        made = self.books.books.store.append(
            request.portfolio_id, _holdings(request.holdings), request_id=request.request_id
        )
        return _made(made, f"portfolio {made.portfolio_id} holds {len(made.holdings)} dates")

    def delete_portfolio(self, request: pq.DeletePortfolio) -> Calculation:
        """Delete a book; its numbers go on."""
        assert request.request_id is not None
        version = self.books.books.store.delete(request.portfolio_id, request_id=request.request_id)
        return Calculation(
            values={"portfolio_id": request.portfolio_id, "portfolio_version": version, "deleted": True},
            message=f"portfolio {request.portfolio_id} is deleted",
            confidence_score=1.0,
        )

    def get_portfolio(self, request: pq.PortfolioRef) -> Page:
        """Show a book with its holdings."""
        kept = self.books.books.store.get(request.portfolio_id, request.portfolio_version)
        holdings = {held.date or ALWAYS: dict(held.positions) for held in kept.holdings}
        return Page({**_summary(kept), "description": kept.description, "holdings": holdings})

    def list_portfolios(self, request: pq.ListPortfolios) -> Page:  # noqa: ARG002
        """List the stored books."""
        store = self.books.books.store
        rows = [_summary(store.get(name)) for name in store.ids()]
        return Page({"portfolios": rows, "count": len(rows)})


def _holdings(given: dict[str, dict[str, float]]) -> tuple[Holdings, ...]:
    """Read holdings by date. Raises `InvalidInput` naming dates that are none, and blank holdings."""
    wrong = [date for date in given if date != ALWAYS and not _is_date(date)]
    if wrong:
        raise InvalidInput(
            f"holdings are by ISO date (2024-01-31) or {ALWAYS!r}: {', '.join(wrong[:5])}", field="holdings", rows=wrong
        )
    if ALWAYS in given and len(given) > 1:
        raise InvalidInput(f"holdings are either {ALWAYS!r} or by date", field="holdings")
    blank = [date for date, positions in given.items() if not positions]
    if blank:
        raise InvalidInput("holdings of a date must not be empty: hold CASH", field="holdings", rows=blank)
    return tuple(Holdings(None if date == ALWAYS else date, given[date]) for date in sorted(given))


def _is_date(text: str) -> bool:
    try:
        return dt.date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def _summary(kept: Portfolio) -> dict[str, Any]:
    return {
        "portfolio_id": kept.portfolio_id,
        "portfolio_version": kept.version,
        "kind": kept.kind,
        "created_at": kept.created_at,
        "n_dates": len(kept.holdings),
        "first_date": kept.holdings[0].date,
        "last_date": kept.holdings[-1].date,
        "n_positions": len(kept.holdings[-1].positions),
    }


def _made(made: Portfolio, message: str) -> Calculation:
    return Calculation(values=_summary(made), message=message, confidence_score=1.0)
