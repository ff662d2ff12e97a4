"""The factor library kept current on one model: warmed once over the history, then one step per new day."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actors.library.day import LibraryDay
from actors.library.formulas import Formulas
from actors.reading.panels import whole_panel
from factors.library import Library, Stream
from factors.library.definitions.fields import LibraryFields, computable, library_fields
from factors.library.run.begin import begin
from factors.library.run.members import Member
from factors.panel.panel import Panel
from store import Version

WARM_ROWS = 128
"""Rows between two reports of progress; a multiple of the stream's own block."""
MISSED_MOST = 3
"""Days in a row that were stored otherwise than they were foreseen; then none is foreseen any more."""
SHORT_ROWS = 270
"""Factors that look back no further are warmed over that much history only, which gives the same bits: most factors."""

Progress = Callable[[int, int], None]


class MovedOn(Exception):
    """A day came while the state was being read."""


def _small(array: NDArray[Any]) -> Member:
    return Member(array.shape, array.dtype, iter((array,)))


def made_of(version: Version) -> str:
    """Name what made a version: numbers repeat in a store that was begun anew."""
    return f"{version.manifest.request_id} {version.manifest.created_at}"


class FactorStream:
    """Some factors of a live library, in one stream.

    Attributes
    ----------
    rows : int
        Of the history that a warm-up needs.
    """

    def __init__(self, library: Library, version: Version, fields: LibraryFields, threads: int) -> None:
        n_dates, n_assets = len(version.dates), len(version.symbols)
        self.ids = library.ids
        self.rows = n_dates - begin(library, fields.fields, n_dates - 1, n_dates)
        self.values: NDArray[np.float64] = np.full((len(self.ids), n_assets), np.nan)
        self.stream: Stream = library.stream(n_assets, threads=threads)

    def warm(self, fields: LibraryFields, dates: NDArray[np.datetime64], progress: Callable[[int], None]) -> None:
        """Take the history that is needed; tells how many rows each piece had."""
        for first in range(len(dates) - self.rows, len(dates), WARM_ROWS):
            days = slice(first, first + WARM_ROWS)
            rows = {name: values[days] for name, values in fields.fields.items()}
            groups = {name: codes[days] for name, codes in fields.groups.items()}
            self.values = self.stream.warm(rows, groups, dates[days])
            progress(len(dates[days]))
        self.stream.count_from_listing(fields.fields, len(dates))

    def step(self, fields: LibraryFields, t: int, date: np.datetime64) -> None:
        """Take one row."""
        self.values = np.asarray(self.stream.update(*_row(fields, t), date))

    def foresee(self, fields: LibraryFields, t: int, date: np.datetime64) -> NDArray[np.float64]:
        """Give the values of a row that may come next; the stream's own array."""
        return self.stream.peek(*_row(fields, t), date)


def _row(fields: LibraryFields, t: int) -> tuple[dict[str, Any], dict[str, Any]]:
    values = {name: values[t] for name, values in fields.fields.items()}
    return values, {name: codes[t] for name, codes in fields.groups.items()}


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
        What `members` gave, of this model at this version.

    Attributes
    ----------
    day : LibraryDay
        Of the last date.
    steps : int
        Days taken since the warm-up.
    foreseen : int
        Days of these that were computed before they were stored.
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
        self.foreseen = 0
        self._missed = 0
        self._threads = threads
        self._formulas = formulas
        self._registered: list[FactorStream] = []
        self._forgotten: set[str] = set()
        fields = library_fields(whole_panel(version))
        self._catalogue = self._parts(formulas, fields, version, formulas.catalogue.entries)
        if saved is None:
            _warm(self._catalogue, fields, version, progress)
        else:
            for k, part in enumerate(self._catalogue):
                own = {name.partition("/")[2]: value for name, value in saved.items() if name.startswith(f"{k}/")}
                part.values = np.array(own.pop("values"))
                part.stream.restore(own)
                part.stream.count_from_listing(fields.fields, len(version.dates))
        self._take(version, fields)
        if formulas.registered:
            self._warm_registered(formulas, version, fields)

    def _parts(
        self, formulas: Formulas, fields: LibraryFields, version: Version, names: Mapping[str, Any]
    ) -> list[FactorStream]:
        """Split the ids that the fields can compute into those that look back a year at most, and the others."""
        library = formulas.library
        ids = [name for name in computable(library, fields.available)[0] if name in names]
        short = {name for name in ids if name not in library.recursive and library.lookback[name] < SHORT_ROWS}
        split = (tuple(name for name in ids if (name in short) is wanted) for wanted in (True, False))
        return [FactorStream(formulas.chosen(chosen), version, fields, self._threads) for chosen in split if chosen]

    def _take(self, version: Version, fields: LibraryFields) -> None:
        self.number = version.manifest.version
        self.made = made_of(version)
        self.n_dates = len(version.dates)
        proxied = "benchmark_close" in fields.proxies
        self._level = float(fields.fields["benchmark_close"][-1, 0]) if proxied else None
        self._groups = {name: np.asarray(codes[-1]) for name, codes in fields.groups.items()}
        self._show(version)

    def _show(self, version: Version) -> None:
        """Put the parts' rows into the order of the definitions."""
        ids, values = self._ordered([part.values for part in self._every()], len(version.symbols))
        self.day = LibraryDay(ids, values, version, len(version.dates) - 1, self._groups)

    def _ordered(
        self, parts: Iterable[NDArray[np.float64]], n_assets: int
    ) -> tuple[tuple[str, ...], NDArray[np.float64]]:
        """Give what is shown of the parts' rows, and a copy of them, in the order of the definitions."""
        pairs = zip(self._every(), parts, strict=True)
        rows = {name: row for part, values in pairs for name, row in zip(part.ids, values, strict=True)}
        ids = tuple(name for name in self._formulas.library.ids if name in rows and name not in self._forgotten)
        return ids, np.stack([rows[name] for name in ids]) if ids else np.empty((0, n_assets))

    def _every(self) -> list[FactorStream]:
        return [*self._catalogue, *self._registered]

    @property
    def formulas(self) -> Formulas:
        """Those that it has."""
        return self._formulas

    def register(self, formulas: Formulas, version: Version) -> None:
        """Take up formulas that were registered meanwhile, warmed over the version that this is at."""
        if formulas is not self._formulas:
            self._warm_registered(formulas, version, library_fields(whole_panel(version)))

    def _warm_registered(self, formulas: Formulas, version: Version, fields: LibraryFields) -> None:
        parts = self._parts(formulas, fields, version, formulas.registered)
        _warm(parts, fields, version, None)
        _close(self._registered)
        self._registered, self._formulas = parts, formulas
        self._forgotten = set()
        self._show(version)

    def forget(self, name: str) -> None:
        """Show a formula no more; its stream goes when `register` takes up the formulas that are left."""
        with self.lock:
            self._forgotten.add(name)
            if name in self.day.position:
                self.day = self.day.without(name)

    def follow(self, version: Version) -> int:
        """Take the days that newer versions appended, one step each; gives how many.

        The caller has made sure that the version continues the one that this is at.
        """
        with self.lock:  # two that follow the same day take it once
            new = max(len(version.dates) - self.n_dates, 0)
            fields = library_fields(whole_panel(version, rows=new + 1), self._level)
            foreseen = 0
            for part in self._every():
                part.stream.grow(len(version.symbols), fields.shared)
                before = part.stream.foreseen
                for t in range(1, new + 1):
                    part.step(fields, t, version.dates[self.n_dates + t - 1])
                foreseen = max(foreseen, part.stream.foreseen - before)
            self.steps += new
            self.foreseen += foreseen
            self._missed = 0 if foreseen else self._missed
            self._take(version, fields)
        return new

    @property
    def may_foresee(self) -> bool:
        """Whether days were stored as they were foreseen: a model that adjusts what it is given never does so."""
        return self._missed < MISSED_MOST

    def foresee(self, number: int, panel: Panel) -> LibraryDay | None:
        """Compute the day that is to come; `follow` takes it so, where it was stored as it is here, to the bit.

        Parameters
        ----------
        number : int
            The version that the day comes behind.
        panel : Panel
            The day that this is at and the next one, on the names of that.

        Returns
        -------
        LibraryDay or None
            What this shows once it followed a version that is so. None where another day came meanwhile.
        """
        with self.lock:
            if number != self.number or panel.dates[0] != self.day.date or len(panel.symbols) != len(self.day.symbols):
                return None
            self._missed += 1
            fields = library_fields(panel, self._level)
            found = [part.foresee(fields, 1, panel.dates[1]) for part in self._every()]
            ids, values = self._ordered(found, len(panel.symbols))
            groups = {name: np.asarray(codes[-1]) for name, codes in fields.groups.items()}
            return self.day.followed(ids, values, panel.dates[1], groups)

    def members(self) -> Iterator[tuple[str, Member]]:
        """Give the catalogue's carried state, and what belongs to it, in pieces.

        A day that comes waits for one piece at most.

        Raises
        ------
        MovedOn
            By a piece that is asked for after a day came: what was given before belongs to the day before.
        """
        with self.lock:
            steps = self.steps
            names = {"version": self.number, "made": self.made, "digest": self._formulas.digest}
            out = {name: _small(np.array(value)) for name, value in names.items()}
            for k, part in enumerate(self._catalogue):
                out |= {f"{k}/{name}": member for name, member in part.stream.members().items()}
                out[f"{k}/values"] = _small(part.values.copy())
        for name, member in out.items():
            yield name, member._replace(pieces=self._guarded(member.pieces, steps))

    def _guarded(self, pieces: Iterator[NDArray[Any]], steps: int) -> Iterator[NDArray[Any]]:
        while True:
            with self.lock:
                if self.steps != steps:
                    raise MovedOn
                piece = next(pieces, None)
            if piece is None:
                return
            yield piece

    def close(self) -> None:
        """End the streams' threads."""
        _close(self._every())


def _warm(parts: list[FactorStream], fields: LibraryFields, version: Version, progress: Progress | None) -> None:
    done, total = 0, sum(part.rows for part in parts)

    def count(rows: int) -> None:
        nonlocal done
        done += rows
        if progress is not None:
            progress(done, total)

    for part in parts:
        part.warm(fields, version.dates, count)


def _close(parts: list[FactorStream]) -> None:
    for part in parts:
        part.stream.close()
