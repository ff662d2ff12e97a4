"""Reads what a request says beside its body: fields in the query, and the deadline."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request

from contracts.errors import InvalidInput, MalformedBody
from contracts.json_text import read_json_text
from contracts.operations import Operation

TIMEOUT_HEADER = "x-request-timeout-seconds"
MAX_TIMEOUT_S = 3600.0
# Serve watches the same header and answers in plain text; the engine's own deadline comes first.
_RESERVE_SHARE, _RESERVE_MAX_S = 0.3, 0.5


class QueryReader:
    """Reads an operation's fields from a query string.

    A field that is a list may be repeated; one that is an object or a table is JSON text; others are taken as written.
    """

    def __init__(self, operation: Operation) -> None:
        schema = operation.request.model_json_schema()
        self._kinds = {name: _kind(field) for name, field in schema.get("properties", {}).items()}

    def read(self, request: Request) -> dict[str, Any]:
        """Give what the query names; what is no field goes along, to be told, or refused where it is nearly one."""
        if not request.scope["query_string"]:  # `request.url` would be put together first
            return {}
        out: dict[str, Any] = {}
        for name in request.query_params:
            kind = self._kinds.get(name)
            given = request.query_params.getlist(name)
            if kind == "list":
                out[name] = given
            elif kind is not None and len(given) > 1:
                raise InvalidInput(f"query parameter {name} is given {len(given)} times", field=name)
            elif kind == "json":
                out[name] = _from_text(name, request.query_params[name])
            else:
                out[name] = request.query_params[name]
        return out


def _kind(field: Mapping[str, Any]) -> str:
    branches = [branch for branch in field.get("anyOf", [field]) if branch.get("type") != "null"]
    types = {branch.get("type") for branch in branches}
    if "array" in types and all("properties" not in branch for branch in branches):
        return "list"
    if types & {"object", "array", None}:
        return "json"
    return "scalar"


def _from_text(name: str, text: str) -> Any:
    try:
        return read_json_text(text.encode())
    except MalformedBody as error:
        raise InvalidInput(f"query parameter {name} must be JSON text: {error.detail}", field=name) from None


def timeout_of(request: Request) -> float | None:
    """Read the caller's deadline, seconds, from ``x-request-timeout-seconds``; None when there is none.

    Three tenths of it, at most 0.5 s, is kept back for the way there and back: a machine whose actors are being
    killed and started takes as long as that to hand over 64 answers (`benchmarks/faults.py`).
    """
    text = request.headers.get(TIMEOUT_HEADER)
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds <= MAX_TIMEOUT_S:
        raise InvalidInput(
            f"{TIMEOUT_HEADER} must be a number of seconds above 0 and up to {MAX_TIMEOUT_S:g}, was {text!r}",
            field=TIMEOUT_HEADER,
        )
    return seconds - min(seconds * _RESERVE_SHARE, _RESERVE_MAX_S)
