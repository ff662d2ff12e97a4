"""The factor library: formula language, compiler, catalogue, batch and streaming."""

from factors.library.catalogue import Alias, Catalogue, Definition
from factors.library.compiler import Library, compile_library
from factors.library.conventions import PAPER, PRESETS, Conventions, conventions
from factors.library.errors import CancelledError, CatalogueError, FieldsError, FormulaError, LibraryError
from factors.library.stream import Stream
from factors.library.syntax import Expression, parse

__all__ = [
    "PAPER",
    "PRESETS",
    "Alias",
    "CancelledError",
    "Catalogue",
    "CatalogueError",
    "Conventions",
    "Definition",
    "Expression",
    "FieldsError",
    "FormulaError",
    "Library",
    "LibraryError",
    "Stream",
    "compile_library",
    "conventions",
    "parse",
]
