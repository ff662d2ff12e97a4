"""One row after another: the same plan with blocks of one row."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from factors.library.compile.plan import Plan
from factors.library.kernels.types import F8
from factors.library.language.errors import FieldsError
from factors.library.run.begin import first_rows
from factors.library.run.clock import Clock
from factors.library.run.machine import Machine
from factors.library.run.members import Member
from factors.numeric import deadline

WARM_BLOCK_ROWS = 16


class Stream:
    """Carried state of a library over a growing set of names.

    Attributes
    ----------
    ids : tuple of str
        Factors, in the order of the rows that `update` gives.
    n_assets : int
    foreseen : int
        Rows that `update` took as the last peek had computed them.
    """

    def __init__(
        self,
        plan: Plan,
        ids: tuple[str, ...],
        fields: tuple[str, ...],
        groups: tuple[str, ...],
        n_assets: int,
        threads: int = 1,
        clock: Clock | None = None,
    ) -> None:
        self.ids, self._fields, self._groups = ids, fields, groups
        self._machine = Machine(plan, n_assets, 1, threads, clock=clock, peeks=True)
        self._now: F8 | None = None
        self.foreseen = 0

    @property
    def n_assets(self) -> int:
        """Names now followed."""
        return self._machine.n

    def update(
        self,
        fields: Mapping[str, Any],
        groups: Mapping[str, Any] | None = None,
        date: Any = None,
        out: F8 | None = None,
    ) -> F8:
        """Take one row and give every factor's.

        A row that was the last peek's, to the bit, costs little more: it is computed already.

        Parameters
        ----------
        fields : mapping of str to array [n_assets]
        groups : mapping of str to array of codes [n_assets], below 0 for none
        date : datetime64 or date
            Later than the last; the timestamp of the bar, where rows are no days.
        out : array [n_factors, n_assets], optional
            Where the result goes.

        Returns
        -------
        array [n_factors, n_assets]

        Raises
        ------
        FieldsError
            For a missing field, a wrong length, or a date that is not later (two rows in one bar); the state is then as
            before.
        """
        bars, sessions, values = self._row(fields, groups, date)
        result = np.empty((len(self.ids), self.n_assets)) if out is None else out
        if self._now is not None and self._machine.settle(values, int(bars[0]), int(sessions[0])):
            result[:] = self._now
            self.foreseen += 1
            return result
        self._machine.load({name: row[None, :] for name, row in values.items()}, bars)
        self._machine.run(result[:, None, :], bars, sessions)
        return result

    def peek(
        self,
        fields: Mapping[str, Any],
        groups: Mapping[str, Any] | None = None,
        date: Any = None,
        changed: Any = None,
    ) -> F8:
        """Give what `update` of the row would give, to the bit, and leave the state as it is, any number of times.

        Parameters
        ----------
        fields : mapping of str to array [n_assets]
        groups : mapping of str to array of codes [n_assets], below 0 for none
        date : datetime64 or date
            Later than the last row taken by `update`; the same or another one at each peek.
        changed : int array, optional
            Columns that differ from the row of the peek before. Only these are read (of a benchmark's fields, all), and
            what is computed along time is computed for them alone; what is computed across names, and what reads that
            or a benchmark, for all. Without an earlier peek at the date since the last change of the state, everything
            is computed.

        Returns
        -------
        array [n_factors, n_assets]
            The stream's own, not to be written to; the next `peek` may fill it anew. Copy what is to be kept.

        Raises
        ------
        FieldsError
            For a missing field, a wrong length, a date that is not later, or a column that is none; the next peek
            then computes everything.
        """
        bars, sessions, values = self._row(fields, groups, date)
        columns = None if changed is None else np.unique(np.asarray(changed, np.intp))
        if columns is not None and len(columns) and (columns[0] < 0 or columns[-1] >= self.n_assets):
            raise FieldsError(f"a column of those that changed is none of 0 to {self.n_assets - 1}")
        if self._now is None or self._now.shape[1] != self.n_assets:
            self._now = np.empty((len(self.ids), self.n_assets))
        self._machine.peek(values, int(bars[0]), int(sessions[0]), self._now, columns)
        shown = self._now.view()
        shown.flags.writeable = False
        return shown

    def warm(
        self, fields: Mapping[str, Any], groups: Mapping[str, Any] | None, dates: Any, block: int = WARM_BLOCK_ROWS
    ) -> F8:
        """Take many rows at once: the same state and last result, to the bit, as `update` row by row, but faster.

        Parameters
        ----------
        fields, groups : mapping of str to array [n_dates, n_assets]
        dates : datetime64 array [n_dates]
            Increasing, later than the last.
        block : int
            Rows per step.

        Returns
        -------
        array [n_factors, n_assets]
            The last row's result; all NaN without rows.

        Raises
        ------
        FieldsError
            As for `update`; the state is then as before.
        """
        bars, sessions = self._machine.clock.read(dates)
        values = {name: np.asarray(source[name]) for name, source in self._sources(fields, groups)}
        own = self._machine
        wide = Machine(own.plan, own.n, min(block, max(len(bars), 1)), own.threads, clock=own.clock)
        out = np.full((len(self.ids), wide.block, own.n), np.nan)
        count = 1
        try:
            wide.restore(own.state())
            for t in range(0, len(bars), wide.block):
                deadline.check()
                count = min(wide.block, len(bars) - t)
                part = slice(t, t + count)
                wide.load({name: value[part] for name, value in values.items()}, bars[part])
                wide.run(out[:, :count], bars[part], sessions[part])
            own.restore(wide.state())
        finally:
            wide.close()
        return np.ascontiguousarray(out[:, count - 1])

    def count_from_listing(self, fields: Mapping[str, Any], stop: int) -> None:
        """Count the rows of names that are away since before the rows that were taken, as a whole history does.

        A conditional counts the rows since a name's listing. Of one that was listed before, and away ever since, none
        was seen: when it comes again it would be taken for a name that was listed that day.

        Parameters
        ----------
        fields : mapping of str to array [n_dates, n_assets]
            The whole history; those that `Library.counted_from_listing` names are read.
        stop : int
            Rows of it before which the stream stands.
        """
        for names, columns in self._machine.uncounted().items():
            rows = first_rows([fields[name] for name in names], columns, stop)
            there = rows >= 0
            self._machine.count(names, columns[there], stop - 1 - rows[there])

    def _row(
        self, fields: Mapping[str, Any], groups: Mapping[str, Any] | None, date: Any
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], dict[str, NDArray[Any]]]:
        """The bar, the session, and the row of every field and group. Raises `FieldsError`."""
        if date is None:
            raise FieldsError("a date is missing")
        values: dict[str, NDArray[Any]] = {}
        for name, source in self._sources(fields, groups):
            row = np.asarray(source[name])
            if row.shape != (self.n_assets,):
                raise FieldsError(f"field {name!r} has shape {row.shape}; expected {(self.n_assets,)}")
            values[name] = row
        return *self._machine.clock.read([date] if self._machine.clock.daily else [np.datetime64(date, "us")]), values

    def _sources(
        self, fields: Mapping[str, Any], groups: Mapping[str, Any] | None
    ) -> list[tuple[str, Mapping[str, Any]]]:
        """The name and mapping of every field and group. Raises `FieldsError` for one that is missing."""
        wanted: list[tuple[str, Mapping[str, Any]]] = [(name, fields) for name in self._fields]
        wanted += [(name, groups or {}) for name in self._groups]
        for name, source in wanted:
            if name not in source:
                raise FieldsError(f"field {name!r} is missing")
        return wanted

    def grow(self, n_assets: int, shared: Collection[str] = ()) -> None:
        """Follow more names; the new ones stand at the end and begin as names of which no row has been seen.

        What is the same for every name, a market's return or an aggregate over names, they take over from the others.

        Parameters
        ----------
        n_assets : int
        shared : collection of str
            Fields whose rows were the same for all names, the new ones too, though these had no other data: a
            benchmark that is given for every name.

        Raises
        ------
        ValueError
            If there would be fewer.
        """
        old = self._machine
        if n_assets < old.n:
            raise ValueError(f"{n_assets} names after {old.n}: names are only added")
        if n_assets == old.n:
            return
        saved = old.state()
        old.close()
        self._machine = Machine(old.plan, n_assets, 1, old.threads, clock=old.clock, peeks=True)
        self._machine.restore(saved, shared)

    def state(self) -> dict[str, NDArray[Any]]:
        """A copy of everything that the next row depends on."""
        return self._machine.state()

    def members(self) -> dict[str, Member]:
        """Give what `state` has in pieces, each copied when it is asked for: between two of them no row may come."""
        return self._machine.members()

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take up a state saved by a stream of the same library; grows to its number of names.

        Raises
        ------
        FieldsError
            If it is of another library.
        """
        n = int(state["position"][2])
        if n > self._machine.n:
            self._machine.close()
            old = self._machine
            self._machine = Machine(old.plan, n, 1, old.threads, clock=old.clock, peeks=True)
        self._machine.restore(state)

    def close(self) -> None:
        """End the threads."""
        self._machine.close()
