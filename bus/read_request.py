"""A caller's body as a request: read as JSON, joined with what its path, query or subject names, and checked."""

from __future__ import annotations

import typing
from collections.abc import Mapping
from functools import lru_cache
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
        Fields that count where the body has none: of the query, or of the subject.
    above
        Fields that the body must not contradict: of the path.

    Raises
    ------
    MalformedBody, BodyTooLarge
        As `contracts.json_text.read_json_text`, or the body is no object.
    InvalidInput
        A field of the body contradicts the path.
    """
    value = read_json_text(body) if body.strip() else {}
    if not isinstance(value, dict):
        raise MalformedBody(f"the body must be a JSON object, was {type(value).__name__}", field="body")
    for name, own in above.items():
        if name in value and value[name] != own:
            raise InvalidInput(f"{name} in the body contradicts {name} in the path", field=name)
    return {**below, **value, **above}


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
    optional, frames = _model_fields(operation.request)
    if (
        optional
        and default_model is not None
        and isinstance(payload, Mapping)
        and payload.get("model_id") is None
        and not any(payload.get(name) is not None for name in frames)
    ):
        payload = {**payload, "model_id": default_model}
    return validate(operation.request, payload)


@lru_cache(maxsize=256)
def _model_fields(request: type[Request]) -> tuple[bool, tuple[str, ...]]:
    """Say whether `model_id` may be left out, and which fields are frames."""
    fields = request.model_fields
    optional = "model_id" in fields and not fields["model_id"].is_required()
    frames = tuple(name for name, field in fields.items() if _holds_bytes(field.annotation))
    return optional, frames


def _holds_bytes(annotation: Any) -> bool:
    return annotation is bytes or any(_holds_bytes(part) for part in typing.get_args(annotation))
