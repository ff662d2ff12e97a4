"""Tables as HTML for a notebook: numbers aligned, what is missing a dash, every text escaped."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import polars as pl

MOST_ROWS = 20
MOST_COLUMNS = 12
CELL = "padding:.2em .8em;text-align:{side};font-variant-numeric:tabular-nums"


def of_frame(frame: pl.DataFrame, caption: str = "", forms: Mapping[str, str] | None = None) -> str:
    """Give a frame as a table; `forms` has Python's format of a column, such as ``{"share": ".1%"}``."""
    return of_rows(
        frame.columns, frame.head(MOST_ROWS).rows(), caption, forms, n_rows=frame.height
    )  # fmt: skip


def of_rows(
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    caption: str = "",
    forms: Mapping[str, str] | None = None,
    *,
    n_rows: int | None = None,
) -> str:
    """Give rows as a table, cut after `MOST_ROWS` and `MOST_COLUMNS`, which says how much is left.

    Parameters
    ----------
    columns
        Names; a column is aligned to the right when all that it shows are numbers.
    rows
        Cells of each.
    caption
        A line above the table.
    forms
        Python's format of columns.
    n_rows
        How many rows there are, where `rows` are the first of them.
    """
    names = list(columns)[:MOST_COLUMNS]
    shown = [list(row)[: len(names)] for row in rows[:MOST_ROWS]]
    sides = ["right" if all(_is_number(row[n]) for row in shown) and shown else "left" for n in range(len(names))]
    head = "".join(_cell("th", escape(name), side) for name, side in zip(names, sides, strict=True))
    body = "".join(
        "<tr>"
        + "".join(_cell("td", escape(text(cell, (forms or {}).get(name))), side)
                  for name, cell, side in zip(names, row, sides, strict=True))
        + "</tr>"
        for row in shown
    )  # fmt: skip
    left = []
    total = len(rows) if n_rows is None else n_rows
    if total > len(shown):
        left.append(f"{total - len(shown)} more rows")
    if len(columns) > len(names):
        left.append(f"{len(columns) - len(names)} more columns")
    note = f"<p><small>and {' and '.join(left)}: to_polars() has all</small></p>" if left else ""
    above = f"<p><b>{escape(caption)}</b></p>" if caption else ""
    return f"<div>{above}<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{note}</div>"


def of_pairs(pairs: Mapping[str, Any], caption: str = "") -> str:
    """Give names and values as a table of two columns."""
    return of_rows(("", ""), list(pairs.items()), caption) if pairs else f"<p><b>{escape(caption)}</b></p>"


def text(value: Any, form: str | None = None) -> str:
    """Write a cell: a dash for what is missing, six digits of a number unless `form` says otherwise."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    if isinstance(value, list | tuple):
        return "; ".join(text(one) for one in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return format(value, form or (".6g" if isinstance(value, float) else "d"))
    return str(value)


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _cell(tag: str, inner: str, side: str) -> str:
    return f'<{tag} style="{CELL.format(side=side)}">{inner}</{tag}>'
