"""Errors about names that are not there, with those that were meant."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from contracts.errors import UnknownFactor
from factors.near import nearest

NAMED = 10
"""Names in an error's text; its rows have all."""
LIKE = 0.6
"""How alike two names must be, 0 to 1, for one to be meant by the other."""


def no_factor(wrong: Sequence[str], known: Iterable[str], field: str, what: str = "factor") -> UnknownFactor:
    """Make the error about factors, or styles, that a model does not have."""
    said = f"the model has no {what} {', '.join(map(repr, wrong[:NAMED]))}"
    meant = nearest(wrong[0], known) if len(wrong) == 1 else ()
    return UnknownFactor(said + _meant(meant), field=field, rows=list(wrong))


def spelled(wrong: Iterable[str], known: Iterable[str]) -> str:
    """Give a clause that names the symbols which differ only by case, blanks and marks; empty where none does.

    ``brk-b`` and ``BRK/B`` are ``BRK.B`` in another vendor's spelling.
    """
    plain: dict[str, str] = {}
    for symbol in known:
        plain.setdefault(_plain(symbol), symbol)
    return _meant([plain[_plain(symbol)] for symbol in wrong if _plain(symbol) in plain][:NAMED])


def alike(name: str, known: Iterable[str]) -> str:
    """Give a clause that names what a name is a slip of; empty where nothing is like it."""
    return _meant(nearest(name, known, LIKE))


def _meant(names: Sequence[str]) -> str:
    return f"; did you mean {', '.join(names)}?" if names else ""


def _plain(symbol: str) -> str:
    return "".join(filter(str.isalnum, symbol)).casefold()
