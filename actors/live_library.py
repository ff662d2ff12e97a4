"""The factor library kept current on one model: warmed once over the history, then one step per new day."""

from __future__ import annotations

from typing import Any

import numpy as np

from actors.panels import whole_panel
from factors.library import Catalogue, Expression, Library, Stream, compile_library
from factors.library.fields import LibraryFields, computable, library_fields
from store import Version


class Formulas:
    """The catalogue and the formulas that callers registered, compiled once to know what each needs."""

    def __init__(self, catalogue: Catalogue, registered: dict[str, Expression]) -> None:
        self.catalogue = catalogue
        self.registered = registered
        self.all: dict[str, Any] = {**catalogue.entries, **registered}
        self.library: Library = compile_library(self.all)

    def chosen(self, ids: tuple[str, ...]) -> Library:
        """Compile some of them."""
        return compile_library({name: self.all[name] for name in ids})


class LiveLibrary:
    """All computable factors of one model at its newest date.

    Attributes
    ----------
    ids : tuple of str
    values : float64 [n_factors, n_assets]
        Of the last date; NaN where undefined.
    date : datetime64[D]
    """

    def __init__(self, formulas: Formulas, version: Version, threads: int) -> None:
        self.formulas = formulas
        fields = library_fields(whole_panel(version))
        self.ids, self.missing = computable(formulas.library, fields.available)
        self.position = {name: k for k, name in enumerate(self.ids)}
        self.proxies = dict(fields.proxies)
        self._stream: Stream = formulas.chosen(self.ids).stream(len(version.symbols), threads=threads)
        self.values = self._stream.warm(fields.fields, fields.groups, version.dates)
        self._take(version)

    def _take(self, version: Version) -> None:
        self.number = version.manifest.version
        self.symbols = version.symbols
        self.column = version.column
        self.date = version.dates[-1]
        self.n_dates = len(version.dates)

    def follow(self, version: Version) -> bool:
        """Take the days that newer versions appended; False when the newest is not this one continued."""
        if version.manifest.version == self.number:
            return True
        block = version.manifest.blocks[-1]
        continued = (
            version.manifest.operation == "append_day"
            and version.manifest.version == self.number + 1
            and version.manifest.n_dates == self.n_dates + block.n_dates
        )
        if not continued:
            return False
        fields: LibraryFields = library_fields(whole_panel(version, rows=block.n_dates + 1))
        self._stream.grow(len(version.symbols))
        for t in range(1, block.n_dates + 1):
            row = {name: values[t] for name, values in fields.fields.items()}
            groups = {name: codes[t] for name, codes in fields.groups.items()}
            self.values = np.asarray(self._stream.update(row, groups, version.dates[self.n_dates + t - 1]))
        self._take(version)
        return True

    def close(self) -> None:
        """End the stream's threads."""
        self._stream.close()
