"""The factor library kept current on one model: warmed once over the history, then one step per new day."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actors.formulas import Formulas
from actors.library_day import LibraryDay
from actors.panels import whole_panel
from factors.library import Library, Stream
from factors.library.fields import LibraryFields, computable, library_fields
from store import Version

WARM_ROWS = 128
"""Rows between two reports of progress; a multiple of the stream's own block."""

Saved = dict[str, NDArray[Any]]
Progress = Callable[[int, int], None]


def made_of(version: Version) -> str:
    """Name what made a version: numbers repeat in a store that was begun anew."""
    return f"{version.manifest.request_id} {version.manifest.created_at}"


class Part:
    """Some factors of a live library, in one stream."""

    def __init__(self, library: Library, n_assets: int, threads: int) -> None:
        self.ids = library.ids
        self.values: NDArray[np.float64] = np.full((len(self.ids), n_assets), np.nan)
        self.stream: Stream = library.stream(n_assets, threads=threads)

    def warm(self, fields: LibraryFields, dates: NDArray[np.datetime64], progress: Progress | None) -> None:
        """Take the whole history."""
        for first in range(0, len(dates), WARM_ROWS):
            days = slice(first, first + WARM_ROWS)
            rows = {name: values[days] for name, values in fields.fields.items()}
            groups = {name: codes[days] for name, codes in fields.groups.items()}
            self.values = self.stream.warm(rows, groups, dates[days])
            if progress is not None:
                progress(min(first + WARM_ROWS, len(dates)), len(dates))

    def step(self, fields: LibraryFields, t: int, date: np.datetime64) -> None:
        """Take one row."""
        row = {name: values[t] for name, values in fields.fields.items()}
        groups = {name: codes[t] for name, codes in fields.groups.items()}
        self.values = np.asarray(self.stream.update(row, groups, date))


class LiveLibrary:
    """All computable factors of one model at its newest date: the catalogue's, and the registered ones beside them.

    A formula that is registered later is warmed alone; the catalogue's state stays.

    Parameters
    ----------
    formulas : Formulas
    version : Version
    threads : int
    progress : callable of (rows done, rows in all), optional
    saved : mapping, optional
        What `save` gave, of this model at this version or an earlier one that this one continues.

    Attributes
    ----------
    day : LibraryDay
        Of the last date.
    steps : int
        Days taken since the warm-up.
    """

    def __init__(
        self,
        formulas: Formulas,
        version: Version,
        threads: int,
        progress: Progress | None = None,
        saved: Mapping[str, Any] | None = None,
    ) -> None:
        self.lock = threading.Lock()
        self.steps = 0
        self._threads = threads
        fields = library_fields(whole_panel(version))
        self._catalogue = self._part(formulas, fields, version, tuple(formulas.catalogue.entries))
        self._registered: Part | None = None
        self._formulas = formulas
        assert self._catalogue is not None
        if saved is None:
            self._catalogue.warm(fields, version.dates, progress)
        else:
            self._catalogue.stream.restore({name: saved[name] for name in ("rings", "carried", "starts", "position")})
            self._catalogue.values = np.array(saved["values"])
        self._take(version, fields)
        self.register(formulas, version)

    def _part(self, formulas: Formulas, fields: LibraryFields, version: Version, names: tuple[str, ...]) -> Part | None:
        """Make the part of the ids that the fields can compute; None where there are none."""
        able, _ = computable(formulas.library, fields.available)
        wanted = set(names)
        ids = tuple(name for name in able if name in wanted)
        return Part(formulas.chosen(ids), len(version.symbols), self._threads) if ids else None

    @property
    def parts(self) -> list[Part]:
        """The catalogue's part and, where formulas are registered, theirs."""
        return [part for part in (self._catalogue, self._registered) if part is not None]

    def _take(self, version: Version, fields: LibraryFields) -> None:
        self.number = version.manifest.version
        self.made = made_of(version)
        self.n_dates = len(version.dates)
        self._symbols = version.symbols
        proxied = "benchmark_close" in fields.proxies
        self._level = float(fields.fields["benchmark_close"][-1, 0]) if proxied else None
        self._groups = {name: np.asarray(codes[-1]) for name, codes in fields.groups.items()}
        self._show(version)

    def _show(self, version: Version) -> None:
        ids = tuple(name for part in self.parts for name in part.ids)
        values = np.concatenate([part.values for part in self.parts])
        self.day = LibraryDay(ids, values, version, len(version.dates) - 1, self._groups)

    def register(self, formulas: Formulas, version: Version) -> None:
        """Take up newly registered formulas, warmed over the history of the version that this is at."""
        if self._registered is not None and formulas is self._formulas:
            return
        self._formulas = formulas
        if not formulas.registered:
            return
        fields = library_fields(whole_panel(version))
        part = self._part(formulas, fields, version, tuple(formulas.registered))
        if part is not None:
            part.warm(fields, version.dates, None)
        if self._registered is not None:
            self._registered.stream.close()
        self._registered = part
        self._show(version)

    def follow(self, version: Version) -> int:
        """Take the days that newer versions appended, one step each; gives how many.

        The caller has made sure that the version continues the one that this is at.
        """
        new = len(version.dates) - self.n_dates
        fields = library_fields(whole_panel(version, rows=new + 1), self._level)
        with self.lock:
            for part in self.parts:
                part.stream.grow(len(version.symbols))
                for t in range(1, new + 1):
                    part.step(fields, t, version.dates[self.n_dates + t - 1])
            self.steps += new
            self._take(version, fields)
        return new

    def save(self) -> Saved:
        """Copy the catalogue's carried state, and what belongs to it."""
        with self.lock:
            part = self._catalogue
            assert part is not None
            return {
                **part.stream.state(),
                "values": part.values.copy(),
                "version": np.array([self.number]),
                "made": np.array(self.made),
                "digest": np.array(self._formulas.digest),
            }

    def close(self) -> None:
        """End the streams' threads."""
        for part in self.parts:
            part.stream.close()
