"""JSON from callers: read within bounds on values and depth, each key of an object once.

The bounds are looked at before anything is made of the text. Counting bytes costs a thousandth of parsing, so no caller
who keeps to them notices.
"""

from __future__ import annotations

import json
import re
from typing import Any

import orjson

from contracts.errors import BodyTooLarge, MalformedBody
from contracts.settings import settings

MAX_DEPTH = 32
"""Objects and arrays inside each other. A table of rows inside a request is three."""
FEW = 4
"""Brackets of a kind that are looked for one by one; to count all takes longer than to find that there are no more."""
_STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)


def read_json_text(text: bytes) -> Any:
    """Read JSON.

    NaN and infinities, which JSON has not but many clients write, are read, so that the error that follows names the
    field and the rows, and not a position in the text.

    Raises
    ------
    BodyTooLarge
        It has more values than `json_value_limit`.
    MalformedBody
        It is not JSON (the position is named), is nested deeper than `MAX_DEPTH`, or gives a key of an object twice.
    """
    # Each value but the first has a comma or a bracket of its own, so a text has no more values than bytes.
    if len(text) > settings().json_value_limit:
        _bounded(text)
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        return _tolerant(text, error)
    if type(value) is dict or type(value) is list:
        n_keys = _walk(value, _count(text, b"[") + _count(text, b"{"))
        if n_keys != text.count(b":"):
            # A key was given twice, or a text has a colon in it: only reading again with the pairs at hand tells.
            json.loads(text, object_pairs_hook=_once)
    return value


def _bounded(text: bytes) -> None:
    limit = settings().json_value_limit
    count = _values(text)
    if count > limit:
        # What stands inside of texts counted too.
        count = _values(_STRINGS.sub(b"", text))
    if count > limit:
        raise BodyTooLarge(
            f"the JSON body has {count:,} values, over the limit of {limit:,} (FACTOR_ENGINE_JSON_VALUE_LIMIT); larger "
            "tables go to PUT /factor-model/{model_id}/data as Arrow or Parquet",
            field="body",
        )


def _count(text: bytes, bracket: bytes) -> int:
    found, at = 0, text.find(bracket)
    while at >= 0:
        found += 1
        if found > FEW:
            return text.count(bracket)
        at = text.find(bracket, at + 1)
    return found


def _values(text: bytes) -> int:
    """Give at least as many as there are values: one, one behind each comma, and one in each bracket."""
    return 1 + text.count(b",") + text.count(b"[") + text.count(b"{")


def _tolerant(text: bytes, first: orjson.JSONDecodeError) -> Any:
    try:
        value = json.loads(text, object_pairs_hook=_once)
    except (ValueError, RecursionError):
        raise MalformedBody(f"the body is not JSON: {first}", field="body") from None
    _walk(value, text.count(b"[") + text.count(b"{"))
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise MalformedBody(f"the key {twice[:100]!r} occurs twice in one object", field=twice[:100])
    return made


def _walk(value: Any, n_containers: int) -> int:
    """Go down by levels until all containers were seen, so that no leaf is; gives the number of keys."""
    level = [value] if type(value) is dict or type(value) is list else []
    seen = n_keys = depth = 0
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            raise MalformedBody(f"the body is nested more than {MAX_DEPTH} deep", field="body")
        seen += len(level)
        below: list[Any] = []
        for item in level:
            if type(item) is dict:
                n_keys += len(item)
                if seen < n_containers:
                    below += [child for child in item.values() if type(child) is dict or type(child) is list]
            elif seen < n_containers:
                below += [child for child in item if type(child) is dict or type(child) is list]
        level = below
    return n_keys
