"""The factor library: formula language, compiler, catalogue, batch and streaming."""

from factors.library.compile.compiler import Library, compile_library
from factors.library.definitions.catalogue import Alias, Catalogue, Definition
from factors.library.language.conventions import PAPER, PRESETS, Conventions, conventions
from factors.library.language.dialects import DIALECTS, Translation, translate
from factors.library.language.errors import CancelledError, CatalogueError, FieldsError, FormulaError, LibraryError
from factors.library.language.syntax import Expression, parse
from factors.library.run.frames import evaluate
from factors.library.run.stream import Stream

__all__ = [
    "DIALECTS",
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
    "Translation",
    "compile_library",
    "conventions",
    "evaluate",
    "parse",
    "translate",
]
