"""Whether a value is missing for a name without a row today: what counts in the cross-section of a date."""

from __future__ import annotations

import math
from collections.abc import Sequence

from factors.library.kernels.found import CARRY, kernels
from factors.library.kernels.layout import Op, across_names
from factors.library.language.names import GROUPS, SHARED

# Answers of what is missing, or from rows before today, whatever today holds.
_SPEAKS = frozenset((Op.ISNAN, Op.AGE, Op.FFILL))
_FIRST_WINDOW, _LAST_WINDOW = Op.SUM, Op.LONG_MREG
_OWN_ACROSS = frozenset(
    (Op.RANK, Op.STANDARDIZE, Op.WINSORIZE, Op.GAUSS_RANK, Op.BUCKET, Op.FOUND_ACROSS, Op.GROUP, Op.GROUP_RANK)
)


def silent(
    op: Op, ints: Sequence[int], floats: Sequence[float], name: str, inputs: Sequence[bool], *, aggregates: bool
) -> bool:
    """Say whether an operation is missing wherever none of the name's own fields below it is there today.

    Parameters
    ----------
    ints, floats, name : as of a node
    inputs : sequence of bool
        The same of each operand; False of one that is read some rows ago.
    aggregates : bool
        Whether the operation speaks for a name of other names' values.
    """
    if op == Op.FIELD:
        return name not in GROUPS and name not in SHARED
    if op == Op.CONSTANT:
        return math.isnan(floats[0])
    if op in _SPEAKS or aggregates or (op == Op.FOUND_CARRY and kernels(CARRY)[ints[0]].speaks):
        return False
    if op == Op.COALESCE:
        return all(inputs)
    if op == Op.WHERE:
        return inputs[0] or (inputs[1] and inputs[2])
    if _FIRST_WINDOW <= op <= _LAST_WINDOW:
        whole = ints[2] == ints[1]
        return whole and any(inputs)
    if op in _OWN_ACROSS:
        return inputs[0]
    if across_names(op):
        # A residual is of all its operands but the weights, which stand second.
        return inputs[0] or any(inputs[2 if ints[0] == 1 else 1 :])
    return any(inputs)
