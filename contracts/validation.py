"""Turn what a caller sent into a request model, or into one error that names the field and the rows."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from difflib import get_close_matches
from functools import lru_cache
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from contracts.errors import EngineError, InvalidInput, MalformedBody
from contracts.frames import FrameError
from contracts.requests import Request

M = TypeVar("M", bound=BaseModel)
MAX_NAMED = 5
MAX_STRANGE = 100
"""Fields that are not known and are ignored; each is compared with all that are."""
MOST_MEANT, LEAST_WORD = 2, 3
"""A word of more fields, or one as short as `id`, is no slip of any of them."""
CLOSE = 0.8
"""How alike two names must be, 0 to 1, for one to be a slip of the other: about one letter in five."""


def validate(model: type[M], payload: Any, filled: Collection[str] = ()) -> M:
    """Check `payload` against `model`; the fields `filled` are none that its sender gave.

    Raises
    ------
    MalformedBody
        The payload is not an object.
    InvalidInput
        A field is missing, of the wrong type or out of range; the first is `field`, up to five are in the detail. Or a
        field is not known and nearly one that is: it would do nothing, and its sender means it to.
    """
    if type(payload) is not dict and not isinstance(payload, Mapping):
        raise MalformedBody(f"the body must be a JSON object, was {type(payload).__name__}", field="body")
    strange: list[str] = []
    if not _fields(model).issuperset(payload):
        strange = sorted(map(str, payload.keys() - _fields(model)))
    if len(strange) > MAX_STRANGE:
        raise InvalidInput(
            f"{len(strange):,} fields are none of this request ({strange[0][:100]!r}); {MAX_STRANGE} are ignored",
            field=strange[0],
        )
    for name in strange:
        meant = _nearly(name, [known for known in model.model_fields if known not in payload or known in filled])
        if meant is not None:
            raise InvalidInput(f"{name} is not a field of this request; did you mean {meant}?", field=name)
    try:
        made: M = model.__pydantic_validator__.validate_python(payload)
    except ValidationError as error:
        raise _explain(error) from None
    if isinstance(made, Request):
        strange += [name for name in made.idle() if name in made.model_fields_set and name not in filled]
        return made.ignoring(strange) if strange else made
    return made


@lru_cache(maxsize=256)
def _fields(model: type[BaseModel]) -> frozenset[str]:
    return frozenset(model.model_fields)


def _nearly(name: str, known: list[str]) -> str | None:
    """Give the field that a name is a slip of: a letter off, or one of its words alone, of one field or of two."""
    close = get_close_matches(name, known, 1, CLOSE)
    if close:
        return close[0]
    for word in (name, name.removesuffix("s")):
        longer = [field for field in known if word and f"_{word}_" in f"_{field}_"]
        if len(longer) == 1 or (longer and len(word) >= LEAST_WORD and len(longer) <= MOST_MEANT):
            return " or ".join(longer)
    return None


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
