"""Corrections: rows of past days replaced by those of a vendor who thought again."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from factors.errors import FactorError, UnknownDateError
from factors.panel.actions import MADE, RAW, made_of
from factors.panel.axis import now_called, positions
from factors.panel.meaning import RELEASE
from factors.panel.memberships import SHARES, known_labels
from factors.panel.panel import Categories, Panel
from factors.panel.statements import as_rows_have_it

T = TypeVar("T", bound=np.generic)
ROW = "__row"
"""A field that marks which rows a table has: a row of nothing but nulls is one too."""


def as_given(panel: Panel, made: Collection[str] | None = None) -> Panel:
    """Give a panel as it came: raw prices, volumes and shares under their names, and nothing that was made of them.

    Parameters
    ----------
    panel : Panel
    made : names of fields, optional
        Those of `MADE` that the table did not have. Where that is not known, those that are what would be made: this
        gives the right numbers as long as nothing that they were made of is corrected.
    """
    panel = as_rows_have_it(panel)
    raw = {name: panel.fields[other] for name, other in RAW.items() if other in panel.fields}
    if not raw:
        return panel
    fields = {name: values for name, values in panel.fields.items() if name not in RAW.values()} | raw
    again = made_of({name: values for name, values in fields.items() if name not in MADE}, MADE)
    for name in MADE:
        known = made is not None and name in made
        alike = made is None and name in fields and name in again and _same(fields[name], again[name])
        if known or alike:
            fields.pop(name, None)
    return replace(panel, fields=fields)


def corrected(panel: Panel, rows: Panel) -> tuple[Panel, int]:
    """Replace rows of a panel.

    Parameters
    ----------
    panel : Panel
    rows : Panel
        Some fields and categories of the panel, and `ROW`, which is 1 where there is a row. A missing value of a column
        that the rows have makes the value missing; columns that they do not have stay.

    Returns
    -------
    panel : Panel
    changed : int
        Rows that were not so before.

    Raises
    ------
    UnknownDateError
        A date that the panel does not have.
    FactorError
        A column or label that the panel does not have, or a symbol.
    """
    row = np.searchsorted(panel.dates, rows.dates)
    known = np.isin(rows.dates, panel.dates)
    if not known.all():
        raise UnknownDateError(
            f"{rows.dates[~known][0]} is no date of the model: days are added by an append, not by a correction",
            field="date",
            n_rows=int((~known).sum()),
        )
    position = positions(panel.symbols)
    strange = [symbol for symbol in rows.symbols if symbol not in position]
    if strange:
        message = f"the model has no symbol {strange[0]!r}{now_called(strange[:1], panel.former)}"
        raise FactorError(message, field="symbol", n_rows=len(strange))
    there = ~np.isnan(rows.fields[ROW])
    at_row, at_column = np.nonzero(there)
    cells = row[at_row], np.array([position[symbol] for symbol in rows.symbols], dtype=np.intp)[at_column]
    changed = np.zeros(len(at_row), dtype=np.bool_)
    fields, categories = dict(panel.fields), dict(panel.categories)
    for name in [name for name in rows.fields if name != ROW]:
        if name not in fields:
            if name == RELEASE:
                message = "statements of the model do not count from a release: it was made without one"
                raise FactorError(message, field="available_at")
            raise FactorError(f"the model has no field {name!r}", field=name)
        fields[name] = _replaced(fields[name], cells, rows.fields[name][there], changed)
    for name, category in rows.categories.items():
        if name not in categories:
            raise FactorError(f"the model has no category {name!r}", field=name)
        words = categories[name].names
        new = [word for word in category.names if word not in words]
        if name == SHARES:
            new = [word for word in new if not known_labels([word], panel.categories["sector"].names)]
            words += tuple(word for word in category.names if word not in words and word not in new)
        if new:
            raise FactorError(f"{new[0]!r} is no {name} of the model: make the model anew with it", field=name)
        codes = _replaced(categories[name].codes, cells, category.renamed(words)[there], changed)
        categories[name] = Categories(codes, words)
    if SHARES in categories and "sector" in rows.categories and SHARES not in rows.categories:
        none = np.full(len(at_row), -1, dtype=np.int16)  # the rows are of one sector each
        codes = _replaced(categories[SHARES].codes, cells, none, changed)
        categories[SHARES] = Categories(codes, categories[SHARES].names)
    return replace(panel, fields=fields, categories=categories), int(changed.sum())


def _replaced(
    values: NDArray[T], cells: tuple[NDArray[np.intp], NDArray[np.intp]], new: NDArray[T], changed: NDArray[np.bool_]
) -> NDArray[T]:
    out = np.array(values)
    before = out[cells]
    differ = before != new
    if new.dtype.kind == "f":
        differ &= ~(np.isnan(before) & np.isnan(new))
    changed |= differ
    out[cells] = new
    return out


def _same(one: NDArray[np.float64], other: NDArray[np.float64]) -> bool:
    return np.array_equal(one, other, equal_nan=True)
