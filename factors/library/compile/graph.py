"""The one typed graph that formulas are lowered to; equal subexpressions of all formulas become one node."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

from factors.library.compile.absent import silent
from factors.library.kernels.layout import Op
from factors.library.language import limits
from factors.library.language.errors import FormulaError
from factors.library.language.names import GROUPS


class Ref(NamedTuple):
    """A node's value, `lag` rows ago."""

    node: int
    lag: int = 0


class Reach(NamedTuple):
    """Nodes that a value is made of, and the rows that it has to wait for them: none of them, 0 rows."""

    of: frozenset[int] = frozenset()
    rows: int = 0


@dataclass(frozen=True, slots=True)
class Node:
    """One operation.

    Attributes
    ----------
    op : Op
    inputs : tuple of Ref
    ints : tuple of int
        mode, window, min_periods and up to two more, as the kernel reads them.
    floats : tuple of float
        Constants the kernel reads.
    name : str
        Of a field.
    lookback : tuple of int
        Rows of each input that the kernel reads beyond the current one.
    warmup : int
        Rows that a value has to wait for all that it reads.
    first : int
        Rows before the first possible value; less than the warm-up where `isnan`, `fillna` or `coalesce` is asked to
        speak before its operand does.
    settled : int
        Rows before the value no longer depends on where the data begin, recursion apart; more than the
        warm-up where `min_periods` lets a value out early.
    recursive : bool
        Whether the value depends on where the data begin.
    fields : frozenset of str
        Fields below it.
    own : Reach
        What of the name itself it reads: of an aggregate over names, nothing.
    market : Reach
        What it reads of aggregates over names.
    silent : bool
        Whether it is missing for a name none of whose own fields is there today.
    """

    op: Op
    inputs: tuple[Ref, ...]
    ints: tuple[int, ...]
    floats: tuple[float, ...]
    name: str
    lookback: tuple[int, ...]
    warmup: int
    first: int
    settled: int
    recursive: bool
    fields: frozenset[str]
    own: Reach
    market: Reach
    silent: bool


_COMMUTATIVE = frozenset((Op.ADD, Op.MUL, Op.MAX, Op.MIN, Op.EQ, Op.NE, Op.AND, Op.OR))
_ALL_RECURSIVE = frozenset((Op.EMA, Op.KAMA, Op.SAR, Op.MAMA, Op.HILBERT, Op.CUMULATE, Op.FOUND_CARRY))
_AGGREGATES = frozenset((Op.CS_AGGREGATE, Op.CS_QUANTILE, Op.CS_WEIGHTED, Op.CS_PAIR))
_GROUP_AGGREGATES = frozenset((Op.GROUP_WEIGHTED, Op.GROUP_MEDIAN))
_LAST_GROUP_AGGREGATE = 5  # of the modes of GROUP: mean, sum, deviation, count, least, largest


def one_for_all(op: Op, ints: tuple[int, ...]) -> bool:
    """Whether the operation gives one number of a date to all names."""
    return op in _AGGREGATES or (op == Op.CS_RESIDUAL and ints[0] > 1)


def _aggregates(op: Op, ints: tuple[int, ...]) -> bool:
    """Whether the operation speaks for a name of other names' values, its own or not."""
    return one_for_all(op, ints) or op in _GROUP_AGGREGATES or (op == Op.GROUP and ints[0] <= _LAST_GROUP_AGGREGATE)


class Graph:
    """Nodes in topological order, hash-consed."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self._known: dict[tuple[object, ...], int] = {}

    def add(
        self,
        op: Op,
        inputs: tuple[Ref, ...] = (),
        *,
        ints: tuple[int, ...] = (),
        floats: tuple[float, ...] = (),
        name: str = "",
        lookback: int | tuple[int, ...] = 0,
        warmup: int = 0,
    ) -> Ref:
        """Node for the operation, an existing one where it is known.

        `lookback` is the rows that the kernel reads beyond the current one, of every input or of each;
        `warmup` is what the operation adds to that of its inputs.

        Raises
        ------
        FormulaError
            If the total look-back passes the bound.
        """
        if op in _COMMUTATIVE:
            inputs = tuple(sorted(inputs))
        reads = (lookback,) * len(inputs) if isinstance(lookback, int) else lookback
        key = (op, inputs, ints, tuple(map(repr, floats)), name)
        known = self._known.get(key)
        if known is not None:
            return Ref(known)
        before = [self.nodes[r.node] for r in inputs]
        total = warmup + max((n.warmup + r.lag for n, r in zip(before, inputs, strict=True)), default=0)
        begins = [n.first + r.lag for n, r in zip(before, inputs, strict=True)]
        first = warmup + (0 if op == Op.ISNAN else (min if op == Op.COALESCE else max)(begins, default=0))
        if op == Op.WHERE:
            first = max(first, ints[0])
        if total > limits.MAX_LOOKBACK_ROWS:
            raise FormulaError(f"looks back {total} rows", expected=(f"at most {limits.MAX_LOOKBACK_ROWS}",))
        fields = frozenset((name,)) if op == Op.FIELD else frozenset().union(*(n.fields for n in before))
        recursive = op in _ALL_RECURSIVE or any(n.recursive for n in before)
        sources = zip(before, inputs, reads, strict=True)
        settled = max((n.settled + r.lag + more for n, r, more in sources), default=0)
        settled = max(settled, total)
        here = len(self.nodes)
        if op == Op.FIELD and name not in GROUPS:
            own, market = Reach(frozenset((here,))), Reach()
        elif _aggregates(op, ints):
            own, market = Reach(), Reach(frozenset((here,)))
        else:
            own, market = (
                _over([(getattr(n, kind), r.lag) for n, r in zip(before, inputs, strict=True)], warmup)
                for kind in ("own", "market")
            )
        quiet = silent(op, ints, floats, name, [self.silent(r) for r in inputs], aggregates=_aggregates(op, ints))
        self.nodes.append(
            Node(op, inputs, ints, floats, name, reads, total, first, settled, recursive, fields, own, market, quiet)
        )
        self._known[key] = here
        return Ref(here)

    def constant(self, value: float) -> Ref:
        """A panel of one number."""
        return self.add(Op.CONSTANT, floats=(value + 0.0,))

    def reach(self, refs: tuple[Ref, ...], kind: str) -> Reach:
        """What the operands together read of the name's own fields ("own") or of aggregates ("market")."""
        return _over([(getattr(self.nodes[r.node], kind), r.lag) for r in refs], 0)

    def silent(self, ref: Ref) -> bool:
        """Whether the operand is missing for a name without a row today."""
        return ref.lag == 0 and self.nodes[ref.node].silent

    def warmup(self, ref: Ref) -> int:
        """Rows that the operand has to wait for all that it reads."""
        return self.nodes[ref.node].warmup + ref.lag

    def first(self, ref: Ref) -> int:
        """Rows before the first possible value of the operand."""
        return self.nodes[ref.node].first + ref.lag

    def is_constant(self, ref: Ref) -> bool:
        """Whether the operand is one number."""
        return self.nodes[ref.node].op == Op.CONSTANT

    def is_nan(self, ref: Ref) -> bool:
        """Whether the operand is the constant NaN."""
        return self.is_constant(ref) and math.isnan(self.nodes[ref.node].floats[0])


def _over(parts: list[tuple[Reach, int]], warmup: int) -> Reach:
    """Join what operands read, each so many rows ago, under an operation that waits for `warmup` rows."""
    there = [(part, lag) for part, lag in parts if part.of]
    if not there:
        return Reach()
    rows = warmup + max(part.rows + lag for part, lag in there)
    return Reach(frozenset().union(*(part.of for part, _ in there)), rows)


def counted_from_listing(graph: Graph) -> frozenset[tuple[str, ...]]:
    """List the fields, several together where they are, whose first common row something counts from."""
    found = set()
    for node in graph.nodes:
        if node.op == Op.AGE:
            below = [graph.nodes[r.node] for r in node.inputs]
            names = tuple(sorted(one.name for one in below if one.op == Op.FIELD))
            found |= {names} if names else set()
    return frozenset(found)
