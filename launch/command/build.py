"""A verb as a command of click: its words are the fields of the operation's request."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from contracts.errors import EngineError
from contracts.operations import Operation
from launch.command.call import Where, ask, fail, tell
from launch.command.common import COMPLETES, shown, url
from launch.command.fields import Field, fields, holdings, read, write
from launch.command.verbs import BOOK, Verb

TYPES: dict[str, Any] = {"integer": click.INT, "number": click.FLOAT, "table": click.Path()}
HINTS = {"list": "A,B,... or JSON or a file", "mapping": "NAME=VALUE,... or JSON or a file", "table": "FILE"}
BOOK_FIELDS = ("portfolio_id", "portfolio_weights")
FILES = {BOOK: "book.csv"}


def command(noun: str, name: str, verb: Verb) -> click.Command:
    """Make the command of a verb."""
    row = verb.operation
    known = fields(row)
    params: list[click.Parameter] = []
    for positional in verb.positional:
        if positional == BOOK:
            # A file is completed; the name of a stored book is taken as well.
            params.append(click.Argument([BOOK], type=click.Path(), required=len(verb.positional) > 1))
        else:
            field, completes = known[positional], COMPLETES.get(positional)
            params.append(
                click.Argument([positional], type=_type(field), required=field.required, shell_complete=completes)
            )
    taken = set(verb.positional) | (set(BOOK_FIELDS[:1]) if BOOK in verb.positional else set())
    params += [_option(field) for field in known.values() if field.name not in taken]
    params += _common()

    def run(url: str, timeout: float | None, as_json: bool, arrow: Path | None, **words: Any) -> int:
        where = Where(url, timeout, as_json, arrow)
        try:
            tell(ask(row, body(verb, words), where), where, row)
        except EngineError as error:
            return fail(error)
        return 0

    epilog = f"Example: {example(noun, name, verb)}"
    return click.Command(name, callback=run, params=params, help=row.summary, epilog=epilog)


def body(verb: Verb, words: Mapping[str, Any]) -> dict[str, Any]:
    """Make the request's body of the words of a command line.

    Raises
    ------
    InvalidInput
        A word cannot be read; names the field.
    """
    known = fields(verb.operation)
    given = {name: value for name, value in words.items() if value is not None}
    made: dict[str, Any] = {}
    book = given.pop(BOOK, None)
    if book is not None:
        path = Path(book)
        if path.suffix and path.is_file():
            made["portfolio_weights"] = holdings(known["portfolio_weights"], path)
        else:
            made["portfolio_id"] = book
    for name, value in given.items():
        found = read(known[name], value)
        # `book put NAME weights.csv` without dates: they hold always.
        if name == "holdings" and not any(isinstance(one, Mapping) for one in found.values()):
            found = {"always": found}
        made[name] = found
    return made


def _option(field: Field) -> click.Option:
    name = f"--{field.name.replace('_', '-')}"
    hint = f" ({HINTS[field.kind]})" if field.kind in HINTS else ""
    told = f"{field.help}{hint}".strip()
    if field.kind == "flag":
        return click.Option([f"{name}/--no-{field.name.replace('_', '-')}", field.name], default=None, help=told)
    return click.Option(
        [name, field.name], type=_type(field), required=field.required, help=told,
        shell_complete=COMPLETES.get(field.name),
    )  # fmt: skip


def _type(field: Field) -> Any:
    return click.Choice(field.choices) if field.choices else TYPES.get(field.kind, click.STRING)


def _common() -> list[click.Parameter]:
    deadline = click.Option(["--timeout"], type=click.FLOAT, help="Deadline in seconds; default: the operation's own.")
    return [url(), deadline, *shown()]


def example(noun: str, name: str, verb: Verb) -> str:
    """Give the table's example as a line to copy; tables in it are files."""
    return shlex.join(
        ["factor-engine", noun, name, *example_words(verb, FILES | dict.fromkeys(verb.operation.frames, "rows.csv"))]
    )


def example_words(verb: Verb, tables: Mapping[str, str]) -> list[str]:
    """Give the words behind the verb for the table's example; `tables` names the file of each table in it."""
    row: Operation = verb.operation
    given = dict(row.example)
    behind: list[str] = []
    if BOOK in verb.positional and "portfolio_weights" in given:
        del given["portfolio_weights"]
        given["portfolio_id"] = tables[BOOK]  # the weights are in a file
    for positional in verb.positional:
        field = "portfolio_id" if positional == BOOK else positional
        if field in given:
            behind.append(tables[field] if field in tables else write(given[field]))
            del given[field]
    known = fields(row)
    for field, value in given.items():
        option = f"--{field.replace('_', '-')}"
        if known[field].kind == "flag":
            behind.append(option if value else f"--no-{field.replace('_', '-')}")
        else:
            behind += [option, tables[field] if field in tables else write(value)]
    return behind
