"""The formulas that the library's actor knows: the catalogue, and those that callers registered."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import replace
from functools import cached_property
from typing import Any

import orjson

from contracts.errors import InvalidInput, Unavailable, UnknownFactor
from contracts.requests import EvaluateFormula
from factors.errors import SettingsError
from factors.library import (
    PAPER,
    Catalogue,
    Conventions,
    Expression,
    FormulaError,
    Library,
    compile_library,
    conventions,
    parse,
)
from factors.near import nearest
from factors.warm import marker
from store import LRU
from store.commit import Commit, Step, attempt

COMPILED_KEPT = 8
REGISTERED = "formulas.json"
"""The store's file of registered formulas."""

_log = logging.getLogger(__name__)


class Formulas:
    """The catalogue and the registered formulas, compiled once to know what each needs. A value: it does not change.

    Parameters
    ----------
    catalogue : Catalogue
    registered : dict of str to Expression
        By id.
    """

    def __init__(self, catalogue: Catalogue, registered: dict[str, Expression]) -> None:
        self.catalogue = catalogue
        self.registered = registered
        self.all: dict[str, Any] = {**catalogue.entries, **registered}
        self.library: Library = compile_library(self.all)
        self._compiled: LRU[tuple[str, ...], Library] = LRU(COMPILED_KEPT)

    @cached_property
    def digest(self) -> str:
        """Names the catalogue and the code: a state that was saved under another digest is not taken up."""
        entries = self.catalogue.entries.values()
        texts = [(entry.id, entry.formula, entry.version, entry.conventions.digest) for entry in entries]
        shared = [(name, expression.text) for name, expression in self.catalogue.definitions.items()]
        return hashlib.sha256(repr((marker().name, texts, shared)).encode()).hexdigest()[:32]

    def under(self, min_periods: str) -> Formulas:
        """Give the same formulas with windows that are full ("strict") or speak from their first value on ("one")."""
        return self._partial if min_periods == "one" else self

    @cached_property
    def _partial(self) -> Formulas:
        """All formulas read again, each under its own conventions but for `min_periods`; half a second."""
        definitions = self.catalogue.definitions

        def again(text: str, own: Conventions) -> Expression:
            return parse(text, replace(own, min_periods="one"), definitions=definitions)

        entries = {
            name: replace(entry, expression=again(entry.formula, entry.conventions))
            for name, entry in self.catalogue.entries.items()
        }
        registered = {name: again(one.text, one.conventions) for name, one in self.registered.items()}
        return Formulas(Catalogue(entries, self.catalogue.aliases, definitions), registered)

    def chosen(self, ids: tuple[str, ...]) -> Library:
        """Compile some of them; the last few choices are kept."""
        if ids == self.library.ids:
            return self.library
        return self._compiled.get_or_make(ids, lambda: compile_library({name: self.all[name] for name in ids}))

    def aliased(self, names: list[str] | None) -> dict[str, dict[str, str]]:
        """Say for which factors the aliases among the names stand; nothing where there are none."""
        aliases = self.catalogue.aliases
        found = {name: aliases[name].alias_of for name in names or () if name in aliases}
        return {"aliases": found} if found else {}

    def resolve(self, names: list[str], field: str = "factors") -> tuple[str, ...]:
        """Turn ids and aliases into ids, each once. Raises `UnknownFactor` of the request's field, naming the wrong."""
        aliases = self.catalogue.aliases
        ids = [aliases[name].alias_of if name in aliases else name for name in names]
        wrong = [name for name in ids if name not in self.all]
        if wrong:
            near = f"; did you mean {', '.join(nearest(wrong[0], [*self.all, *aliases]))}?" if len(wrong) == 1 else ""
            raise UnknownFactor(f"no factor {', '.join(wrong[:10])}{near}", field=field, rows=wrong)
        return tuple(dict.fromkeys(ids))


def read_registered(place: Commit, catalogue: Catalogue) -> dict[str, Expression]:
    """Read the registered formulas; one that this version cannot read is left out, and logged.

    Raises
    ------
    ValueError
        The file is not what `write_registered` writes.
    """
    path = place.root / REGISTERED
    try:
        place.look(path)
    except Unavailable as error:
        _log.warning("the registered formulas that this node knows are used: %s", error)
    if not path.exists():
        return {}
    texts: dict[str, str | list[str]] = orjson.loads(path.read_bytes())
    if not isinstance(texts, dict):
        raise ValueError(  # noqa: TRY004  (of the file, not of a caller's argument)
            f"it holds a {type(texts).__name__} instead of formulas by id"
        )
    found = {}
    for name, held in texts.items():
        text, preset = (held, PAPER.name) if isinstance(held, str) else held
        try:
            found[name] = parse(text, conventions(preset), definitions=catalogue.definitions)
        except (FormulaError, ValueError) as error:
            _log.warning("the registered formula %s is left out: %s", name, error)
    return found


def write_registered(place: Commit, registered: dict[str, Expression]) -> None:
    """Make the registered formulas durable in one step."""
    path = place.root / REGISTERED
    path.parent.mkdir(parents=True, exist_ok=True)
    content = orjson.dumps({name: _written(expression) for name, expression in registered.items()})
    attempt(place, path, lambda: place.publish(Step(path, content)))


def _written(expression: Expression) -> str | list[str]:
    """Give the text, with the preset of its conventions where that is not the paper's."""
    preset = expression.conventions.name
    return expression.text if preset == PAPER.name else [expression.text, preset]


def conventions_of(request: EvaluateFormula) -> Conventions:
    """Read the conventions of a request.

    Raises
    ------
    InvalidInput
        Names the setting by its path; or other conventions than the paper's, under which no formula is registered.
    """
    try:
        chosen = conventions(request.conventions)
    except SettingsError as error:
        raise InvalidInput(str(error), field=error.field) from None
    if chosen != PAPER and request.register_as is not None:
        raise InvalidInput("a formula is registered under the conventions of the paper alone", field="conventions")
    return chosen
