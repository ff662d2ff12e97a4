"""One row of a panel's fields as the library reads them: with the proxies, made from the row and the one before."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from factors.library.compile.compiler import Library
from factors.library.definitions.fields import INDEX, PROXIES, LibraryFields, benchmark_index
from factors.library.language.errors import FieldsError
from factors.library.language.names import BENCHMARK
from factors.panel.panel import Array, Panel

Codes = NDArray[np.int16]
COARSER = {"subindustry": "industry", "industry": "sector"}
BENCHMARK_NEEDS = ("returns", "market_cap")
OPEN_NEEDS = ("open", "close")


class LibraryRow:
    """What a library reads of the next row, made as `library_fields` makes it of the whole history, to the bit.

    Parameters
    ----------
    library : Library
    panel : Panel
        Its last row is the one before.
    fields : LibraryFields
        Of the panel.

    Attributes
    ----------
    needs : tuple of str
        The panel's own fields that are read.
    categories : tuple of str
        The panel's own categories that are read.
    shared : frozenset of str
        As in `LibraryFields`.
    """

    def __init__(self, library: Library, panel: Panel, fields: LibraryFields) -> None:
        self.shared = fields.shared
        self._made = [name for name in PROXIES if name not in panel.fields and name in _closure(library, panel)]
        index = [name for name in library.fields if name in INDEX and name not in panel.fields]
        self._index = tuple(index)
        wanted = _closure(library, panel)
        self.needs = tuple(name for name in panel.fields if name in wanted)
        self._group_of = {name: _given(name, panel) for name in library.groups}
        self.categories = tuple(dict.fromkeys(self._group_of.values()))
        self._caps = np.array(panel.fields["market_cap"][-1]) if index else np.empty(0)
        self._level = float(fields.fields["benchmark_close"][-1, 0]) if index else None
        self._fields: dict[str, Array] = {}
        self._groups: dict[str, Codes] = {}

    def row(
        self,
        fields: Mapping[str, Array],
        categories: Mapping[str, Codes],
        columns: NDArray[np.intp] | None = None,
    ) -> tuple[dict[str, Array], dict[str, Codes]]:
        """Give fields and groups of a row, each [n_assets]; the arrays are the same at each call.

        Parameters
        ----------
        fields : mapping of str to float64 [n_assets]
        categories : mapping of str to int16 [n_assets]
        columns : int array, optional
            Those that differ from the row of the last call; the others are not read, those of a benchmark apart.

        Raises
        ------
        FieldsError
            For a field or category that is missing, or has another length than at the last call with `columns`.
        """
        for kind, wanted, given in (("field", self.needs, fields), ("category", self.categories, categories)):
            missing = [name for name in wanted if name not in given]
            if missing:
                raise FieldsError(f"{kind} {missing[0]!r} is missing")
        if columns is None or not (self._fields or self._groups):
            self._fields = {name: np.array(fields[name], dtype=np.float64) for name in self.needs}
            self._groups = {name: np.array(categories[given]) for name, given in self._group_of.items()}
            for name in self._made:
                self._fields[name] = PROXIES[name].make(self._fields)
        else:
            for name in self.needs:
                at = slice(None) if name in BENCHMARK else columns
                self._fields[name][at] = fields[name][at]
            for name, category in self._group_of.items():
                self._groups[name][columns] = categories[category][columns]
            part = {name: values[columns] for name, values in self._fields.items()}
            for name in self._made:
                self._fields[name][columns] = part[name] = PROXIES[name].make(part)
        if self._index:
            self._fields |= self._benchmark()
        return self._fields, self._groups

    def _benchmark(self) -> dict[str, Array]:
        two = {"market_cap": np.stack([self._caps, self._fields["market_cap"]])}
        for name in ("returns", *OPEN_NEEDS):
            if name in self._fields:
                two[name] = np.stack([self._fields[name]] * 2)
        found = benchmark_index(two, self._level)
        self._next_level = float(found["benchmark_close"][1, 0])
        return {name: values[1] for name, values in found.items() if name in self._index}

    def keep(self) -> None:
        """Make the row given last the one before."""
        if self._index:
            self._caps, self._level = self._fields["market_cap"].copy(), self._next_level

    def grow(self, n_assets: int) -> None:
        """Make room for names at the end."""
        if self._index:
            self._caps = np.pad(self._caps, (0, n_assets - len(self._caps)), constant_values=np.nan)
        self._fields, self._groups = {}, {}


def _closure(library: Library, panel: Panel) -> frozenset[str]:
    """The library's fields, and all that their proxies are made of."""
    wanted = set(library.fields)
    if any(name in INDEX and name not in panel.fields for name in wanted):
        wanted |= {*BENCHMARK_NEEDS}
        if "benchmark_open" in wanted:
            wanted |= {*OPEN_NEEDS}
    for name in reversed(PROXIES):
        if name in wanted and name not in panel.fields:
            wanted |= {*PROXIES[name].needs}
    return frozenset(wanted)


def _given(name: str, panel: Panel) -> str:
    """The category that stands for a group."""
    while name not in panel.categories and name in COARSER:
        name = COARSER[name]
    return name
