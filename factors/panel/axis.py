"""Positions on the asset axis."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

Former = Sequence[tuple[str, str]]
"""Symbols that names had before, and what these names are called now."""


def positions(symbols: Iterable[str]) -> dict[str, int]:
    """Give the position of each name on an axis of names."""
    return {symbol: column for column, symbol in enumerate(symbols)}


def now_called(symbols: Iterable[str], former: Former) -> str:
    """Give a clause for an error about symbols that are not on an axis: what names that were called so are called now.

    Empty where no name was called so.
    """
    called: dict[str, list[str]] = {}
    for before, now in former:
        if now not in called.setdefault(before, []):
            called[before].append(now)
    said = [f"{one!r} is called {' or '.join(map(repr, called[one]))} now" for one in symbols if one in called]
    return f": {'; '.join(said)} (by its asset_id)" if said else ""
