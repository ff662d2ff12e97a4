"""The mathematics of a Barra-style equity factor model, usable without any service.

`FactorModel`, `Panel` and the settings are imported when they are first asked for: an actor that runs one kernel should
not pay for the rest.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

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


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'factors' has no attribute {name!r}")
    return getattr(import_module(_WHERE[name]), name)
