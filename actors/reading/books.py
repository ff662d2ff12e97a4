"""Books: a request's portfolio as positions of a slice, by its weights or by name, looked through, with cash."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from actors.reading.slices import Slice, caps_name, unknown_symbols
from contracts.errors import InvalidInput
from store import PortfolioStore

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
    """

    columns: np.ndarray
    weights: np.ndarray
    name: str | None = None
    version: int | None = None
    cash: Mapping[str, float] = MappingProxyType({})
    warnings: tuple[str, ...] = ()

    def told(self) -> dict[str, object]:
        """Give what an answer says of it, where there is something to say."""
        out: dict[str, object] = {}
        if self.version is not None:
            out["portfolio_version"] = self.version
        if self.cash:
            out["cash"] = dict(self.cash)
        if self.warnings:
            out["warnings"] = list(self.warnings)
        return out

    def told_as_benchmark(self) -> dict[str, object]:
        """Give the same of a benchmark, under names that say so."""
        return {f"benchmark_{name.removeprefix('portfolio_')}": value for name, value in self.told().items()}


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

    def _stored(self, found: Slice, name: str, name_field: str, on: str) -> Book:
        kept = self.store.get(name)
        shares = self._shares(found, dict(kept.on(on).positions), kept.kind, name_field)
        flat, cash = self._flat(found, shares, name_field, (name,))
        columns, held = found.holdings(flat, name_field) if flat else _nothing()
        return Book(columns, held, name, kept.version, cash, _slips(held, cash))

    def _flat(
        self, found: Slice, positions: Mapping[str, float], field_name: str, inside: tuple[str, ...]
    ) -> tuple[dict[str, float], dict[str, float]]:
        """Split positions in names of the model and money; books inside are looked through."""
        flat: dict[str, float] = {}
        cash: dict[str, float] = {}
        wrong = []
        for symbol, weight in positions.items():
            if symbol in found.column:
                flat[symbol] = flat.get(symbol, 0.0) + weight
            elif symbol.startswith(PREFIX):
                inner, money = self._inner(found, symbol.removeprefix(PREFIX), field_name, inside)
                for one, share in inner.items():
                    flat[one] = flat.get(one, 0.0) + weight * share
                for code, share in money.items():
                    cash[code] = cash.get(code, 0.0) + weight * share
            elif symbol in CASH:
                cash[symbol] = cash.get(symbol, 0.0) + weight
            else:
                wrong.append(symbol)
        if wrong:
            raise unknown_symbols(wrong, {}, found.model_id, field_name)
        return flat, cash

    def _inner(
        self, found: Slice, name: str, field_name: str, inside: tuple[str, ...]
    ) -> tuple[dict[str, float], dict[str, float]]:
        if name in RESERVED:
            book = self._reserved(found, name)
            return {found.symbols[i]: float(w) for i, w in zip(book.columns, book.weights, strict=True)}, {}
        if name in inside or len(inside) >= DEEPEST:
            chain = " -> ".join((*inside, name))
            raise InvalidInput(f"the book holds itself, or books inside books too deep: {chain}", field=field_name)
        kept = self.store.get(name)
        shares = self._shares(found, dict(kept.on(found.date_text).positions), kept.kind, field_name)
        return self._flat(found, shares, field_name, (*inside, name))

    def _shares(self, found: Slice, positions: dict[str, float], kind: str, field_name: str) -> dict[str, float]:
        """Turn values in money, or numbers of shares, into shares of the book's value."""
        if kind == "weights":
            return positions
        if kind == "shares":
            positions = self._valued(found, positions, field_name)
        total = sum(positions.values())
        if not total > 0.0:
            raise InvalidInput(
                f"the book's values sum to {total:g}: give weights for a book without own value",
                field=field_name,
            )
        return {symbol: value / total for symbol, value in positions.items()}

    @staticmethod
    def _valued(found: Slice, positions: dict[str, float], field_name: str) -> dict[str, float]:
        version = found.version
        if "close" not in version.manifest.meta["fields"]:
            raise InvalidInput("holdings in shares need the model's field close", field=field_name)
        prices = np.asarray(version.day_asset("fields/close", slice(found.row, found.row + 1))[0])
        unpriced = [s for s in positions if s in found.column and not prices[found.column[s]] > 0.0]
        inner = [s for s in positions if s.startswith(PREFIX)]
        if unpriced or inner:
            raise InvalidInput(
                f"no price on {found.date_text} for {', '.join((unpriced + inner)[:10])}",
                field=field_name,
                rows=unpriced + inner,
            )
        return {s: n * (float(prices[found.column[s]]) if s in found.column else 1.0) for s, n in positions.items()}

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
