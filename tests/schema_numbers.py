"""The numbers of a JSON schema, and which of them have no end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

LOW, HIGH = {"minimum", "exclusiveMinimum"}, {"maximum", "exclusiveMaximum"}


def numbers(schema: dict[str, Any]) -> tuple[list[str], list[str]]:
    """Give the path of every number that the schema describes, and of those that lack a least or a greatest value."""
    found = list(_walk(schema, schema.get("$defs", {}), ""))
    return [path for path, _ in found], [path for path, part in found if not LOW & set(part) or not HIGH & set(part)]


def _walk(part: dict[str, Any], defs: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    part = defs[part["$ref"].rpartition("/")[2]] if "$ref" in part else part
    if part.get("type") in ("integer", "number"):
        yield path, part
    for key in ("anyOf", "allOf", "prefixItems"):
        for inner in part.get(key, ()):
            yield from _walk(inner, defs, path)
    for key in ("items", "additionalProperties"):
        if isinstance(part.get(key), dict):
            yield from _walk(part[key], defs, f"{path}[]")
    for name, inner in part.get("properties", {}).items():
        yield from _walk(inner, defs, f"{path}.{name}" if path else name)
