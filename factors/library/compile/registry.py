"""Which builder each operator has: what makes graph nodes of a call.

A builder registers itself with `builds` in a file of this folder that is called `builders` or `builders_<what>`; every
such file is read when the first formula is lowered. So a new operator is a builder in a file of its own here and a row
in language/operators.py, and kernels of its own only where no node does what it needs.
"""

from __future__ import annotations

import pkgutil
import sys
from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

from factors.library.compile.graph import Ref

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
    return BUILDERS
