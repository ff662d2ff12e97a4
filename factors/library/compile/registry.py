"""Which builder each operator has: what makes graph nodes of a call.

A builder registers itself with `builds` in a file of this folder that is called `builders` or `builders_<what>`; every
such file is read when the first formula is lowered. So a new operator is a row in language/operators.py and one file:
a builder here where nodes do what it needs, else a kernel (kernels/found.py), whose builder is `_of_kernel`.
"""

from __future__ import annotations

import pkgutil
import sys
from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

from factors.library.compile.graph import Ref
from factors.library.kernels.found import ACROSS, CARRY, WINDOW, kernels
from factors.library.kernels.layout import Op
from factors.library.language.operators import OPERATORS

if TYPE_CHECKING:
    from factors.library.compile.lowering import Lowering

Settings = dict[str, Any]
Builder = Callable[["Lowering", list[Any], Settings], Ref]
BUILDERS: dict[str, Builder] = {}


def builds(*names: str) -> Callable[[Builder], Builder]:
    """Register the builder of the named operators."""

    def register(function: Builder) -> Builder:
        for name in names:
            BUILDERS[name] = function
        return function

    return register


@cache
def builders() -> dict[str, Builder]:
    """Give every builder by its operator's name, with those of every file of this folder."""
    package = sys.modules[__name__.rpartition(".")[0]]
    for found in pkgutil.iter_modules(package.__path__):
        if found.name.startswith("builders"):
            import_module(f"{package.__name__}.{found.name}")
    made = {one.operator: _of_kernel(kind, n) for kind in _OF_KIND for n, one in enumerate(kernels(kind))}
    return made | BUILDERS


class _Given(NamedTuple):
    """The arguments of a call by their kinds; `number` is the kernel's among those of its kind."""

    number: int
    operands: tuple[Ref, ...]
    integers: tuple[int, ...]
    numbers: tuple[float, ...]


def _over_window(lowering: Lowering, given: _Given, settings: Settings) -> Ref:
    d, *more = given.integers
    return lowering.window(
        Op.FOUND, given.operands, d, settings, mode=given.number, more=tuple(more), floats=given.numbers
    )


def _carrying(lowering: Lowering, given: _Given, _: Settings) -> Ref:
    d, *more = given.integers or (1,)
    ints = (given.number, d, d, *more)
    return lowering.graph.add(Op.FOUND_CARRY, given.operands, ints=ints, floats=given.numbers, warmup=d - 1)


def _across_names(lowering: Lowering, given: _Given, _: Settings) -> Ref:
    ints = (given.number, *given.integers)
    return lowering.across(Op.FOUND_ACROSS, given.operands, ints=ints, floats=given.numbers)


_OF_KIND: dict[str, Callable[[Lowering, _Given, Settings], Ref]] = {
    WINDOW: _over_window, CARRY: _carrying, ACROSS: _across_names,
}  # fmt: skip


def _of_kernel(kind: str, number: int) -> Builder:
    """Make the builder of an operator that a kernel of its own computes, as its row describes it.

    Its panels are the kernel's operands, its first integer is at `W` (over a window, its length), the others are at
    `P0` and `P1`, its numbers at `FC`. Rows of a window may be missing only where the row of the operator takes
    `min_periods`.
    """
    row = OPERATORS[kernels(kind)[number].operator]
    kinds = [parameter.kind for parameter in row.parameters]

    def build(lowering: Lowering, args: list[Any], settings: Settings) -> Ref:
        of: dict[str, list[Any]] = {"integer": [], "number": []}
        operands: list[Ref] = []
        for value, one in zip(args, kinds, strict=True):
            of.get(one, operands).append(value)
        if "min_periods" not in row.settings and of["integer"]:
            settings = {"min_periods": of["integer"][0]}
        return _OF_KIND[kind](
            lowering, _Given(number, tuple(operands), tuple(of["integer"]), tuple(of["number"])), settings
        )

    return build
