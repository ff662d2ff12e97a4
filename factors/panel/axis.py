"""Positions on the asset axis."""

from __future__ import annotations

from collections.abc import Iterable


def positions(symbols: Iterable[str]) -> dict[str, int]:
    """Give the position of each name on an axis of names."""
    return {symbol: column for column, symbol in enumerate(symbols)}
