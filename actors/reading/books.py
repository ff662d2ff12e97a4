"""Books: a request's portfolio as positions of a slice, by its weights or by name, looked through, with cash."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from actors.reading.share_prices import of_a_share_of
from actors.reading.slices import Slice, caps_name, unknown_symbols
from actors.reading.unknown import alike
from contracts.errors import InvalidInput, UnknownPortfolio
from store import Holdings, Portfolio, PortfolioStore, Version

RESERVED = ("market", "equal")
"""Books that every model has: its estimation universe by capitalisation, and in equal parts."""
PREFIX = "portfolio:"
DEEPEST = 8
CASH = frozenset(
    {
        *(
            "CASH",
            "AUD",
            "BRL",
            "CAD",
            "CHF",
            "CNH",
            "CNY",
            "CZK",
            "DKK",
            "EUR",
            "GBP",
            "HKD",
            "HUF",
            "IDR",
            "ILS",
            "INR",
        ),
        *("JPY", "KRW", "MXN", "MYR", "NOK", "NZD", "PHP", "PLN", "SEK", "SGD", "THB", "TRY", "TWD", "USD", "ZAR"),
    }
)
"""Symbols that are money unless the model has a name that is called so: no exposure, no risk."""
PERCENT_FROM, MONEY_FROM = 50.0, 1000.0
PRICE_DAYS = 63
"""How far back the last price of a name is looked for."""


class Book(NamedTuple):
    """A portfolio on the asset axis of a slice.

    Attributes
    ----------
    columns
        Positions of the names that are held, [n_holdings].
    weights
        Their shares of the book's value, [n_holdings].
    name
        Of a stored book, or None.
    version
        Of a stored book.
    cash
        Money code: share.
    warnings
        What looks like a slip.
    held_on
        Date of the holdings of a stored book; None where they have none.
    """

    columns: np.ndarray
    weights: np.ndarray
    name: str | None = None
    version: int | None = None
    cash: Mapping[str, float] = MappingProxyType({})
    warnings: tuple[str, ...] = ()
    held_on: str | None = None

    def on(self, columns: np.ndarray) -> np.ndarray:
        """Give the weights on other columns, ascending, which hold the book's own; 0 where nothing is held."""
        out = np.zeros(len(columns))
        np.add.at(out, np.searchsorted(columns, self.columns), self.weights)
        return out

    def told(self) -> dict[str, object]:
        """Give what an answer says of it, where there is something to say."""
        out: dict[str, object] = {}
        if self.version is not None:
            out["portfolio_version"] = self.version
        if self.held_on is not None:
            out["holdings_date"] = self.held_on
        if self.cash:
            out["cash"] = dict(self.cash)
        if self.warnings:
            out["warnings"] = list(self.warnings)
        return out

    def told_as_benchmark(self) -> dict[str, object]:
        """Give the same of a benchmark, under names that say so."""
        return {f"benchmark_{name.removeprefix('portfolio_')}": value for name, value in self.told().items()}


class Setting(NamedTuple):
    """What a book is set to at a close, books inside it not looked through.

    Attributes
    ----------
    columns, weights
        Positions of the names that are held, and their shares of the book's value, [n_holdings].
    funds
        Books inside: their shares.
    cash
        Money code: share.
    """

    columns: np.ndarray
    weights: np.ndarray
    funds: Mapping[str, float] = MappingProxyType({})
    cash: Mapping[str, float] = MappingProxyType({})


class Books:
    """Finds books by name and puts them on a slice's axis.

    Parameters
    ----------
    store
        Of portfolios.
    """

    def __init__(self, store: PortfolioStore) -> None:
        self.store = store

    def of(
        self,
        found: Slice,
        weights: Mapping[str, float] | None,
        name: str | None,
        field_name: str = "portfolio_weights",
        name_field: str = "portfolio_id",
        on: str | None = None,
    ) -> Book:
        """Give a book by its weights, or else by its name, with its holdings of a date (default: the slice's).

        Raises
        ------
        UnknownSymbol
            Names that neither the model nor money knows.
        UnknownPortfolio
            No book of that name.
        InvalidInput
            Values that sum to nothing, shares without prices, books inside each other in a circle.
        """
        if weights is not None:
            try:
                columns, held = found.holdings(weights, field_name)
            except InvalidInput:  # money, or a book inside; or an unknown name, which this says again
                flat, cash = self._flat(found, weights, field_name, ())
                columns, held = found.holdings(flat, field_name) if flat else _nothing()
            else:
                cash = {}
            return Book(columns, held, None, None, cash, _slips(held, cash))
        assert name is not None
        if name in RESERVED:
            return self._reserved(found, name)
        return self._stored(found, name, name_field, on or found.date_text)

    def kept(self, name: str, field: str) -> Portfolio:
        """Open a stored book; raises `UnknownPortfolio` about the field that names it."""
        try:
            return self.store.get(name)
        except UnknownPortfolio as error:
            meant = alike(name, [*self.store.ids(), *RESERVED])
            raise UnknownPortfolio(f"{error.detail}{meant}", field=field) from None

    def _stored(self, found: Slice, name: str, name_field: str, on: str) -> Book:
        kept = self.kept(name, name_field)
        holdings = kept.on(on)
        shares = self._shares(found, holdings, kept.kind, name_field)
        flat, cash = self._flat(found, shares, name_field, (name,))
        columns, held = found.holdings(flat, name_field) if flat else _nothing()
        warnings = _slips(held, cash)
        if holdings.date is not None and holdings.date > on:
            warnings += (f"{name!r} has no holdings up to {on}: those of {holdings.date} stand for them",)
        return Book(columns, held, name, kept.version, cash, warnings, holdings.date)

    def setting(
        self,
        found: Slice,
        weights: Mapping[str, float] | None,
        name: str | None,
        field_name: str,
        on: str | None = None,
    ) -> Setting:
        """Give what a book, by its weights or else of the store, is set to with its holdings of a date.

        Raises
        ------
        UnknownSymbol, UnknownPortfolio, InvalidInput
            As `of`; books inside are not opened.
        """
        if weights is None:
            assert name is not None
            kept = self.kept(name, field_name)
            weights = self._shares(found, kept.on(on or found.date_text), kept.kind, field_name)
        names, funds, cash = self._split(found, weights, field_name)
        columns, held = found.holdings(names, field_name) if names else _nothing()
        return Setting(columns, held, funds, cash)

    def _split(
        self, found: Slice, positions: Mapping[str, float], field_name: str
    ) -> tuple[dict[str, float], dict[str, float], dict[str, float]]:
        """Split positions in names of the model, books inside by their names, and money."""
        names: dict[str, float] = {}
        funds: dict[str, float] = {}
        cash: dict[str, float] = {}
        wrong = []
        for symbol, weight in positions.items():
            if symbol in found.column:
                names[symbol] = weight
            elif symbol.startswith(PREFIX):
                funds[symbol.removeprefix(PREFIX)] = weight
            elif symbol in CASH:
                cash[symbol] = weight
            else:
                wrong.append(symbol)
        if wrong:
            raise unknown_symbols(wrong, found.version, field_name)
        return names, funds, cash

    def _flat(
        self, found: Slice, positions: Mapping[str, float], field_name: str, inside: tuple[str, ...]
    ) -> tuple[dict[str, float], dict[str, float]]:
        """Split positions in names of the model and money; books inside are looked through."""
        flat, funds, cash = self._split(found, positions, field_name)
        for fund, weight in funds.items():
            inner, money = self._inner(found, fund, field_name, inside)
            for one, share in inner.items():
                flat[one] = flat.get(one, 0.0) + weight * share
            for code, share in money.items():
                cash[code] = cash.get(code, 0.0) + weight * share
        return flat, cash

    def _inner(
        self, found: Slice, name: str, field_name: str, inside: tuple[str, ...]
    ) -> tuple[dict[str, float], dict[str, float]]:
        if name in RESERVED:
            book = self._reserved(found, name)
            return {found.symbols[i]: float(w) for i, w in zip(book.columns, book.weights, strict=True)}, {}
        below = deeper(inside, name, field_name)
        kept = self.kept(name, field_name)
        shares = self._shares(found, kept.on(found.date_text), kept.kind, field_name)
        return self._flat(found, shares, field_name, below)

    def _shares(self, found: Slice, holdings: Holdings, kind: str, field_name: str) -> Mapping[str, float]:
        """Turn values in money, or numbers of shares, into shares of the book's value."""
        positions = holdings.positions
        if kind == "weights":
            return positions
        if kind == "shares":
            return self._priced(found, holdings, slice(found.row, found.row + 1), field_name)[0]
        return _of_whole(positions, field_name)

    def by_shares(self, found: Slice, holdings: Holdings, days: slice, field_name: str) -> list[Setting]:
        """Give what numbers of shares are of the book's value at each close of a period; raises as `of`."""
        out = []
        for weights in self._priced(found, holdings, days, field_name):
            names, _, cash = self._split(found, weights, field_name)
            columns, held = found.holdings(names, field_name) if names else _nothing()
            out.append(Setting(columns, held, {}, cash))
        return out

    def _priced(self, found: Slice, holdings: Holdings, days: slice, field_name: str) -> list[dict[str, float]]:
        """Give the shares of the book's value that numbers of shares are at each close of a period.

        They are shares of their date, or, without one, of the model's last: splits since, or before, are in the price.
        On a day without a price it is the last one (of the 63 days before), else the next in the period.

        Raises
        ------
        InvalidInput
            The model has no prices; names without any, and books inside.
        """
        version, symbols = found.version, list(holdings.positions)
        if "close" not in version.manifest.meta["fields"]:
            raise InvalidInput("holdings in shares need the model's field close", field=field_name)
        inner = [s for s in symbols if s.startswith(PREFIX)]
        names = [s for s in symbols if s in found.column]
        columns = np.array([found.column[s] for s in names], np.intp)
        set_row = version.manifest.n_dates - 1
        if holdings.date is not None:
            set_row = max(version.rows_before(np.datetime64(holdings.date, "D"), through=True) - 1, 0)
        prices = _filled(version, "close", days, columns)
        if "raw_close" in version.manifest.meta["fields"]:
            at = slice(set_row, set_row + 1)
            prices = prices * (_filled(version, "raw_close", at, columns) / _filled(version, "close", at, columns))
        else:
            prices = prices * of_a_share_of(version, set_row, columns)
        unpriced = [names[int(i)] for i in np.flatnonzero(~(prices > 0.0).all(axis=0))]
        if unpriced or inner:
            raise InvalidInput(
                f"no price on {version.date(days.stop - 1)} for {', '.join((unpriced + inner)[:10])}",
                field=field_name,
                rows=unpriced + inner,
            )
        values = np.tile(np.array([*holdings.positions.values()], np.float64), (len(prices), 1))
        values[:, [i for i, s in enumerate(symbols) if s in found.column]] *= prices
        return [_of_whole(dict(zip(symbols, row, strict=True)), field_name) for row in values.tolist()]

    def reserved_daily(self, found: Slice, name: str, days: slice) -> tuple[np.ndarray, list[Book]]:
        """Give one of the books that every model has as it is at each close of a period: dates and books.

        By capitalisation it is the market itself, which moves with prices and is traded for what joins and leaves.
        """
        version = found.version
        members = np.asarray(version.day_asset("estimation", days)).astype(bool)
        every_cap = np.asarray(version.day_asset(caps_name(version), days))
        return version.dates_of(days), [_by_cap(m, caps, name) for m, caps in zip(members, every_cap, strict=True)]

    @staticmethod
    def _reserved(found: Slice, name: str) -> Book:
        """Give the estimation universe of the date, by capitalisation or in equal parts."""
        days = slice(found.row, found.row + 1)
        member = np.asarray(found.version.day_asset("estimation", days)[0]).astype(bool)
        return _by_cap(member, np.asarray(found.version.day_asset(caps_name(found.version), days)[0]), name)


def _by_cap(member: np.ndarray, caps: np.ndarray, name: str) -> Book:
    columns = np.flatnonzero(member & np.isfinite(caps) & (caps > 0.0))
    if name == "equal":
        return Book(columns, np.full(len(columns), 1.0 / max(len(columns), 1)), name)
    held = caps[columns]
    return Book(columns, held / held.sum() if len(columns) else held, name)


def deeper(inside: tuple[str, ...], name: str, field_name: str) -> tuple[str, ...]:
    """Give the chain of books down to one. Raises `InvalidInput` for a circle, and where it is too deep."""
    if name in inside or len(inside) >= DEEPEST:
        chain = " -> ".join((*inside, name))
        raise InvalidInput(f"the book holds itself, or books inside books too deep: {chain}", field=field_name)
    return (*inside, name)


def _of_whole(positions: Mapping[str, float], field_name: str) -> dict[str, float]:
    """Give values as shares of their sum."""
    total = sum(positions.values())
    if not total > 0.0:
        raise InvalidInput(
            f"the book's values sum to {total:g}: give weights for a book without own value",
            field=field_name,
        )
    return {symbol: value / total for symbol, value in positions.items()}


def _filled(version: Version, name: str, days: slice, columns: np.ndarray) -> np.ndarray:
    """Give a field of some names on some days, [n_days, n_columns]; a missing value is the last, else the next one."""
    first = max(days.start - PRICE_DAYS, 0)
    values = np.array(version.day_asset(f"fields/{name}", slice(first, days.stop), columns))
    for rows in (values, values[::-1]):
        known = rows > 0.0
        at = np.maximum.accumulate(np.where(known, np.arange(len(rows))[:, None], 0), axis=0)
        rows[:] = np.take_along_axis(rows, at, axis=0)
    return values[days.start - first :]


def _nothing() -> tuple[np.ndarray, np.ndarray]:
    return np.empty(0, np.intp), np.empty(0)


def _slips(weights: np.ndarray, cash: Mapping[str, float]) -> tuple[str, ...]:
    """Say when the sums of a book look like percent or money rather than shares of its value."""
    # The sum of n weights is at most the root of n times their squares: one product says of nearly every book that its
    # sums are small, and every answer comes by here.
    if not cash and len(weights) * float(weights @ weights) < PERCENT_FROM**2:
        return ()
    money = sum(cash.values())
    net, gross = float(weights.sum()) + money, float(np.abs(weights).sum()) + sum(map(abs, cash.values()))
    if gross >= MONEY_FROM:
        return (f"weights sum to {gross:g} gross, which looks like money: give shares of the book's value",)
    if gross >= PERCENT_FROM:
        said = f"{net:g}" if abs(net) >= PERCENT_FROM else f"{gross:g} gross"
        return (f"weights sum to {said}, which looks like percent: give shares of the book's value",)
    return ()
