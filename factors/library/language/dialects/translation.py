"""A formula of another system, what it is in this language, and under which conventions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from factors.library.language import limits
from factors.library.language.conventions import PRESETS, Conventions
from factors.library.language.dialects.brain import from_brain
from factors.library.language.dialects.paper import from_paper
from factors.library.language.dialects.qlib import from_qlib
from factors.library.language.errors import FormulaError


@dataclass(frozen=True)
class Translation:
    """A formula translated.

    Attributes
    ----------
    dialect : str
    source : str
        As it was written.
    text : str
        The same in this language; what is computed.
    conventions : Conventions
        Of the dialect: what its operators mean where implementations differ.
    notes : tuple of str
        Where the translation is not the source to the bit, and why.
    """

    dialect: str
    source: str
    text: str
    conventions: Conventions
    notes: tuple[str, ...] = ()


Reader = Callable[[str], tuple[str, tuple[str, ...]]]
DIALECTS: dict[str, tuple[Reader, str]] = {
    "qlib": (from_qlib, "qlib"),
    "brain": (from_brain, "brain"),
    "paper": (from_paper, "paper"),
}


def translate(text: str, dialect: str) -> Translation:
    """Translate a formula.

    Parameters
    ----------
    text : str
    dialect : {"qlib", "brain", "paper"}
        qlib's expressions; WorldQuant BRAIN's; Alpha101 with the signs that copying from the paper's PDF gives.

    Raises
    ------
    FormulaError
        An unknown dialect, or a formula that is not of it: with line and column of the source and, for an unknown name,
        the nearest three.
    """
    if dialect not in DIALECTS:
        raise FormulaError(f"unknown dialect {dialect!r}", expected=tuple(DIALECTS))
    if len(text) > limits.MAX_TEXT_CHARS:
        raise FormulaError(f"the text has {len(text)} characters", 1, 1, (f"at most {limits.MAX_TEXT_CHARS}",))
    read, preset = DIALECTS[dialect]
    found, notes = read(text)
    return Translation(dialect, text, found, PRESETS[preset], notes)
