"""One row of a panel's fields as the library reads them: with the proxies, made from the row and the one before."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from factors.library.definitions.fields import LibraryFields, library_fields
from factors.library.language.errors import FieldsError
from factors.panel.panel import Array, Categories, Panel


class LibraryRow:
    """What the library's fields of the next row are made from, to the bit as over the whole history.

    Parameters
    ----------
    panel : Panel
        Its last row is the one before.
    fields : LibraryFields
        Of the panel.

    Attributes
    ----------
    shared : frozenset of str
        As in `LibraryFields`.
    """

    def __init__(self, panel: Panel, fields: LibraryFields) -> None:
        self.shared = fields.shared
        self._before = panel.last(1)
        proxied = "benchmark_close" in fields.proxies
        self._level = float(fields.fields["benchmark_close"][-1, 0]) if proxied else None
        self._next: tuple[Panel, float | None] | None = None

    def row(
        self, fields: Mapping[str, Array], categories: Mapping[str, NDArray[np.int16]], date: np.datetime64
    ) -> tuple[dict[str, Array], dict[str, NDArray[np.int16]]]:
        """Give fields and groups of a row, each [n_assets].

        Raises
        ------
        FieldsError
            For a field or category of the panel that is missing.
        """
        held = self._before
        for kind, wanted, given in (("field", held.fields, fields), ("category", held.categories, categories)):
            for name in wanted:
                if name not in given:
                    raise FieldsError(f"{kind} {name!r} is missing")
        two = Panel(
            np.array([held.dates[0], date]),
            held.symbols,
            {name: np.stack([values[0], np.asarray(fields[name])]) for name, values in held.fields.items()},
            {
                name: Categories(np.stack([category.codes[0], np.asarray(categories[name])]), category.names)
                for name, category in held.categories.items()
            },
        )
        found = library_fields(two, self._level)
        level = None if self._level is None else float(found.fields["benchmark_close"][1, 0])
        self._next = two.last(1), level
        row = {name: values[1] for name, values in found.fields.items()}
        return row, {name: codes[1] for name, codes in found.groups.items()}

    def keep(self) -> None:
        """Make the row given last the one before."""
        if self._next is not None:
            self._before, self._level = self._next
            self._next = None

    def grow(self, symbols: tuple[str, ...]) -> None:
        """Make room for names at the end."""
        self._before = self._before.on_axis(symbols)
        self._next = None
