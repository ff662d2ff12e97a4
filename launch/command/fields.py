"""Fields of a request as words of a command line: what kind each is, and how its text is read and written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

from contracts.errors import InvalidInput
from contracts.operations import Operation
from contracts.requests import Request

Kind = Literal["table", "flag", "integer", "number", "text", "list", "mapping"]
TABLES = {
    ".csv": "text/csv",
    ".parquet": "application/vnd.apache.parquet",
    ".arrow": "application/vnd.apache.arrow.stream",
}
HIDDEN = {"request_id"}
"""Of every request; the command makes it."""


class Field(NamedTuple):
    """A field of a request.

    Parameters
    ----------
    name
        In the request.
    kind
        What it holds.
    required
        Whether the request is none without it.
    choices
        All that it may be, where that is written down.
    help
        One sentence.
    """

    name: str
    kind: Kind
    required: bool
    choices: tuple[str, ...]
    help: str


def fields(row: Operation) -> dict[str, Field]:
    """Give the fields of an operation's request by name."""
    return _fields(row.request, row.frames)


@cache
def _fields(request: type[Request], tables: tuple[str, ...]) -> dict[str, Field]:
    schema = request.model_json_schema()
    found = {}
    for name, about in schema.get("properties", {}).items():
        if name in HIDDEN:
            continue
        known = request.model_fields[name]
        kind = "table" if name in tables else _kind(about, schema.get("$defs", {}))
        help_ = str(about.get("description") or Request.model_fields.get(name, known).description or "")
        choices = tuple(str(value) for value in _branch(about).get("enum", ()))
        found[name] = Field(name, kind, known.is_required(), choices, help_)
    return found


def _branch(about: Mapping[str, Any]) -> Mapping[str, Any]:
    """Give what a field is when it is not null."""
    for one in about.get("anyOf", ()):
        if one.get("type") != "null":
            return dict(one)
    return about


def _kind(about: Mapping[str, Any], named: Mapping[str, Any]) -> Kind:
    one = _branch(about)
    if "$ref" in one:
        one = named[one["$ref"].rsplit("/", 1)[-1]]
    kinds: dict[str, Kind] = {
        "boolean": "flag",
        "integer": "integer",
        "number": "number",
        "array": "list",
        "object": "mapping",
    }
    return kinds.get(str(one.get("type")), "text")


def read(field: Field, text: Any) -> Any:
    """Read what stands on the command line for a field.

    Raises
    ------
    InvalidInput
        It cannot be read; names the field.
    """
    if not isinstance(text, str):
        return text
    if field.kind == "table":
        return _table(field, Path(text))
    if field.kind in ("list", "mapping"):
        path = Path(text)
        if path.suffix in {*TABLES, ".json"} and path.is_file():
            return _json(field, path.read_text()) if path.suffix == ".json" else holdings(field, path)
        if text[:1] in "[{":
            return _json(field, text)
        return (
            [part.strip() for part in text.split(",") if part.strip()] if field.kind == "list" else _pairs(field, text)
        )
    return text


def _json(field: Field, text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise InvalidInput(f"{field.name} is no JSON: {error}", field=field.name) from None


def _pairs(field: Field, text: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = part.partition("=")
        if not equals:
            raise InvalidInput(
                f"{field.name} is NAME=VALUE,..., JSON, or a file; {part!r} is none of them", field=field.name
            )
        try:
            found[name.strip()] = json.loads(value)
        except json.JSONDecodeError:
            found[name.strip()] = value.strip()
    return found


def frame(name: str, path: Path) -> Any:
    """Read a table's file as a polars frame.

    Raises
    ------
    InvalidInput
        There is no such file, or it is none of `TABLES`.
    """
    from contracts.frames import from_bulk

    if path.suffix not in TABLES:
        raise InvalidInput(f"{name}: {path} is none of {', '.join(TABLES)}", field=name)
    if not path.is_file():
        raise InvalidInput(f"{name}: there is no file {path}", field=name)
    return from_bulk(path, TABLES[path.suffix], name)


def _table(field: Field, path: Path) -> bytes:
    from contracts.frames import encode

    return encode(frame(field.name, path))


def holdings(field: Field, path: Path) -> dict[str, Any]:
    """Read weights (`symbol` and a number) or holdings by date (`date` too) from a file.

    Raises
    ------
    InvalidInput
        The columns are others, a symbol stands twice, or a cell is empty.
    """
    import polars as pl

    table = frame(field.name, path)
    keys = [name for name in ("date", "symbol") if name in table.columns]
    rest = [name for name in table.columns if name not in keys]
    if "symbol" not in keys or len(rest) != 1:
        raise InvalidInput(
            f"{field.name}: {path} needs the column symbol, one column of numbers, and may have date; it has "
            f"{', '.join(table.columns)}",
            field=field.name,
        )
    table = table.with_columns(pl.col(rest[0]).cast(pl.Float64, strict=False))  # a CSV's cells are text
    bad = [n for n, row in enumerate(table.rows()) if None in row]
    if bad:
        raise InvalidInput(
            f"{field.name}: {len(bad)} rows of {path} have an empty cell, or no number in {rest[0]}",
            field=field.name,
            rows=bad,
        )
    twice = table.select(keys).is_duplicated()
    if twice.any():
        rows = [n for n, is_so in enumerate(twice) if is_so]
        raise InvalidInput(f"{field.name}: {path} has a name more than once", field=field.name, rows=rows)
    if keys == ["symbol"]:
        return dict(table.select("symbol", rest[0]).rows())
    found: dict[str, Any] = {}
    for day, symbol, number in table.select("date", "symbol", rest[0]).rows():
        found.setdefault(str(day), {})[symbol] = number
    return found


def write(value: Any) -> str:
    """Write a value as it stands on a command line; the opposite of `read`, tables aside."""
    if isinstance(value, Mapping) and value and all(_plain(k) and isinstance(v, int | float) for k, v in value.items()):
        return ",".join(f"{name}={json.dumps(number)}" for name, number in value.items())
    if isinstance(value, list | tuple) and value and all(isinstance(one, str) and _plain(one) for one in value):
        return ",".join(value)
    return value if isinstance(value, str) else json.dumps(value)


def _plain(text: Any) -> bool:
    return isinstance(text, str) and not set(text) & set(',=[]{}"') and text.strip() == text and bool(text)
