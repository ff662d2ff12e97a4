"""The kernels that are found by their files: each `<kind>_<operator>.py` of this folder has one.

Such a kernel is all that its operator needs beside a row in language/operators.py: it has no code of its own in the
layout, no branch in the driver, and no builder. Its instruction says by number, in `MODE`, which of its kind it is.
"""

from __future__ import annotations

import pkgutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, reduce
from importlib import import_module
from typing import Any

from factors.library.kernels.layout import MODE
from factors.library.kernels.types import kernel

WINDOW, CARRY, ACROSS = "window", "carry", "across"


@dataclass(frozen=True, slots=True)
class Found:
    """A kernel that was found.

    Attributes
    ----------
    operator : str
    run : callable
        The kernel, compiled when it is first called.
    state : int
        Numbers of an asset that it carries from row to row.
    speaks : bool
        Whether it may answer on a row on which what it reads is missing.
    """

    operator: str
    run: Callable[..., None]
    state: int = 0
    speaks: bool = False


_found: dict[str, dict[str, Found]] = {WINDOW: {}, CARRY: {}, ACROSS: {}}


def window(function: Callable[..., None]) -> Callable[..., None]:
    """Compile and register the kernel over a window of the operator that the function is named after.

    Its parameters are `A, c, F, n, t0, t1, j0, j1, S`: the arena, the instruction's ints and all plans' floats
    (kernels/layout.py), the assets of the panel, the rows [t0, t1) and assets [j0, j1) to fill, and scratch rows of at
    least j1 - j0 numbers. The operand's last row is read at `c[I0]` with lag `c[L0]`, and so many as `c[W]` says;
    `c[MINP]` of them must be there.
    """
    return _register(WINDOW, function)


def carry(*, state: int, speaks: bool = False) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Compile and register a kernel that carries `state` numbers of each asset from row to row; they begin as 0.

    Its parameters are `A, c, F, n, t0, t1, j0, j1`, as of `window`. What it carries lies at `c[ST]`, `state` rows of n
    numbers. A NaN operand gives NaN and leaves what is carried, unless it `speaks`. The operator's first integer, if it
    has one, is at `c[W]`, and the first value comes on that row.
    """

    def register(function: Callable[..., None]) -> Callable[..., None]:
        return _register(CARRY, function, state, speaks=speaks)

    return register


def across(function: Callable[..., None]) -> Callable[..., None]:
    """Compile and register a kernel across the names of a date.

    Its parameters are `x, c, y, z, F`: the date's row of the first operand, the instruction's ints, the row of the
    second operand (of the first where there is none), the row to fill, and all plans' floats, the operator's own from
    `F[c[FC]]` on. Names that have no row today are NaN in x and y.
    """
    return _register(ACROSS, function)


def _register(kind: str, function: Callable[..., None], state: int = 0, *, speaks: bool = False) -> Callable[..., None]:
    compiled = kernel(function)
    _found[kind][function.__name__] = Found(function.__name__, compiled, state, speaks)
    return compiled


@cache
def kernels(kind: str) -> tuple[Found, ...]:
    """Give every kernel of a kind that was found; their order is that of the files' names."""
    package = sys.modules[__name__.rpartition(".")[0]]
    for module in pkgutil.iter_modules(package.__path__):
        if module.name.startswith(f"{kind}_"):
            import_module(f"{package.__name__}.{module.name}")
    return tuple(_found[kind][name] for name in sorted(_found[kind]))


def chain(found: tuple[Found, ...]) -> Any:
    """Make the one kernel that runs the one of these which the instruction names."""
    return reduce(_before, reversed(list(enumerate(one.run for one in found))), _none)


@kernel
def _none(first: Any, c: Any, *rest: Any) -> None:
    """Run nothing: the end of a chain, which no instruction reaches."""


def _before(others: Any, one: tuple[int, Callable[..., None]]) -> Any:
    number, own = one

    @kernel
    def step(first: Any, c: Any, *rest: Any) -> None:
        if c[MODE] == number:
            own(first, c, *rest)
        else:
            others(first, c, *rest)

    return step
