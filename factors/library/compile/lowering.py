"""Typed terms to graph nodes under the formula's conventions."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from factors.library.compile.graph import Graph, Ref
from factors.library.compile.registry import Settings, builders
from factors.library.kernels.layout import Op
from factors.library.language import names
from factors.library.language.conventions import Conventions
from factors.library.language.errors import FormulaError
from factors.library.language.operators import OPERATORS
from factors.library.language.syntax import Expression, Term, parse


class Lowering:
    """Adds one formula to a graph. Builders call its helpers.

    Parameters
    ----------
    graph : Graph
        Grows.
    conventions : Conventions
    """

    def __init__(self, graph: Graph, conventions: Conventions) -> None:
        self.graph = graph
        self.conventions = conventions
        self._done: dict[int, Ref] = {}
        self._keep: list[Term] = []

    def lower(self, term: Term) -> Ref:
        """Graph operand of a term.

        Raises
        ------
        FormulaError
            With the term's position, if it looks back too far.
        """
        known = self._done.get(id(term))
        if known is not None:
            return known
        try:
            ref = self._lower(term)
        except FormulaError as error:
            if error.position != (1, 1):
                raise
            raise FormulaError(error.message, *term.position, error.expected) from None
        self._done[id(term)] = ref
        self._keep.append(term)
        return ref

    def _lower(self, term: Term) -> Ref:
        if term.kind == "number":
            return self.graph.constant(term.value)
        if term.kind == "name":
            return self.named(term.name)
        builder = builders()[term.name]
        constant = {"integer": int, "number": float}
        args: list[Any] = []
        parameters = OPERATORS[term.name].parameters
        for i, argument in enumerate(term.args):
            kind = parameters[min(i, len(parameters) - 1)].kind
            args.append(constant[kind](argument.value) if kind in constant else self.lower(argument))
        return builder(self, args, dict(term.settings))

    def named(self, name: str) -> Ref:
        """Field, group or derived name."""
        if name in names.GROUPS:
            if name == "subindustry" and self.conventions.subindustry == "industry":
                name = "industry"
            return self.graph.add(Op.FIELD, name=name)
        text = names.expansion(name, self.conventions)
        if text is None:
            return self.graph.add(Op.FIELD, name=name)
        return self.text(text)

    def text(self, text: str) -> Ref:
        """Operand of a derived name's text."""
        return self.lower(parse(text, replace(self.conventions, minmax_constant="rolling")).root)

    def element(self, op: Op, *operands: Ref) -> Ref:
        """Element-by-element operation."""
        return self.graph.add(op, operands)

    def number(self, value: float) -> Ref:
        """Constant operand."""
        return self.graph.constant(value)

    def window(
        self, op: Op, operands: tuple[Ref, ...], d: int, settings: Settings, *,
        mode: int = 0, more: tuple[int, ...] = (), floats: tuple[float, ...] = (),
    ) -> Ref:  # fmt: skip
        """Operation over the last `d` rows, strict or with `min_periods`."""
        least = self.min_periods(d, settings)
        # a sorted window also needs the row that leaves it
        reads = d if op == Op.SORTED else d - 1
        return self.graph.add(
            op, operands, ints=(mode, d, least, *more), floats=floats, lookback=reads, warmup=least - 1
        )

    def min_periods(self, d: int, settings: Settings) -> int:
        """Rows that must be present in a window of `d`."""
        default = 1 if self.conventions.min_periods == "one" else d
        return int(settings.get("min_periods", default))

    def strict(self, op: Op, operands: tuple[Ref, ...], d: int, **kwargs: Any) -> Ref:
        """Operation over the last `d` rows that never takes `min_periods`."""
        return self.window(op, operands, d, {"min_periods": d}, **kwargs)

    def constant_value(self, ref: Ref) -> float | None:
        """Number that the operand is, if it is one."""
        node = self.graph.nodes[ref.node]
        return node.floats[0] if node.op == Op.CONSTANT else None

    def compare(self, op: Op, x: Ref, y: Ref) -> Ref:
        """Comparison under the convention on NaN: undefined, or answered from the name's first row on."""
        ref = self.element(op, x, y)
        if self.conventions.comparison_nan != "false":
            return ref
        # As IEEE 754 has it: only "not equal" holds of what is missing.
        answer = self.number(float(op == Op.NE))
        own = self.graph.reach((x, y), "own").of
        if own:
            spoken = self.element(Op.LE, self.number(0.0), self._age(own))
            answer = self.element(Op.MUL, answer, spoken)
        return self.element(Op.COALESCE, ref, answer)

    def where(self, c: Ref, x: Ref, y: Ref) -> Ref:
        """Conditional, silent until its longest branch has its rows (rule 4).

        Rows of a name's own fields count from its listing, those of an aggregate over names from that series' own
        beginning: a name that lists today has a market return of yesterday. Where comparisons with what is missing are
        false there is always an answer, from the name's first row on.
        """
        if self.conventions.comparison_nan == "false":
            return self.graph.add(Op.WHERE, (c, x, y), ints=(0,))
        own, market = (self.graph.reach((c, x, y), kind) for kind in ("own", "market"))
        if market.of and max(self.graph.warmup(r) for r in (c, x, y)) > own.rows:
            spoken = self.element(Op.LE, self.number(float(market.rows)), self._age(market.of))
            c = self.graph.add(Op.WHERE, (spoken, c, self.number(math.nan)), ints=(0,))
        if own.rows == 0:
            return self.graph.add(Op.WHERE, (c, x, y), ints=(0,))
        return self.graph.add(Op.WHERE, (c, x, y, self._age(own.of)), ints=(own.rows,))

    def across(
        self, op: Op, operands: tuple[Ref, ...], *, ints: tuple[int, ...], floats: tuple[float, ...] = ()
    ) -> Ref:
        """Operation across the names that have a row today (rule 5); the first operand decides of a deviation's."""
        deciding = operands[:1] if op == Op.STANDARDIZE else operands
        if not any(self.graph.silent(r) for r in deciding):
            operands = (self.here(operands[0], deciding), *operands[1:])
        return self.graph.add(op, operands, ints=ints, floats=floats)

    def here(self, ref: Ref, of: tuple[Ref, ...]) -> Ref:
        """Value where any of the name's own fields below the operands `of` is there today, else missing."""
        below = self.graph.reach(of, "own").of
        own = [Ref(i) for i in sorted(below) if self.graph.nodes[i].name not in names.SHARED]
        if self.conventions.absent == "counted" or not own:
            return ref
        there = own[0]
        for other in own[1:]:
            there = self.element(Op.COALESCE, there, other)
        return self.graph.add(Op.WHERE, (self.element(Op.EQ, there, there), ref, self.number(math.nan)), ints=(0,))

    def _age(self, of: frozenset[int]) -> Ref:
        """Rows since all of these nodes have been there on one row."""
        return self.graph.add(Op.AGE, tuple(Ref(node) for node in sorted(of)))

    def power(self, x: Ref, a: Ref) -> Ref:
        """Power; small whole and half exponents by multiplication and root."""
        exponent = self.constant_value(a)
        if exponent == 1.0:
            return x
        if exponent == 2.0:
            return self.element(Op.SQUARE, x)
        if exponent == 0.5:
            return self.element(Op.SQRT, x)
        if exponent == -1.0:
            return self.element(Op.INV, x)
        if exponent in (3.0, 4.0, 5.0):
            square = self.element(Op.SQUARE, x)
            if exponent == 3.0:
                return self.element(Op.MUL, square, x)
            fourth = self.element(Op.SQUARE, square)
            return fourth if exponent == 4.0 else self.element(Op.MUL, fourth, x)
        return self.element(Op.POW, x, a)

    def group(self, g: Ref) -> Ref:
        """Group operand of a neutralisation under the convention on its level."""
        level = self.conventions.neutralisation
        return g if level in ("as_written", "none") else self.named(level)


def lower(graph: Graph, expression: Expression, *, listed: bool = False) -> Ref:
    """Add a formula to the graph and give its operand.

    With `listed` it is a factor of names that have a row today: a name that has left has no value of its past rows.
    """
    lowering = Lowering(graph, expression.conventions)
    ref = lowering.lower(expression.root)
    if listed and not graph.silent(ref):
        ref = lowering.here(ref, (ref,))
    node = graph.nodes[ref.node]
    if ref.lag or node.op in (Op.FIELD, Op.CONSTANT):
        return graph.add(Op.COPY, (ref,))
    return ref
