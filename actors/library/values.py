"""Factors of any date of a stored model, computed over as many days as they need."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actors.library.day import LibraryDay
from actors.library.formulas import Formulas
from actors.reading.panels import whole_panel
from factors.library import Library
from factors.library.definitions.fields import LibraryFields, library_fields
from factors.library.run.begin import begin
from store import Version

TIERS = (70, 270, 530)
"""Factors that need about as many days are computed together: a quarter, a year, two years, and the rest."""


def library_day(formulas: Formulas, ids: tuple[str, ...], version: Version, row: int, threads: int) -> LibraryDay:
    """Compute factors of one date.

    The result is that of the whole history: each factor is given its look-back, recursive ones everything.
    """
    fields = library_fields(whole_panel(version))
    values = np.full((len(ids), len(version.symbols)), np.nan)
    position = {name: i for i, name in enumerate(ids)}
    for tier in tiers(formulas.library, ids):
        library = formulas.chosen(tier)
        days = slice(begin(library, fields.fields, row, row + 1), row + 1)
        values[[position[name] for name in tier]] = last_row(library, fields, version.dates, days, threads)
    return LibraryDay(
        ids, values, version, row, {name: np.asarray(codes[row]) for name, codes in fields.groups.items()}
    )


def window_values(
    formulas: Formulas, ids: tuple[str, ...], version: Version, end: int, n_days: int, threads: int
) -> tuple[NDArray[np.float64], dict[str, NDArray[Any]]]:
    """Compute factors of the days up to a row.

    Returns
    -------
    values : float64 [n_factors, n_days, n_assets]
    groups : dict of level to codes [n_days, n_assets]
    """
    fields = library_fields(whole_panel(version))
    values = np.full((len(ids), n_days, len(version.symbols)), np.nan)
    position = {name: i for i, name in enumerate(ids)}
    first = end + 1 - n_days
    for tier in tiers(formulas.library, ids):
        library = formulas.chosen(tier)
        start = begin(library, fields.fields, first, end + 1)
        days = slice(start, end + 1)
        rows = {name: field[days] for name, field in fields.fields.items()}
        groups = {name: codes[days] for name, codes in fields.groups.items()}
        for at, block in library.run_blocks(rows, groups=groups, dates=version.dates[days], threads=threads):
            lead = max(first - start - at, 0)
            if lead < block.shape[1]:
                into = start + at + lead - first
                values[[position[name] for name in tier], into : into + block.shape[1] - lead] = block[:, lead:]
    window = slice(first, end + 1)
    return values, {name: np.asarray(codes[window]) for name, codes in fields.groups.items()}


def library_window(library: Library, version: Version, days: slice, threads: int) -> NDArray[np.float64]:
    """Compute every formula of a library on some days, [n_formulas, n_days, n_assets]."""
    fields = library_fields(whole_panel(version))
    start = begin(library, fields.fields, days.start, days.stop)
    reach = slice(start, days.stop)
    rows = {name: field[reach] for name, field in fields.fields.items()}
    groups = {name: codes[reach] for name, codes in fields.groups.items()}
    blocks = [
        block.copy()
        for _, block in library.run_blocks(rows, groups=groups, dates=version.dates[reach], threads=threads)
    ]
    return np.concatenate(blocks, axis=1)[:, days.start - start :]


def tiers(library: Library, ids: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Split ids by how much history they need; recursive ones come last."""
    low = -1
    for high in (*TIERS, None):
        chosen = tuple(
            name
            for name in ids
            if name not in library.recursive
            and library.lookback[name] > low
            and (high is None or library.lookback[name] <= high)
        )
        low = low if high is None else high
        if chosen:
            yield chosen
    recursive = tuple(name for name in ids if name in library.recursive)
    if recursive:
        yield recursive


def last_row(
    library: Library, fields: LibraryFields, dates: NDArray[Any], days: slice, threads: int
) -> NDArray[np.float64]:
    """Run a library over some days and give the last one's values, [n_factors, n_assets]."""
    n_assets = next(iter(fields.fields.values())).shape[1]
    stream = library.stream(n_assets, threads=threads)
    try:
        return stream.warm(
            {name: values[days] for name, values in fields.fields.items()},
            {name: codes[days] for name, codes in fields.groups.items()},
            dates[days],
        )
    finally:
        stream.close()
