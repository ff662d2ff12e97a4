"""Errors about names that are not there, with those that were meant."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches

from contracts.errors import UnknownFactor

NAMED = 10
"""Names in an error's text; its rows have all."""
LIKE = 0.6
"""How alike two names must be, 0 to 1, for one to be meant by the other."""


def no_factor(wrong: Sequence[str], known: Iterable[str], field: str, what: str = "factor") -> UnknownFactor:
    """Make the error about factors, or styles, that a model does not have."""
    said = f"the model has no {what} {', '.join(map(repr, wrong[:NAMED]))}"
    meant = _like(wrong[0], known, 0.0) if len(wrong) == 1 else ""
    return UnknownFactor(said + meant, field=field, rows=list(wrong))


def spelled(wrong: Iterable[str], known: Iterable[str]) -> str:
    """Give a clause that names the symbols which differ only by case, blanks and marks; empty where none does.

    ``brk-b`` and ``BRK/B`` are ``BRK.B`` in another vendor's spelling.
    """
    plain: dict[str, str] = {}
    for symbol in known:
        plain.setdefault(_plain(symbol), symbol)
    meant = [plain[_plain(symbol)] for symbol in wrong if _plain(symbol) in plain]
    return f"; did you mean {', '.join(meant[:NAMED])}?" if meant else ""


def alike(name: str, known: Iterable[str]) -> str:
    """Give a clause that names what a name is a slip of; empty where nothing is like it."""
    return _like(name, known, LIKE)


def _like(name: str, known: Iterable[str], least: float) -> str:
    low = {one.casefold(): one for one in known}
    meant = [low[one] for one in get_close_matches(name.casefold(), [*low], 3, least)]
    return f"; did you mean {', '.join(meant)}?" if meant else ""


def _plain(symbol: str) -> str:
    return "".join(filter(str.isalnum, symbol)).casefold()
