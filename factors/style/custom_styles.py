"""Styles of the caller's own, from formulas of the factor library."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from factors.errors import MissingColumnError, SettingsError
from factors.panel.panel import Array


class CustomStyles:
    """Raw values of custom styles on consecutive dates; the library's stream carries what earlier dates leave behind.

    Parameters
    ----------
    formulas : mapping of style to formula
    fields, groups : set of str
        What the panel has.

    Raises
    ------
    SettingsError
        A formula cannot be read.
    MissingColumnError
        A formula needs a field that the panel lacks.
    """

    def __init__(self, formulas: Mapping[str, str], fields: set[str], groups: set[str]) -> None:
        from factors.library import FormulaError, compile_library

        try:
            self._library = compile_library(dict(formulas))
        except FormulaError as error:
            raise SettingsError(f"custom style: {error}", field="style_factors.custom") from error
        missing = [name for name in (*self._library.fields, *self._library.groups) if name not in fields | groups]
        if missing:
            raise MissingColumnError(f"a custom style needs {missing[0]!r}, which the panel lacks", field=missing[0])
        self._stream: Any = None
        self._wider: Any = None  # a copy that follows names that the stream does not, for peeks alone

    @property
    def needs(self) -> tuple[str, ...]:
        """The fields that the formulas read."""
        return tuple(self._library.fields)

    def compute(
        self,
        fields: Mapping[str, Array],
        groups: Mapping[str, NDArray[np.int16]],
        dates: NDArray[np.datetime64],
        *,
        keep: bool = True,
    ) -> dict[str, Array]:
        """Give the raw values of the next dates, each [n_new, n_assets]; one date, where it is not kept."""
        n_assets = next(iter(fields.values())).shape[1]
        if not keep:
            row = self._peeker(n_assets).peek(*self._row(fields, groups, 0), dates[0])
            return {name: np.array(row[number])[None] for number, name in enumerate(self._library.ids)}
        self._wider = None
        if self._stream is None:
            self._stream = self._library.stream(n_assets)
        elif self._stream.n_assets < n_assets:
            self._stream.grow(n_assets)
        rows = np.empty((len(self._library.ids), len(dates), n_assets))
        for t, date in enumerate(dates):
            rows[:, t] = self._stream.update(*self._row(fields, groups, t), date)
        return {name: rows[number] for number, name in enumerate(self._library.ids)}

    def _row(
        self, fields: Mapping[str, Array], groups: Mapping[str, NDArray[np.int16]], t: int
    ) -> tuple[dict[str, Array], dict[str, NDArray[np.int16]]]:
        return (
            {name: fields[name][t] for name in self._library.fields},
            {name: groups[name][t] for name in self._library.groups},
        )

    def _peeker(self, n_assets: int) -> Any:
        """The stream, or a copy of it that follows as many names."""
        if self._stream is not None and self._stream.n_assets == n_assets:
            return self._stream
        if self._wider is None or self._wider.n_assets != n_assets:
            self._wider = self._library.stream(n_assets)
            if self._stream is not None:
                self._wider.restore(self._stream.state())
        return self._wider

    def state(self) -> dict[str, NDArray[Any]]:
        """Give what the next date needs."""
        return {} if self._stream is None else {name: np.array(value) for name, value in self._stream.state().items()}

    def restore(self, state: Mapping[str, NDArray[Any]], n_assets: int) -> None:
        """Take up what `state` gave."""
        if state:
            self._stream = self._library.stream(n_assets)
            self._stream.restore({name: np.array(value) for name, value in state.items()})
