"""What packed values of many names become at the face that reads an actor's answer; see `actors.reading.columns`.

Beside the errors and requests because every face unpacks answers, and without numpy because the bridge has none.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from math import isfinite
from typing import Any

Plain = dict[str, Any]


def named(names: Sequence[str], packed: bytes, n_missing: int) -> Plain:
    """Make the dictionary of a `Named`."""
    values: list[Any] = _unpacked(packed)
    if n_missing:
        values = [value if value == value else None for value in values]
    return dict(zip(names, values, strict=True))


def tabled(rows: Sequence[str], names: Sequence[str], packed: Sequence[bytes], whole: Sequence[bool]) -> Plain:
    """Make the dictionaries of a `Table`."""
    places = dict.fromkeys(names, 0.0)
    out = {}
    for row, part, complete in zip(rows, packed, whole, strict=True):
        values = _unpacked(part)
        if complete:
            # Filling a copy costs a third of making 3,000 keys anew; `strict` would double it.
            filled = places.copy()
            filled.update(zip(names, values, strict=False))
        else:
            filled = {name: value for name, value in zip(names, values, strict=False) if isfinite(value)}
        out[row] = filled
    return out


def listed(packed: bytes, width: int) -> list[list[float]]:
    """Make the list of a `Rows`."""
    values = _unpacked(packed)
    return [values[begin : begin + width] for begin in range(0, len(values), width)]


def _unpacked(packed: bytes) -> list[float]:
    return array("d", packed).tolist()
