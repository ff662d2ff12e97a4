"""The mathematics of a Barra-style equity factor model, usable without any service.

`FactorModel`, `Panel` and the settings are imported when they are first asked for: an actor that runs one kernel should
not pay for the rest.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # what is imported late has its type all the same
    from factors.errors import FactorError
    from factors.factor_model import FactorModel, Latest
    from factors.factor_model.settings import ModelSettings
    from factors.factor_model.state import ModelState
    from factors.panel import Categories, Panel
    from factors.sample import sample_market

_WHERE = {
    "Categories": "factors.panel",
    "FactorError": "factors.errors",
    "FactorModel": "factors.factor_model",
    "Latest": "factors.factor_model",
    "ModelSettings": "factors.factor_model.settings",
    "ModelState": "factors.factor_model.state",
    "Panel": "factors.panel",
    "sample_market": "factors.sample",
}

__all__ = [
    "Categories",
    "FactorError",
    "FactorModel",
    "Latest",
    "ModelSettings",
    "ModelState",
    "Panel",
    "sample_market",
]


if not TYPE_CHECKING:  # a type checker would take every name for this function's

    def __getattr__(name: str) -> Any:
        if name not in _WHERE:
            raise AttributeError(f"module 'factors' has no attribute {name!r}")
        return getattr(import_module(_WHERE[name]), name)
