"""Answers as tables: what in an answer is one, in any of the shapes that answers have."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import polars as pl

OUTER = ("calculation_result", "factor_values")
"""Objects around what was calculated, which the names of its parts leave out."""


class Table(NamedTuple):
    """A table inside an answer.

    Parameters
    ----------
    parts
        The names that it has in the answer; several where they say something of the same names, a column each.
    columns
        Names of the columns.
    rows
        Cells.
    """

    parts: tuple[str, ...]
    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]

    @property
    def size(self) -> int:
        """Cells."""
        return len(self.rows) * len(self.columns)


def cells(value: Any) -> tuple[tuple[str, ...] | None, list[tuple[Any, ...]]]:
    """Give columns and rows of what is a table in one of the shapes of answers; columns None where it is none.

    The shapes: name to number; name to an object of numbers; a list of objects; columns of equal length.
    """
    if isinstance(value, Mapping) and value:
        inner = list(value.values())
        if all(isinstance(one, int | float | str | None) for one in inner):
            ordered = list(value.items())
            if all(isinstance(one, int | float) for one in inner):
                ordered.sort(key=lambda pair: -abs(pair[1]))
            return ("name", "value"), ordered
        if all(isinstance(one, Mapping) and _flat(one.values()) for one in inner):
            names = tuple(dict.fromkeys(name for one in inner for name in one))
            return ("name", *names), [(key, *(one.get(name) for name in names)) for key, one in value.items()]
        if all(isinstance(one, list | tuple) and one and _flat(one) for one in inner) and len({*map(len, inner)}) == 1:
            return tuple(value), list(zip(*inner, strict=True))
    if isinstance(value, Sequence) and not isinstance(value, str) and value:
        if all(isinstance(one, Mapping) for one in value):
            names = tuple(dict.fromkeys(name for one in value for name in one))
            return names, [tuple(one.get(name) for name in names) for one in value]
        if all(isinstance(one, list | tuple) and _flat(one) for one in value):
            return tuple(str(n) for n in range(len(value[0]))), [tuple(one) for one in value]
    return None, []


def _flat(values: Any) -> bool:
    return all(isinstance(one, int | float | str | None) for one in values)


def table_of(answer: Mapping[str, Any]) -> tuple[str, tuple[str, ...], list[tuple[Any, ...]]] | None:
    """Give name, columns and rows of the largest table in an answer; None without one."""
    best: tuple[str, tuple[str, ...], list[tuple[Any, ...]]] | None = None
    waiting: list[tuple[str, Any]] = list(answer.items())
    while waiting:
        name, value = waiting.pop()
        columns, rows = cells(value)
        if columns is not None and (best is None or len(rows) * len(columns) > len(best[1]) * len(best[2])):
            best = (name, columns, rows)
        if columns is None and isinstance(value, Mapping):
            waiting += [(key, one) for key, one in value.items() if isinstance(one, Mapping | list | tuple)]
    return best


def tables_of(answer: Mapping[str, Any], above: str = "") -> list[Table]:
    """Give every table in an answer, in its order; below another object a table's name is ``object.name``.

    Objects beside each other that give a number to the same names are one table with a column of each.
    """
    found: list[Table] = []
    alike: dict[frozenset[str], list[str]] = {}
    for name, value in answer.items():
        if name == OUTER[0] and isinstance(value, Mapping):
            found += tables_of(value, above)  # how it was calculated is no table
            continue
        if isinstance(value, Mapping) and value and all(isinstance(one, int | float | None) for one in value.values()):
            alike.setdefault(frozenset(value), []).append(name)
            if len(alike[frozenset(value)]) > 1:
                continue
        columns, rows = cells(value)
        if columns is not None:
            found.append(Table((f"{above}{name}",), columns, rows))
        elif isinstance(value, Mapping):
            found += tables_of(value, above if name in OUTER else f"{above}{name}.")
    for together in alike.values():
        at = next(n for n, one in enumerate(found) if one.parts == (f"{above}{together[0]}",))
        if len(together) > 1:
            made = [(name, *(answer[part][name] for part in together)) for name in answer[together[0]]]
            found[at] = Table(tuple(f"{above}{part}" for part in together), ("name", *together), made)
    return found


def to_frame(columns: Sequence[str], rows: Sequence[Sequence[Any]], numbers: Collection[str] = ()) -> pl.DataFrame:
    """Give a table as a polars frame: numbers, texts, lists of texts, and JSON of all else; null where missing.

    A column without any value is one of texts, unless it is among the `numbers`.
    """
    import polars as pl

    made = []
    for n, name in enumerate(columns):
        values = [row[n] for row in rows]
        known = [value for value in values if value is not None]
        if all(isinstance(value, bool) for value in known) and known:
            made.append(pl.Series(name, values, dtype=pl.Boolean))
        elif all(isinstance(value, int) and not isinstance(value, bool) for value in known) and known:
            made.append(pl.Series(name, values, dtype=pl.Int64))
        elif all(isinstance(value, int | float) for value in known) and (known or name in numbers):
            made.append(pl.Series(name, values, dtype=pl.Float64))
        elif known and all(isinstance(value, list) and all(isinstance(one, str) for one in value) for value in known):
            made.append(pl.Series(name, values, dtype=pl.List(pl.String)))
        else:
            texts = [value if isinstance(value, str | None) else json.dumps(value, default=str) for value in values]
            made.append(pl.Series(name, texts, dtype=pl.String))
    return pl.DataFrame(made)
