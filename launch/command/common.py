"""What every verb takes, and what a shell completes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem, FishComplete

MOST_COMPLETIONS = 200
_LAST_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*$")


class Fish(FishComplete):
    """Click's completion of fish, without its cut at every comma: lists of names and formulas have some."""

    source_template = FishComplete.source_template.replace(
        'string split "," $completion', 'string split --max 1 "," $completion'
    )


def url() -> click.Option:
    """Give the option that says which engine is asked."""
    return click.Option(
        ["--url"], envvar="FACTOR_ENGINE_URL", default="http://127.0.0.1:8300", show_default=True, help="The engine.",
        callback=_url,
    )  # fmt: skip


def _url(context: click.Context, _parameter: click.Parameter, value: str) -> str:
    """Refuse what is no address before anybody is asked; words that a shell completes are not looked at."""
    if not context.resilient_parsing:
        from clients.http import address
        from contracts.errors import InvalidInput

        try:
            address(value)
        except InvalidInput as error:
            raise click.BadParameter(error.detail) from None
    return value


def shown() -> list[click.Parameter]:
    """Give the options that say how an answer is shown."""
    return [
        click.Option(["--json", "as_json"], is_flag=True, default=False, help="Print the answer as it came."),
        click.Option(
            ["--arrow"], type=click.Path(path_type=Path), help="Write the answer's largest table into an Arrow file."
        ),
    ]


def formulas(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete the last word of a formula from the language's own tables: operators, fields, groups."""
    from factors.library.language import names
    from factors.library.language.operators import BY_NAME

    found = _LAST_WORD.search(incomplete)
    begun = found.group() if found else ""
    if not begun and re.search(r"[0-9)]$", incomplete):
        return []  # behind a number or a bracket no name stands
    head = incomplete[: len(incomplete) - len(begun)]
    known = {name: f"{one.signature}" for name, one in BY_NAME.items()}
    known |= dict.fromkeys(names.FIELDS | names.DERIVED, "field") | dict.fromkeys(names.GROUPS, "group")
    return [
        CompletionItem(f"{head}{name}{'(' if '(' in said else ''}", help=said)
        for name, said in sorted(known.items())
        if name.startswith(begun.lower())
    ][:MOST_COMPLETIONS]


def factors(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete the last of some names of factors, which commas part, from the catalogue."""
    from factors.library.definitions.catalogue import Catalogue

    done, comma, begun = incomplete.rpartition(",")
    catalogue = Catalogue.load()
    entries = catalogue.entries.values()
    return [
        CompletionItem(f"{done}{comma}{entry.id}", help=entry.name) for entry in entries if entry.id.startswith(begun)
    ][:MOST_COMPLETIONS]


COMPLETES: dict[str, Any] = {"formula": formulas, "factors": factors, "factor": factors}
"""What completes a field of a request, by its name."""
