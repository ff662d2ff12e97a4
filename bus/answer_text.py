"""Answers as JSON, a block at a time: a large one is not written in one go on the event loop.

The library holds the interpreter while it writes, so that a thread would hold up the loop as long as the loop itself.
Between two blocks other requests are served.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import orjson

BLOCK = 5_000
"""Values that are written at once: a fraction of a millisecond."""
_CONTAINERS = frozenset((dict, list, tuple))


def as_json(body: Any) -> bytes:
    """Write JSON; NaN and infinity become null, as JSON has neither."""
    return orjson.dumps(body, default=str, option=orjson.OPT_SERIALIZE_NUMPY)


async def written(body: Any) -> bytes:
    """Write what `as_json` writes, to the byte; others run between blocks, and must not change `body`."""
    if n_values(body) <= BLOCK:
        return as_json(body)
    parts = []
    for part in _parts(body):
        parts.append(part)
        await asyncio.sleep(0)
    return b"".join(parts)


def n_values(body: Any, most: int = BLOCK) -> int:
    """Count the values in a dictionary or list, or what is enough to know that there are more than `most`.

    A list whose first element is a plain value has plain values only, as every list of an answer has.
    """
    if type(body) is dict:
        inner: Any = body.values()
    elif type(body) not in _CONTAINERS:
        return 1
    elif body and type(body[0]) not in _CONTAINERS:
        return len(body)
    else:
        inner = body
    count = len(body)
    for value in inner:
        if type(value) in _CONTAINERS:
            count += n_values(value, most)
            if count > most:
                break
    return count


def _parts(body: Any) -> Iterator[bytes]:
    """Give the text in parts of about `BLOCK` values."""
    named = type(body) is dict
    opens, closes = (b"{", b"}") if named else (b"[", b"]")
    between = opens
    for block, large in _blocks(body):
        if not large:
            yield between + as_json(block)[1:-1]
        elif named:
            ((name, value),) = block.items()
            yield between + as_json(name) + b":"
            yield from _parts(value)
        else:
            yield between
            yield from _parts(block[0])
        between = b","
    yield closes


def _blocks(body: Any) -> Iterator[tuple[Any, bool]]:
    """Cut a dictionary or list into ones of `BLOCK` values, and into ones of a single entry that has more by itself."""
    named = type(body) is dict
    if not named and type(body[0]) not in _CONTAINERS:
        yield from ((body[i : i + BLOCK], False) for i in range(0, len(body), BLOCK))
        return
    block: list[Any] = []
    held = 0
    for entry in body.items() if named else body:
        value = entry[1] if named else entry
        count = n_values(value)
        if block and held + count > BLOCK:
            yield (dict(block) if named else block), False
            block, held = [], 0
        if count > BLOCK:
            yield ({entry[0]: value} if named else [value]), True
        else:
            block.append(entry)
            held += count
    if block:
        yield (dict(block) if named else block), False
