"""Small tables and names for the examples of the operation table.

An example is a whole request that works as it stands: on the loaded model, whose names take the place of `SYMBOLS`, or
with a table in it. What changes a model changes `example`, which the example of creating makes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

MODEL = "example"
JOB = "recompute-example"
SYMBOLS = ("S0000", "S0001", "S0002")
"""Names of the sample market; they stand for the first names of whatever model is loaded."""
WEIGHTS = dict(zip(SYMBOLS, (0.5, 0.3, 0.2), strict=True))

_NAMES = ("A", "B", "C", "D", "E", "F")
LONG = tuple(f"2024-01-{day:02d}" for day in range(2, 32))
SHORT = LONG[-6:]
_PERIOD = 7


def table(dates: Sequence[str], **columns: Any) -> dict[str, list[Any]]:
    """Make a table of every date and name; each column is a function of the date's and the name's number."""
    rows = [(t, i) for t in range(len(dates)) for i in range(len(_NAMES))]
    out: dict[str, list[Any]] = {"date": [dates[t] for t, _ in rows], "symbol": [_NAMES[i] for _, i in rows]}
    return out | {name: [value(t, i) for t, i in rows] for name, value in columns.items()}


def wave(t: int, i: int) -> float:
    """Numbers that repeat, so that they are the same everywhere, and differ between dates and names."""
    return ((t * 5 + i * 3 + t * i) % _PERIOD - _PERIOD // 2) / 1000


def caps(t: int, i: int) -> float:
    """Caps that differ between names and grow a little."""
    return 1e9 * (i + 1) + 1e6 * t


def ratio(t: int, i: int) -> float:
    """Ratios of a fundamental to the price."""
    return round(0.5 + 0.1 * i + wave(i, t), 4)


FUNDAMENTALS = {"book_price": ratio, "sales_price": ratio, "cf_price": ratio}
FEATURES = {
    "asset_returns": wave,
    "market_cap": caps,
    "sector": lambda _t, i: ("Energy", "Utilities")[i % 2],
    **FUNDAMENTALS,
}
SECTORS = {"Energy": lambda _t, i: 1 - i % 2, "Utilities": lambda _t, i: i % 2}
STYLES = {"mom_score": lambda t, i: 100 * wave(t, i), "sze_score": lambda t, i: 100 * wave(i, t)}


def with_names(example: Any, symbols: Sequence[str]) -> Any:
    """Give an example with the names of a loaded model in the place of `SYMBOLS`; fewer names, fewer entries."""
    names: dict[Any, str | None] = {**dict.fromkeys(SYMBOLS), **dict(zip(SYMBOLS, symbols, strict=False))}

    def named(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {names.get(key, key): named(item) for key, item in value.items() if names.get(key, key) is not None}
        if isinstance(value, list | tuple):
            return [named(item) for item in value if not isinstance(item, str) or names.get(item, item) is not None]
        return names.get(value, value) if isinstance(value, str) else value

    return named(example)
