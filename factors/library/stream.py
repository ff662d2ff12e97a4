"""One row of dates after another: the same plan with blocks of one row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from factors.library.errors import FieldsError
from factors.library.kernels.types import F8
from factors.library.machine import Machine
from factors.library.plan import Plan


class Stream:
    """Carried state of a library over a growing set of names.

    Attributes
    ----------
    ids : tuple of str
        Factors, in the order of the rows that `update` gives.
    n_assets : int
    """

    def __init__(
        self,
        plan: Plan,
        ids: tuple[str, ...],
        fields: tuple[str, ...],
        groups: tuple[str, ...],
        n_assets: int,
        threads: int = 1,
    ) -> None:
        self.ids, self._fields, self._groups = ids, fields, groups
        self._machine = Machine(plan, n_assets, 1, threads)

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

        Parameters
        ----------
        fields : mapping of str to array [n_assets]
        groups : mapping of str to array of codes [n_assets], below 0 for none
        date : datetime64 or date
            Later than the last.
        out : array [n_factors, n_assets], optional
            Where the result goes.

        Returns
        -------
        array [n_factors, n_assets]

        Raises
        ------
        FieldsError
            For a missing field, a wrong length, or a date that is not later; the state is then as before.
        """
        if date is None:
            raise FieldsError("a date is missing")
        day = np.array([np.datetime64(date, "D")]).astype(np.int64)
        values: dict[str, NDArray[Any]] = {}
        for names, source in ((self._fields, fields), (self._groups, groups or {})):
            for name in names:
                if name not in source:
                    raise FieldsError(f"field {name!r} is missing")
                row = np.asarray(source[name])
                if row.shape != (self.n_assets,):
                    raise FieldsError(f"field {name!r} has shape {row.shape}; expected {(self.n_assets,)}")
                values[name] = row[None, :]
        result = np.empty((len(self.ids), self.n_assets)) if out is None else out
        self._machine.load(values, day)
        self._machine.run(result[:, None, :], day)
        return result

    def grow(self, n_assets: int) -> None:
        """Follow more names; the new ones stand at the end and begin without history.

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
        self._machine = Machine(old.plan, n_assets, 1, old.threads)
        self._machine.restore(saved)

    def state(self) -> dict[str, NDArray[Any]]:
        """A copy of everything that the next row depends on."""
        return self._machine.state()

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
            self._machine = Machine(self._machine.plan, n, 1, self._machine.threads)
        self._machine.restore(state)

    def close(self) -> None:
        """End the threads."""
        self._machine.close()
