"""The library's values of a day as Arrow tables that fit into bus messages."""

from __future__ import annotations

import threading

from actors.library.day import LibraryDay
from contracts.arrow_table import TableShape
from store import LRU

TABLE_BYTES = 800_000
"""Of numbers in one table; with names and framing it stays below the 1 MiB that a NATS server takes by default."""
TABLES_MOST = 64
"""A day of more tables is announced without its values: they are read by request then."""
SHAPES_KEPT = 2
"""Models whose tables' shapes are kept, each as large as a day's tables."""


class ValueTables:
    """Writes days; the shape of a model's tables is made once for its names and factors."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._shapes: LRU[tuple[tuple[str, ...], tuple[str, ...]], list[tuple[int, int, TableShape]]] = LRU(SHAPES_KEPT)

    def write(self, day: LibraryDay) -> list[bytes]:
        """Write a day's values as Arrow IPC streams: date, symbol, and a column for each of some factors.

        Returns
        -------
        list of bytes
            Empty when the day is too large to be sent.
        """
        with self._lock:
            shapes = self._shapes.get_or_make((day.ids, tuple(day.symbols)), lambda: _shapes(day))
        return [shape.write(day.values[first:last], day.date) for first, last, shape in shapes]


def _shapes(day: LibraryDay) -> list[tuple[int, int, TableShape]]:
    each = TABLE_BYTES // max(8 * len(day.symbols), 1) - 3
    if each < 1 or -(-len(day.ids) // each) > TABLES_MOST:
        return []
    texts = {"symbol": day.symbols}
    return [
        (first, min(first + each, len(day.ids)), TableShape(texts, ("date",), day.ids[first : first + each]))
        for first in range(0, len(day.ids), each)
    ]
