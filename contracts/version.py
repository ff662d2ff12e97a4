"""The version of the engine: one, that of the installed package."""

from __future__ import annotations

import importlib.metadata

PACKAGE = "factor-engine"


def _installed() -> str:
    try:
        return importlib.metadata.version(PACKAGE)
    except importlib.metadata.PackageNotFoundError:  # a source tree on a path, installed nowhere
        return "0.0.0"


VERSION = _installed()
