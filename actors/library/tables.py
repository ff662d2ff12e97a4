"""The library's values of a day as Arrow tables that fit into bus messages."""

from __future__ import annotations

import numpy as np
import polars as pl

from actors.library.day import LibraryDay
from contracts.frames import encode

TABLE_BYTES = 800_000
"""Of numbers in one table; with names and framing it stays below the 1 MiB that a NATS server takes by default."""
TABLES_MOST = 64
"""A day of more tables is announced without its values: they are read by request then."""


def value_tables(day: LibraryDay) -> list[bytes]:
    """Write a day's values as Arrow IPC streams: date, symbol, and a column for each of some factors.

    Returns
    -------
    list of bytes
        Empty when the day is too large to be sent.
    """
    each = TABLE_BYTES // max(8 * len(day.symbols), 1) - 3
    if each < 1 or -(-len(day.ids) // each) > TABLES_MOST:
        return []
    dates = pl.Series("date", np.full(len(day.symbols), day.date))
    symbols = pl.Series("symbol", day.symbols, dtype=pl.String)
    tables = []
    for first in range(0, len(day.ids), each):
        columns = [
            pl.Series(name, day.values[first + i], nan_to_null=False)
            for i, name in enumerate(day.ids[first : first + each])
        ]
        tables.append(encode(pl.DataFrame([dates, symbols, *columns])))
    return tables
