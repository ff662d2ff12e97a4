"""A caller's body as a request: read as JSON, joined with what its path, query or subject names, and checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from contracts.errors import InvalidInput, MalformedBody
from contracts.json_text import read_json_text
from contracts.operations import Operation
from contracts.requests import Request
from contracts.validation import validate


def read_payload(body: bytes, below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Read a JSON body; an empty one is an empty object.

    Parameters
    ----------
    body
        What the caller sent.
    below
        Fields that count where the body has none, or null: of the query, or of the subject.
    above
        Fields that the body must not contradict: of the path.

    Raises
    ------
    MalformedBody, BodyTooLarge
        As `contracts.json_text.read_json_text`, or the body is no object.
    InvalidInput
        A field of the body, or of the query, contradicts the path.
    """
    value = read_json_text(body) if body.strip() else {}
    if not isinstance(value, dict):
        raise MalformedBody(f"the body must be a JSON object, was {type(value).__name__}", field="body")
    refuse_contradiction("body", value, above)
    refuse_contradiction("query", below, above)
    if not (below or above):
        return value
    # A null names nothing: it must not make a subject's model the default one.
    named = {name: given for name, given in value.items() if given is not None or name not in below}
    return {**below, **named, **above}


def refuse_contradiction(where: str, said: Mapping[str, Any], path: Mapping[str, Any]) -> None:
    """Refuse what names another thing than the path does.

    Raises
    ------
    InvalidInput
        Names the field.
    """
    for name, own in path.items():
        if name in said and said[name] != own:
            raise InvalidInput(f"{name} in the {where} contradicts {name} in the path", field=name)


def bar_payload(body: bytes, default_model: str | None) -> dict[str, Any]:
    """Read a bar, {model_id, rows: table, intake}, as the request that appends it; without a model, to the default one.

    Raises
    ------
    MalformedBody
        It is no such object.
    """
    value = read_json_text(body) if body else None
    if not isinstance(value, dict) or "rows" not in value:
        raise MalformedBody("a bar must be an object {model_id, rows}", field="rows")
    read = {"model_id": value.get("model_id") or default_model, "feature_data": value["rows"]}
    return read | {name: value[name] for name in ("intake",) if name in value}


def request_of(operation: Operation, payload: Any, default_model: str | None) -> Request:
    """Check what the caller sent, with the default model where it means none.

    Raises
    ------
    MalformedBody, InvalidInput
        Says which field and which rows.
    """
    if (
        default_model is not None
        and operation.model_optional
        and isinstance(payload, dict)
        and payload.get("model_id") is None
        and not any(payload.get(name) is not None for name in operation.frames)
    ):
        return validate(operation.request, {**payload, "model_id": default_model}, filled=("model_id",))
    return validate(operation.request, payload)
