"""Answers as JSON, a block at a time: a large one is not written in one go on the event loop.

The library holds the interpreter while it writes, so that a thread would hold up the loop as long as the loop itself.
Between two blocks other requests are served.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import orjson

BLOCK = 3_000
"""Values that are written at once: half a millisecond."""
JOIN_HERE_BYTES = 2**20
"""A text of more is put together in a thread: it copies so much without holding the interpreter."""


class Few(dict[str, Any]):
    """What was counted, and has few values: it is written in one go, and not counted again."""


_DICTS: frozenset[type] = frozenset((dict, Few))
_CONTAINERS: frozenset[type] = _DICTS | {list, tuple}


class TooLong(Exception):
    """A text would have more values, or more bytes, than it may."""


def as_json(body: Any) -> bytes:
    """Write JSON; NaN and infinity become null, as JSON has neither."""
    return orjson.dumps(body, default=str, option=orjson.OPT_SERIALIZE_NUMPY)


async def written(body: Any, *, most_values: int | None = None, most_bytes: int | None = None) -> bytes:
    """Write what `as_json` writes, to the byte; others run between blocks, and must not change `body`.

    Raises
    ------
    TooLong
        It has more values or bytes than are asked for; known after so many were written, as to count them all before
        would hold up the others.
    """
    count = n_values(body, BLOCK)
    few = count <= BLOCK
    parts, values, size = [], 0, 0
    for part, held in [(as_json(body), count)] if few else _parts(body):
        parts.append(part)
        values, size = values + held, size + len(part)
        if (most_values is not None and values > most_values) or (most_bytes is not None and size > most_bytes):
            raise TooLong
        if not few:
            await asyncio.sleep(0)
    if few:
        return parts[0]
    return b"".join(parts) if size <= JOIN_HERE_BYTES else await asyncio.to_thread(b"".join, parts)


def n_values(body: Any, most: int) -> int:
    """Count the values in a dictionary or list, or what is enough to know that there are more than `most`.

    A list whose first element is a plain value has plain values only, as every list of an answer has.
    """
    if type(body) in _DICTS:
        inner: Any = body.values()
    elif type(body) not in _CONTAINERS:
        return 1
    elif body and type(body[0]) not in _CONTAINERS:
        return len(body)
    else:
        inner = body
    count = len(body)
    # The types of plain values alone are looked at without a step of ours for each.
    if count > most or _CONTAINERS.isdisjoint(map(type, inner)):
        return count
    for value in inner:
        if type(value) in _CONTAINERS:
            count += n_values(value, most)
            if count > most:
                break
    return count


def _parts(body: Any) -> Iterator[tuple[bytes, int]]:
    """Give the text in parts of about `BLOCK` values, each with their number."""
    named = type(body) in _DICTS
    opens, closes = (b"{", b"}") if named else (b"[", b"]")
    between = opens
    for block, held in _blocks(body):
        if held is not None:
            yield between + as_json(block)[1:-1], held
        elif named:
            ((name, value),) = block.items()
            yield between + as_json(name) + b":", 0
            yield from _parts(value)
        else:
            yield between, 0
            yield from _parts(block[0])
        between = b","
    yield closes, 0


def _blocks(body: Any) -> Iterator[tuple[Any, int | None]]:
    """Cut a dictionary or list into ones of about `BLOCK` values, with their number.

    An entry that has more by itself is one of its own, without a number.
    """
    named = type(body) in _DICTS
    if not named and type(body[0]) not in _CONTAINERS:
        for begin in range(0, len(body), BLOCK):
            part = body[begin : begin + BLOCK]
            yield part, len(part)
        return
    block: list[Any] = []
    held = 0
    for entry in body.items() if named else body:
        value = entry[1] if named else entry
        count = n_values(value, BLOCK) if type(value) in _CONTAINERS else 1
        if block and held + count > BLOCK:
            yield (dict(block) if named else block), held
            block, held = [], 0
        if count > BLOCK:
            yield ({entry[0]: value} if named else [value]), None
        else:
            block.append(entry)
            held += count
    if block:
        yield (dict(block) if named else block), held
