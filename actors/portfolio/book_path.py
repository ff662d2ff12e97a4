"""A book on every day of a period: dated holdings, books inside it, and the books that every model has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from actors.portfolio.reader import BookReader
from actors.reading.books import RESERVED, Book, Setting, deeper
from actors.reading.slices import Slice
from contracts.errors import InvalidInput
from contracts.requests import Between
from factors.errors import FactorError
from factors.portfolio.holdings import daily_weights


class BookPath(NamedTuple):
    """A book through a period of `T` days, books inside it looked through.

    Attributes
    ----------
    columns
        Positions of the names that are held on some day, ascending, [n].
    weights
        At the start of each day, [T, n]; while a name is not there the others of its side carry its weight.
    closes
        At the close before each day and at the last day's own, as it was known then, [T + 1, n].
    absent
        Where a name is held and not there, [T, n].
    earned
        The book's return of each day, [T].
    field
        Of the request.
    books
        As they were set, looked through, for what is said of them.
    """

    columns: np.ndarray
    weights: np.ndarray
    closes: np.ndarray
    absent: np.ndarray
    earned: np.ndarray
    field: str
    books: tuple[Book, ...] = ()

    def on(self, columns: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Put rows of the book, such as its weights, on other names, which hold its own; ascending."""
        return _spread(rows, self.columns, columns)


class _Settings(NamedTuple):
    """What a book is set to: dates [H], one setting each, and the row of the first day that is needed."""

    dates: np.ndarray
    settings: Sequence[Setting]
    first: int


def book_path(
    reader: BookReader,
    found: Slice,
    given: Mapping[str, float] | None,
    name: str | None,
    days: slice,
    field: str,
    between: Between,
) -> BookPath:
    """Put a book, by its weights or by name, on every day of a period.

    A book of weights, and one whose holdings have no date, hold from before the period on. A book that drifts does so
    from its own date on, also where that lies before the period. Numbers of shares stay what they are: their weights
    are those of each close. The books that every model has are set at each close, or, to drift between, at the first
    close of each month. A book inside is a holding that earns what the book earns.

    Raises
    ------
    UnknownSymbol, UnknownPortfolio
        Names that neither the model nor money knows; no book of that name.
    InvalidInput
        Books inside each other in a circle, or one whose value falls to nothing.
    """
    top = None if given is not None else name
    path = _path(reader, found, given, name, days, field, between, () if top in (None, *RESERVED) else (str(top),))
    return path._replace(books=tuple(_told(reader, found, given, name, days, field)))


def _path(
    reader: BookReader,
    found: Slice,
    given: Mapping[str, float] | None,
    name: str | None,
    days: slice,
    field: str,
    between: Between,
    inside: tuple[str, ...],
) -> BookPath:
    version = found.version
    kept = _settings(reader, found, given, name, days, field, between)
    span = slice(kept.first, days.stop)
    own = np.unique(np.concatenate([setting.columns for setting in kept.settings])).astype(np.intp)
    funds = list(dict.fromkeys(fund for setting in kept.settings for fund in setting.funds))
    inner = [
        _path(
            reader, found, None, fund, span, field, between,
            inside if fund in RESERVED else deeper(inside, fund, field),
        )
        for fund in funds
    ]  # fmt: skip
    set_to = np.zeros((len(kept.settings), len(own) + len(funds)))
    for row, setting in zip(set_to, kept.settings, strict=True):
        np.add.at(row, np.searchsorted(own, setting.columns), setting.weights)
        for fund, weight in setting.funds.items():
            row[len(own) + funds.index(fund)] = weight
    returns = np.column_stack([version.day_asset("fields/returns", span, own), *(path.earned for path in inner)])
    try:
        held = daily_weights(version.dates_of(span), kept.dates, set_to, returns, between)
    except FactorError as error:
        raise InvalidInput(str(error), field=field) from None
    earned = (held.weights * np.nan_to_num(returns)).sum(axis=1)
    columns = np.unique(np.concatenate([own, *(path.columns for path in inner)])).astype(np.intp)
    n = len(own)
    weights, closes, absent = (_spread(rows[:, :n], own, columns) for rows in (held.weights, held.closes, held.absent))
    for j, path in enumerate(inner, start=n):
        weights += held.weights[:, j, None] * path.on(columns, path.weights)
        closes += held.closes[:, j, None] * path.on(columns, path.closes)
        absent |= (held.weights[:, j, None] != 0.0) & path.on(columns, path.absent)
    lead = days.start - kept.first
    return BookPath(columns, weights[lead:], closes[lead:], absent[lead:], earned[lead:], field)


def _spread(rows: np.ndarray, columns: np.ndarray, on: np.ndarray) -> np.ndarray:
    """Put rows of some names on other names, which hold them; ascending."""
    out = np.zeros((len(rows), len(on)), rows.dtype)
    out[:, np.searchsorted(on, columns)] = rows
    return out


def _settings(
    reader: BookReader,
    found: Slice,
    given: Mapping[str, float] | None,
    name: str | None,
    days: slice,
    field: str,
    between: Between,
) -> _Settings:
    """Give a book's settings by date, as far as a period needs them."""
    version = found.version
    before = version.date(days.start) - np.timedelta64(1, "D")
    if given is None and name in RESERVED:
        return _reserved(reader, found, str(name), days, between)
    if given is not None or name is None:
        return _Settings(np.array([before]), [reader.books.setting(found, given, None, field)], days.start)
    kept = reader.books.kept(name, field)
    if kept.kind == "shares":
        return _by_shares(reader, found, name, days, field)
    dates = _needed(reader, name, str(before), str(version.date(days.stop - 1)))
    if not dates:
        return _Settings(np.array([before]), [reader.books.setting(found, None, name, field)], days.start)
    # Each is read on the last date up to its own.
    rows = [max(version.rows_before(np.datetime64(d), through=True) - 1, 0) for d in dates]
    slices = [reader.slices.at(found.model_id, version.date(row).astype(object)) for row in rows]
    settings = [reader.books.setting(s, None, name, field, d) for s, d in zip(slices, dates, strict=True)]
    first = min(rows[0] + 1, days.start) if between == "drift" and dates[0] <= str(before) else days.start
    return _Settings(np.array(dates, "datetime64[D]"), settings, first)


def _needed(reader: BookReader, name: str, before: str, last: str) -> list[str]:
    """Give the dates of a book's newest holdings before a period and of all within it; none where they have none."""
    dates = [held.date for held in reader.books.store.get(name).holdings if held.date is not None]
    within = [d for d in dates if before < d <= last]
    return [*[d for d in dates if d <= before][-1:], *within] or dates[:1]


def _reserved(reader: BookReader, found: Slice, name: str, days: slice, between: Between) -> _Settings:
    version = found.version
    if between == "rebalance":
        dates, books = reader.books.reserved_daily(found, name, slice(days.start - 1, days.stop))
    else:
        months = version.dates_of(slice(days.start - 1, days.stop)).astype("datetime64[M]")
        rows = days.start - 1 + np.flatnonzero(np.r_[True, months[1:] != months[:-1]])
        slices = [reader.slices.at(found.model_id, version.date(row).astype(object)) for row in rows]
        dates, books = np.array([s.date for s in slices]), [reader.books.of(s, None, name) for s in slices]
    return _Settings(dates, [Setting(book.columns, book.weights) for book in books], days.start)


def _by_shares(reader: BookReader, found: Slice, name: str, days: slice, field: str) -> _Settings:
    """Set a book of numbers of shares at each close to what they are worth there."""
    version, kept = found.version, reader.books.store.get(name)
    first = days.start - 1
    dates = version.dates_of(slice(first, days.stop))
    held = [kept.on(str(date)) for date in dates]
    changes = [i for i in range(len(dates)) if i == 0 or held[i] is not held[i - 1]]
    settings: list[Setting] = []
    for begin, end in zip(changes, [*changes[1:], len(dates)], strict=True):
        settings += reader.books.by_shares(found, held[begin], slice(first + begin, first + end), field)
    return _Settings(dates, settings, days.start)


def _told(
    reader: BookReader, found: Slice, given: Mapping[str, float] | None, name: str | None, days: slice, field: str
) -> list[Book]:
    """Give the books that a period needs as they were set, looked through."""
    if given is not None or name is None or name in RESERVED:
        return [reader.books.of(found, given, name, field)]
    version = found.version
    before = str(version.date(days.start) - np.timedelta64(1, "D"))
    dates = _needed(reader, name, before, str(version.date(days.stop - 1)))
    if not dates:
        return [reader.books.of(found, None, name, field, field)]
    rows = [max(version.rows_before(np.datetime64(d), through=True) - 1, 0) for d in dates]
    slices = [reader.slices.at(found.model_id, version.date(row).astype(object)) for row in rows]
    return [reader.books.of(s, None, name, field, field, d) for s, d in zip(slices, dates, strict=True)]
