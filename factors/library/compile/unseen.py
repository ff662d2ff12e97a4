"""What each node of a plan has held so far for a name that no row has shown yet: what a new name begins with."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable
from typing import NamedTuple

from factors.library.compile.graph import Graph, Node, one_for_all
from factors.library.kernels.layout import Op


class Unseen(NamedTuple):
    """The past of a node for a name without data.

    Attributes
    ----------
    as_others : bool
        It was the same for every name, as the market's return is.
    value : float or None
        The one number that it was on every row, NaN where it was missing; None where there is no such number.
    """

    as_others: bool
    value: float | None

    @property
    def nan(self) -> bool:
        """Whether it was missing throughout."""
        return self.value is not None and math.isnan(self.value)


_MISSING, _AS_OTHERS, _UNKNOWN = Unseen(False, math.nan), Unseen(True, None), Unseen(False, None)
_OF_NUMBERS: dict[Op, Callable[..., float]] = {
    Op.COPY: lambda x: x, Op.NEG: lambda x: -x, Op.ABS: abs, Op.NOT: lambda x: 1.0 - x, Op.SQUARE: lambda x: x * x,
    Op.ADD: lambda x, y: x + y, Op.SUB: lambda x, y: x - y, Op.MUL: lambda x, y: x * y, Op.MAX: max, Op.MIN: min,
    Op.LT: lambda x, y: float(x < y), Op.LE: lambda x, y: float(x <= y), Op.EQ: lambda x, y: float(x == y),
    Op.NE: lambda x, y: float(x != y), Op.AND: lambda x, y: x * y, Op.OR: lambda x, y: x + y - x * y,
}  # fmt: skip


def unseen(graph: Graph, used: Iterable[int], shared: Collection[str] = ()) -> dict[int, Unseen]:
    """Say of each node what it has held for a name without data.

    Parameters
    ----------
    used : nodes in topological order
    shared : fields that are the same for all names, whether a name has a row or not
    """
    found: dict[int, Unseen] = {}
    for i in used:
        node = graph.nodes[i]
        found[i] = _of(node, [found[ref.node] for ref in node.inputs], shared)
    return found


def _of(node: Node, inputs: list[Unseen], shared: Collection[str]) -> Unseen:
    op = node.op
    if op == Op.FIELD:
        return _AS_OTHERS if node.name in shared else _MISSING
    if op == Op.CONSTANT:
        return Unseen(True, node.floats[0])
    if one_for_all(op, node.ints):
        return _AS_OTHERS
    if all(value.as_others for value in inputs):
        return _AS_OTHERS
    if op == Op.ISNAN and inputs[0].nan:
        return Unseen(False, 1.0)
    if op == Op.COALESCE:
        return Unseen(False, inputs[1].value) if inputs[0].nan else _UNKNOWN
    if op == Op.WHERE:
        return _conditional(*inputs)
    if any(value.nan for value in inputs):
        return _MISSING
    numbers = [value.value for value in inputs if value.value is not None]
    if op in _OF_NUMBERS and len(numbers) == len(inputs):
        return Unseen(False, float(_OF_NUMBERS[op](*numbers)))
    return _UNKNOWN


def _conditional(condition: Unseen, x: Unseen, y: Unseen, age: Unseen = _AS_OTHERS) -> Unseen:
    # A name's age counts from its own rows: without any, a branch that has a warm-up is silent.
    if condition.nan or not age.as_others or (x.nan and y.nan):
        return _MISSING
    if condition.value is not None:
        return Unseen(False, x.value if condition.value != 0.0 else y.value)
    return _UNKNOWN
