"""Formulas to one compiled library: a common graph, a plan, batch and streaming."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from factors.library.compile.graph import Graph, counted_from_listing
from factors.library.compile.lowering import lower
from factors.library.compile.plan import Plan
from factors.library.definitions.catalogue import Definition
from factors.library.kernels.types import F8
from factors.library.language import names
from factors.library.language.conventions import PAPER, Conventions
from factors.library.language.errors import CancelledError, FieldsError, FormulaError
from factors.library.language.syntax import Expression, parse
from factors.library.run.clock import DAY, Clock, clock_of
from factors.library.run.machine import Machine
from factors.library.run.stream import Stream
from factors.library.run.values import FactorValues
from factors.notebook.shown import Shown
from factors.numeric import deadline

if TYPE_CHECKING:
    import polars as pl
    from matplotlib.axes import Axes

DEFAULT_BLOCK_ROWS = 16
Progress = Callable[[int, int], None]


class Library(Shown):
    """Compiled formulas.

    Attributes
    ----------
    ids : tuple of str
        In the order of the result.
    fields, groups : tuple of str
        What `run` and `update` need.
    warmup : dict of str to int
        Rows before the first possible value of each factor.
    lookback : dict of str to int
        Rows from which a start elsewhere agrees bit for bit, recursive factors apart; more than the warm-up
        where `min_periods` lets a value out early.
    inputs : dict of str to tuple of str
        Fields and groups below each factor.
    recursive : frozenset of str
        Factors whose value depends on where the data begin.
    counted_from_listing : frozenset of tuple of str
        Fields whose first common row a conditional counts from; see `factors.library.run.begin`.
    """

    def __init__(self, expressions: Mapping[str, Expression], listed: Collection[str] = ()) -> None:
        if not expressions:
            raise ValueError("a library needs at least one formula")
        graph = Graph()
        outputs = []
        for name, expression in expressions.items():
            try:
                outputs.append(lower(graph, expression, listed=name in listed))
            except FormulaError as error:
                raise FormulaError(f"{name}: {error.message}", error.line, error.column, error.expected) from None
        self.ids = tuple(expressions)
        self.plan = Plan(graph, outputs)
        self.counted_from_listing = counted_from_listing(graph)
        nodes = [graph.nodes[r.node] for r in outputs]
        self.warmup = {name: graph.first(r) for name, r in zip(self.ids, outputs, strict=True)}
        self.lookback = {name: node.settled + r.lag for name, node, r in zip(self.ids, nodes, outputs, strict=True)}
        self.recursive = frozenset(name for name, node in zip(self.ids, nodes, strict=True) if node.recursive)
        self.inputs = {name: tuple(sorted(node.fields)) for name, node in zip(self.ids, nodes, strict=True)}
        every = set().union(*(node.fields for node in nodes))
        self.fields = tuple(sorted(every - names.GROUPS))
        self.groups = tuple(sorted(every & names.GROUPS))

    def to_polars(self) -> pl.DataFrame:
        """Give a row for each factor: its warm-up and look-back in rows, what it reads, whether it is recursive."""
        import polars as pl

        return pl.DataFrame(
            {
                "factor": self.ids,
                "warmup": [self.warmup[name] for name in self.ids],
                "lookback": [self.lookback[name] for name in self.ids],
                "inputs": [", ".join(self.inputs[name]) for name in self.ids],
                "recursive": [name in self.recursive for name in self.ids],
            }
        )

    def _caption(self) -> str:
        return f"Library of {len(self.ids)} factors in {self.n_nodes} operations"

    def _draw(self, axes: Axes) -> None:
        from factors.notebook.charts import bars

        rows = [float(self.warmup[name]) for name in self.ids]
        bars(axes, self.ids, rows, title="Rows before the first value", form=".0f")

    @property
    def n_nodes(self) -> int:
        """Operations after merging, leaves included."""
        return len(self.plan.used)

    def _values(
        self, fields: Mapping[str, Any], groups: Mapping[str, Any], n_dates: int | None
    ) -> tuple[dict[str, NDArray[Any]], int]:
        values = {}
        for name, source in [*((f, fields) for f in self.fields), *((g, groups) for g in self.groups)]:
            if name not in source:
                raise FieldsError(f"{'field' if source is fields else 'group'} {name!r} is missing")
            values[name] = np.asarray(source[name])
        shapes = {name: value.shape for name, value in values.items()}
        first = next(iter(shapes.values()), (n_dates or 0, 1))
        for name, shape in shapes.items():
            if len(shape) != 2 or shape != first or (n_dates is not None and shape[0] != n_dates):
                raise FieldsError(f"{name!r} has shape {shape}; expected {(n_dates, first[-1])}")
        return values, int(first[1])

    def run_blocks(
        self,
        fields: Mapping[str, NDArray[Any]],
        *,
        dates: NDArray[np.datetime64],
        groups: Mapping[str, NDArray[Any]] | None = None,
        threads: int = 1,
        progress: Progress | None = None,
        cancel: Callable[[], bool] | None = None,
        block: int = DEFAULT_BLOCK_ROWS,
        out: F8 | None = None,
        bar: Any = None,
    ) -> Iterator[tuple[int, F8]]:
        """Compute block by block of dates, in memory that does not grow with the number of dates.

        Parameters
        ----------
        fields : mapping of str to array [n_dates, n_assets]
        dates : datetime64 array [n_dates], increasing
            Days, or timestamps of bars.
        groups : mapping of str to array of codes [n_dates, n_assets], below 0 for none
        threads : int
        progress : callable of (rows done, rows in all)
        cancel : callable; the batch stops with CancelledError when it gives true
        block : int
            Rows per block.
        out : array [n_factors, n_dates, n_assets], optional
            Where the results go; else each block is one array, used again for the next.
        bar : timedelta64, optional
            The length of a bar; by default a day for days, else the shortest time between two rows (`clock.clock_of`).

        Yields
        ------
        (first row, array [n_factors, n_rows, n_assets]) in the order of `ids`.

        Raises
        ------
        FieldsError, CancelledError
        """
        clock = clock_of(dates, bar)
        bars, sessions = clock.read(dates)
        values, n = self._values(fields, groups or {}, len(bars))
        machine = Machine(self.plan, n, min(block, max(len(bars), 1)), threads, clock=clock)
        own = np.empty((len(self.ids), machine.block, n)) if out is None else None
        try:
            for t in range(0, len(bars), machine.block):
                if cancel is not None and cancel():
                    raise CancelledError(f"cancelled after {t} of {len(bars)} dates")
                deadline.check()
                end = min(t + machine.block, len(bars))
                machine.load({name: value[t:end] for name, value in values.items()}, bars[t:end])
                target = own[:, : end - t] if own is not None else out[:, t:end]  # type: ignore[index]
                machine.run(target, bars[t:end], sessions[t:end])
                if progress is not None:
                    progress(end, len(bars))
                yield t, target
        finally:
            machine.close()

    def run(
        self,
        fields: Mapping[str, NDArray[Any]],
        *,
        dates: NDArray[np.datetime64],
        groups: Mapping[str, NDArray[Any]] | None = None,
        threads: int = 1,
        progress: Progress | None = None,
        cancel: Callable[[], bool] | None = None,
        block: int = DEFAULT_BLOCK_ROWS,
        bar: Any = None,
    ) -> FactorValues:
        """Compute every factor, as a dict of arrays `[n_dates, n_assets]` by id; parameters as in `run_blocks`."""
        _, n = self._values(fields, groups or {}, len(dates))
        out = np.empty((len(self.ids), len(dates), n))
        for _ in self.run_blocks(
            fields,
            dates=dates,
            groups=groups,
            threads=threads,
            progress=progress,
            cancel=cancel,
            block=block,
            out=out,
            bar=bar,
        ):
            pass
        return FactorValues(zip(self.ids, out, strict=True), dates)

    def stream(self, n_assets: int, threads: int = 1, *, bar: Any = DAY) -> Stream:
        """Start a stream of rows over so many names; rows are days, or bars of another length (`clock.Clock`)."""
        return Stream(self.plan, self.ids, self.fields, self.groups, n_assets, threads, Clock(bar))


def compile_library(
    formulas: Mapping[str, str | Expression | Definition],
    conventions: Conventions | None = None,
    *,
    listed: bool = False,
) -> Library:
    """Compile formulas into one library.

    A factor of the catalogue (a Definition) is one of the names that have a row on the date: a name that left, or
    pauses, has none, whatever its past rows would still give. A text or Expression answers as the language says.

    Parameters
    ----------
    formulas : mapping of id to text, Expression or Definition
    conventions : Conventions, optional
        For texts; for an Expression or Definition its own hold unless one is given here.
    listed : bool
        Whether texts and Expressions are taken for factors, too.

    Raises
    ------
    FormulaError
        With the id.
    """
    expressions = {}
    for name, formula in formulas.items():
        if isinstance(formula, str):
            try:
                expressions[name] = parse(formula, conventions or PAPER)
            except FormulaError as error:
                raise FormulaError(f"{name}: {error.message}", error.line, error.column, error.expected) from None
        else:
            expression = formula.expression if isinstance(formula, Definition) else formula
            if conventions is not None and conventions != expression.conventions:
                definitions = formula.definitions if isinstance(formula, Definition) else None
                expression = parse(expression.text, conventions, definitions=definitions)
            expressions[name] = expression
    factors = [name for name, formula in formulas.items() if listed or isinstance(formula, Definition)]
    return Library(expressions, factors)
