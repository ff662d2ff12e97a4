"""Answers as tables: for people with rich, for files as one frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from clients.tables import cells

if TYPE_CHECKING:
    from contracts.operations import Operation

MOST_ROWS = 40
MOST_COLUMNS = 10
SHORT = 3
"""A list inside a cell shows so many of its parts."""
QUIET = {"success", "message", "timings_ms", "calculation_id", "messagebus_published"}
"""What nobody looks at twice; `--json` has everything."""


# Values of these shapes have their names beside them, or in a list of their own: by themselves they would be nameless.
NAMELESS = ("square", "risk_model", "history", "series", "forms")


def laid_out(answer: Mapping[str, Any], row: Operation | None) -> Mapping[str, Any]:
    """Give an answer whose values are rows with their names, where its operation says how; figures stay beside them."""
    calculation = answer.get("calculation_result")
    if row is None or not row.table or row.table[0] not in NAMELESS or not isinstance(calculation, Mapping):
        return answer
    from contracts.answer_table import columns_of

    values = calculation.get(row.values)
    try:
        columns = columns_of(calculation, values, *row.table)
    except (KeyError, TypeError):
        return answer  # the table is of what was not asked for, such as a history
    rows = [dict(zip(columns, one, strict=True)) for one in zip(*columns.values(), strict=True)]
    if row.table[0] == "history":
        return {**answer, "calculation_result": {**calculation, "history": rows}}
    figures = values.items() if isinstance(values, Mapping) else ()
    beside = {name: value for name, value in figures if not isinstance(value, Mapping | list | tuple)}
    return {**answer, "calculation_result": {**calculation, **beside, row.values: rows}}


def show(console: Console, answer: Mapping[str, Any]) -> None:
    """Print an answer."""
    body = answer.get("calculation_result")
    if not isinstance(body, Mapping):
        body = answer
    console.print(_object({name: value for name, value in body.items() if name not in QUIET}))


def _object(body: Mapping[str, Any]) -> Group:
    """Scalars first, side by side with their names; then a table for each thing that is made of more."""
    small = {name: value for name, value in body.items() if not isinstance(value, Mapping | list | tuple)}
    parts: list[Any] = []
    if small:
        parts.append(_grid([(name, _cell(value)) for name, value in small.items() if value is not None], ()))
    for name, value in body.items():
        if name in small or not value:
            continue
        parts += [Text(f"\n{name}", style="bold"), _part(value)]
    return Group(*parts)


def _part(value: Any) -> Any:
    columns, rows = cells(value)
    if columns is None:
        return _object(value) if isinstance(value, Mapping) else Text(", ".join(map(_cell, value)))
    cut = [row[:MOST_COLUMNS] for row in rows[:MOST_ROWS]]
    grid = _grid([tuple(_cell(one) for one in row) for row in cut], columns[:MOST_COLUMNS])
    left = []
    if len(rows) > MOST_ROWS:
        left.append(f"{len(rows) - MOST_ROWS} more rows")
    if len(columns) > MOST_COLUMNS:
        left.append(f"{len(columns) - MOST_COLUMNS} more columns")
    return Group(grid, Text(f"and {', '.join(left)}: --json or --arrow has all", style="dim")) if left else grid


def _grid(rows: Sequence[Sequence[str]], columns: Sequence[str]) -> Table:
    table = Table(box=None, pad_edge=False, show_header=bool(columns), header_style="bold", padding=(0, 2, 0, 0))
    width = len(columns) or 2
    for n in range(width):
        right = bool(rows) and bool(columns) and all(_is_number(row[n]) for row in rows)
        table.add_column(columns[n] if columns else "", overflow="fold", justify="right" if right else "left")
    for row in rows:
        table.add_row(*(Text(one) for one in row))
    return table


def _is_number(text: str) -> bool:
    return text == "-" or text.lstrip("+-").replace(".", "", 1).replace("e-", "", 1).replace("e+", "", 1).isdigit()


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return _cell([f"{name}={_cell(one)}" for name, one in value.items()])
    if isinstance(value, list | tuple) and len(value) > SHORT:
        return f"{len(value)}: {', '.join(map(_cell, value[:SHORT]))}, ..."
    if isinstance(value, list | tuple):
        return ", ".join(map(_cell, value))
    if isinstance(value, float):  # six digits, or all before the point: a time in seconds has ten
        return f"{value:.0f}" if 1e6 <= abs(value) < 1e15 else f"{value:.6g}"
    return str(value)
