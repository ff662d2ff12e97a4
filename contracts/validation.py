"""Turn what a caller sent into a request model, or into one error that names the field and the rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from contracts.errors import EngineError, InvalidInput, MalformedBody
from contracts.frames import FrameError

M = TypeVar("M", bound=BaseModel)
MAX_NAMED = 5


def validate(model: type[M], payload: Any) -> M:
    """Check `payload` against `model`.

    Raises
    ------
    MalformedBody
        The payload is not an object.
    InvalidInput
        A field is missing, of the wrong type or out of range; the first is `field`, up to five are in the detail.
    """
    if not isinstance(payload, Mapping):
        raise MalformedBody(f"the body must be a JSON object, was {type(payload).__name__}", field="body")
    try:
        return model.model_validate(payload)
    except ValidationError as error:
        raise _explain(error) from None


def _explain(error: ValidationError) -> EngineError:
    faults = error.errors(include_url=False, include_input=False)
    for fault in faults:
        cause = fault.get("ctx", {}).get("error")
        if isinstance(cause, FrameError):
            return _rename(cause.error, str(fault["loc"][0]))
    named = [f"{_path(fault['loc'])}: {fault['msg'].removeprefix('Value error, ')}" for fault in faults[:MAX_NAMED]]
    more = f" (and {len(faults) - MAX_NAMED} more)" if len(faults) > MAX_NAMED else ""
    return InvalidInput("; ".join(named) + more, field=_path(faults[0]["loc"]))


def _path(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in location) or "body"


def _rename(error: EngineError, name: str) -> EngineError:
    """Put the request's own field name where the table reader said `frame`."""
    field = (error.field or "frame").replace("frame", name, 1)
    return type(error)(error.detail.replace("frame", name, 1), field=field, rows=error.rows)
