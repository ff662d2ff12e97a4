"""Factors and formulas of several watches as one plan on one model's panel, and the forms of their values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from factors.library import Conventions, Definition, Expression, Stream, compile_library
from factors.library.definitions.fields import computable, library_fields
from factors.library.definitions.scores import ranks, zscores
from factors.library.run.begin import begin
from factors.live.library_row import LibraryRow
from factors.panel.panel import Array, Panel

Form = Literal["raw", "rank", "zscore"]
FORMS: tuple[Form, ...] = get_args(Form)


class LiveFactors:
    """The union of several watches' factors and formulas, compiled as one library and warmed on a panel.

    Not for several threads at once: whoever shares it holds a lock around `peek` and the reading of its result.

    Parameters
    ----------
    formulas : mapping of id to text, Expression or Definition
        A formula that two watches ask for is one entry; equal subexpressions are computed once anyway.
    panel : Panel
        The model's history up to its last date, at least `rows_needed` rows of it (all of it, where a factor is
        recursive).
    conventions : Conventions, optional
        For texts, and for the others in place of their own.
    threads : int
    benchmark_level : float, optional
        As in `library_fields`: the proxy's close on the panel's first row, where that is not the first of the history.

    Attributes
    ----------
    ids : tuple of str
        The formulas that the panel's fields can compute, in the order of the rows of the values.
    missing : dict of str to str
        The others, each with the fields that it lacks.
    symbols : tuple of str
    date : datetime64[D]
        The last final date.
    """

    def __init__(
        self,
        formulas: Mapping[str, str | Expression | Definition],
        panel: Panel,
        *,
        conventions: Conventions | None = None,
        threads: int = 1,
        benchmark_level: float | None = None,
    ) -> None:
        fields = library_fields(panel, benchmark_level)
        library = compile_library(formulas, conventions)
        self.ids, self.missing = computable(library, fields.available)
        self.symbols = panel.symbols
        self.date = panel.dates[-1]
        self._peeked: np.datetime64 | None = None
        self._stream: Stream | None = None
        self._before: LibraryRow | None = None
        self._final = np.empty((0, panel.n_assets))
        if not self.ids:  # of nothing there is no library
            return
        if len(self.ids) < len(library.ids):
            chosen: Mapping[str, Any] = {name: formulas[name] for name in self.ids}
            library = compile_library(chosen, conventions)
        self._stream = library.stream(panel.n_assets, threads)
        n = panel.n_dates - begin(library, fields.fields, panel.n_dates - 1, panel.n_dates)
        rows = {name: values[-n:] for name, values in fields.fields.items()}
        groups = {name: codes[-n:] for name, codes in fields.groups.items()}
        self._final = self._stream.warm(rows, groups, panel.dates[-n:])
        self._stream.count_from_listing(fields.fields, panel.n_dates)
        self._before = LibraryRow(library, panel, fields)

    @property
    def needs(self) -> tuple[str, ...]:
        """The panel's own fields that `peek` and `update` read."""
        return () if self._before is None else self._before.needs

    @property
    def categories(self) -> tuple[str, ...]:
        """The panel's own categories that `peek` and `update` read."""
        return () if self._before is None else self._before.categories

    @property
    def n_factors(self) -> int:
        """Rows of the values."""
        return len(self.ids)

    def peek(
        self,
        fields: Mapping[str, Array],
        categories: Mapping[str, NDArray[np.int16]],
        date: Any,
        changed: NDArray[np.intp] | None = None,
    ) -> Array:
        """Give the values of a provisional row; what is carried stays as at the last close.

        Parameters
        ----------
        fields : mapping of str to float64 [n_assets]
            The panel's own fields (those of `needs`), adjusted as the panel's are (`LiveDay.adjusted`); proxies (vwap,
            amount, shares, the benchmark, ...) are made of them as for a final row. NaN for names that were not seen.
        categories : mapping of str to int16 [n_assets]
            Codes, below 0 for none.
        date : datetime64[D]
        changed : int array, optional
            Columns that differ from the last peek; see `Stream.peek`.

        Returns
        -------
        float64 [n_factors, n_assets]
            Not to be written to, and filled anew by the next `peek`.
        """
        if self._stream is None or self._before is None:
            return self._final
        day = np.datetime64(date, "D")
        columns = changed if self._peeked == day else None
        self._peeked = None
        row = self._before.row(fields, categories, columns)
        found = self._stream.peek(*row, day, columns)
        self._peeked = day
        return found

    def update(self, fields: Mapping[str, Array], categories: Mapping[str, NDArray[np.int16]], date: Any) -> Array:
        """Take a final row and give its values; the next peeks go on from it. Parameters as in `peek`."""
        self._peeked = None
        day = np.datetime64(date, "D")
        if self._stream is not None and self._before is not None:
            self._final = self._stream.update(*self._before.row(fields, categories), day)
            self._before.keep()
        self.date = day
        return self._final

    def grow(self, symbols: Sequence[str]) -> None:
        """Follow more names, which stand at the end and begin as names of which no row has been seen.

        Raises
        ------
        ValueError
            If they do not begin with the names followed so far.
        """
        axis = tuple(symbols)
        if axis[: len(self.symbols)] != self.symbols:
            raise ValueError("names are only added, at the end")
        if self._stream is not None and self._before is not None:
            self._stream.grow(len(axis), self._before.shared)
            self._before.grow(len(axis))
        self._peeked = None
        self._final = np.pad(self._final, ((0, 0), (0, len(axis) - len(self.symbols))), constant_values=np.nan)
        self.symbols = axis

    def call(self, symbols: Sequence[str]) -> None:
        """Call the names otherwise, each in its place: symbols change."""
        if len(symbols) != len(self.symbols):
            raise ValueError(f"{len(symbols)} names for {len(self.symbols)}")
        self.symbols = tuple(symbols)

    def final(self) -> Array:
        """Give the values of the last final row, float64 [n_factors, n_assets]."""
        return self._final

    def rows_of(self, ids: Sequence[str]) -> NDArray[np.intp]:
        """Give the rows of some factors in the values. Raises `KeyError` for one that is not there."""
        position = {name: i for i, name in enumerate(self.ids)}
        return np.array([position[name] for name in ids], dtype=np.intp)

    def close(self) -> None:
        """End the threads."""
        if self._stream is not None:
            self._stream.close()


def in_form(values: Array, form: Form) -> Array:
    """Give cross-sections in the form that a watch asks for; NaN stays NaN.

    Parameters
    ----------
    values : float64 [n_factors, n_assets]
    form : "raw", "rank" or "zscore"
        The rank is in (0, 1], the share of the names with a value that are at or below, ties averaged. The z-score has
        mean 0 and deviation 1 (ddof 1) over the names, of the values clipped at 3 deviations; 0 where all are alike.
        Both are the forms of `factors.library.definitions.scores.cross_section`, to the bit.
    """
    if form == "raw":
        return values
    if form == "rank":
        return ranks(values)
    if form == "zscore":
        return zscores(values)
    raise ValueError(f"form is {form!r}; expected one of {', '.join(FORMS)}")
