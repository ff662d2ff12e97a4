"""The language's own table as plain values, for editors: what may be written, and how."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from factors.library.language import names
from factors.library.language.conventions import PAPER, Conventions
from factors.library.language.operators import OPERATORS, Operator, Parameter

_ADV = "adv20"
"""Stands for the names `adv{n}`, of which there are as many as windows."""


def operator_table() -> list[dict[str, Any]]:
    """Give every operator: name, aliases, signature, parameters, result, and the settings it takes by keyword."""
    return [
        {
            "name": one.name,
            "aliases": list(one.aliases),
            "signature": one.signature,
            "parameters": [_parameter(one, parameter) for parameter in one.parameters],
            "result": one.result,
            "settings": list(one.settings),
        }
        for one in OPERATORS.values()
    ]


def _parameter(operator: Operator, parameter: Parameter) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "kind": parameter.kind,
        "variadic": parameter.variadic,
        "default": parameter.default,
        "least": operator.least(parameter) if parameter.kind == "integer" else None,
    }


def name_table(available: Collection[str] | None = None, conventions: Conventions = PAPER) -> list[dict[str, Any]]:
    """Give every name that a formula may use without defining it.

    Parameters
    ----------
    available : names of fields and groups, optional
        What the data at hand have; without it nothing is said of that.
    conventions : Conventions
        Under which derived names stand for what they stand for.

    Returns
    -------
    list of dict
        `name`; `kind`: "field", "group", "derived" or "constant"; `stands_for`: the text of a derived name, or what an
        alias is another word for; `available`: whether the data have it, None for what no data are needed for or
        where nothing is known.
    """

    def row(name: str, kind: str, stands_for: str | None = None, of: str | None = None) -> dict[str, Any]:
        known = available is not None and kind in ("field", "group")
        return {
            "name": name,
            "kind": kind,
            "stands_for": stands_for,
            "available": (of or name) in available if available is not None and known else None,
        }

    out = [row(name, "field") for name in sorted(names.FIELDS)]
    out += [row(name, "group") for name in sorted(names.GROUPS)]
    out += [row(name, "derived", names.expansion(name, conventions)) for name in sorted((*names.DERIVED, _ADV))]
    out += [row(name, "field", of, of) for name, of in sorted(names.ALIASES.items())]
    return out + [row(name, "constant") for name in sorted((*names.CONSTANTS, "false", "true"))]
