"""The factor library: formula language, compiler, catalogue, batch and streaming."""

from factors.library.conventions import PAPER, PRESETS, Conventions, conventions
from factors.library.errors import CancelledError, CatalogueError, FieldsError, FormulaError, LibraryError
from factors.library.syntax import Expression, parse

__all__ = [
    "PAPER",
    "PRESETS",
    "CancelledError",
    "CatalogueError",
    "Conventions",
    "Expression",
    "FieldsError",
    "FormulaError",
    "LibraryError",
    "conventions",
    "parse",
]
