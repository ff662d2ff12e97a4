"""What the library has: definitions of all factors, of one, of a category, and what a model's data can compute."""

from __future__ import annotations

from typing import Any

from actors.library.formulas import Formulas
from actors.reading.panels import whole_panel
from actors.reading.slices import Slices
from contracts import library_requests as lb
from contracts import requests as rq
from contracts.answers import Page
from contracts.errors import UnknownFactor
from factors.library.definitions.fields import computable, library_fields


class Definitions:
    """The methods of the factor library's actor that tell what its factors are."""

    slices: Slices
    formulas: Formulas

    def definitions(self, request: rq.Definitions) -> Page:
        """All definitions, and which of them the model's data can compute."""
        return Page(self._described(request.model_id, None))

    def factor_definition(self, request: lb.FactorDefinition) -> Page:
        """The definition of one factor, and whether the model's data can compute it."""
        [name] = self.formulas.resolve([request.factor], "factor")
        ids, missing, proxies = self._computable(request.model_id)
        described, aliases = self._describe(name), self.formulas.catalogue.aliases
        return Page(
            {
                **described,
                "other_names": [one.id for one in aliases.values() if one.alias_of == name],
                "computable": name in ids,
                "missing": missing.get(name),
                "proxies": {field: how for field, how in proxies.items() if field in described["inputs"]},
            }
        )

    def _described(self, model_id: str | None, category: str | None) -> dict[str, Any]:
        categories = dict(self.formulas.catalogue.categories())
        if self.formulas.registered:
            categories["registered"] = tuple(self.formulas.registered)
        if category is not None and category not in categories:
            known = ", ".join(sorted(categories))
            raise UnknownFactor(f"no category {category!r}; there are {known}", field="category")
        chosen = categories[category] if category is not None else self.formulas.library.ids
        ids, missing, proxies = self._computable(model_id)
        able = set(ids)
        return {
            "loaded": len(chosen),
            "computable": sum(name in able for name in chosen),
            "missing": {name: reason for name, reason in missing.items() if name in set(chosen)},
            "model_id": model_id,
            "proxies": proxies,
            "aliases": len(self.formulas.catalogue.aliases),
            "categories": {name: len(members) for name, members in categories.items()},
            "definitions": [self._describe(name) for name in chosen],
        }

    def _computable(self, model_id: str | None) -> tuple[tuple[str, ...], dict[str, str], dict[str, str]]:
        """What a model's data can compute; without a model nothing, and the reason says so."""
        if model_id is None:
            return (), dict.fromkeys(self.formulas.library.ids, "no model is loaded"), {}
        fields = library_fields(whole_panel(self.slices.head(model_id), rows=1))
        ids, missing = computable(self.formulas.library, fields.available)
        return ids, missing, dict(fields.proxies)

    def _describe(self, name: str) -> dict[str, Any]:
        library = self.formulas.library
        common = {
            "id": name,
            "warmup": library.warmup[name],
            "inputs": list(library.inputs[name]),
            "recursive": name in library.recursive,
        }
        entry = self.formulas.catalogue.entries.get(name)
        if entry is None:
            return {**common, "category": "registered", "formula": self.formulas.registered[name].text}
        return {
            **common,
            "name": entry.name,
            "category": entry.category,
            "formula": entry.formula,
            "source": entry.source,
            "citation": entry.citation,
            "erratum": entry.erratum,
            "delay": entry.delay,
            "neutralisation": entry.neutralisation,
            "conventions": {
                "name": entry.conventions.name,
                "version": entry.conventions.version,
                "digest": entry.conventions.digest,
            },
            "version": entry.version,
        }
