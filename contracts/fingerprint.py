"""What tells one write from another that comes under the same request id: a hash of all that it says."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import orjson

from contracts.frames import FILE_MARK
from contracts.requests import Request

WHOLE_BYTES = 8 * 2**20
"""A table of more is known by its size and by pieces of it, so that this takes milliseconds of any."""
PIECES, PIECE_BYTES = 64, 64 * 2**10
_NOT_SAID = frozenset(("request_id", "messagebus_priority"))


def fingerprint(what: str, request: Request) -> str:
    """Give 32 hexadecimal digits that are the same for the same write, whenever and however urgently it is asked.

    Parameters
    ----------
    what
        The kind of write.
    request
        With tables as bytes or as files. Where a file is not there any more, nothing ("") is given.
    """
    digest = hashlib.blake2b(what.encode(), digest_size=16)
    try:
        for name, value in sorted(request.__dict__.items()):
            if name not in _NOT_SAID:
                digest.update(f"\n{name}:".encode())
                _take(digest, value)
    except OSError:
        return ""
    return digest.hexdigest()


def _take(digest: Any, value: Any) -> None:
    if isinstance(value, bytes) and value.startswith(FILE_MARK):
        path = Path(value[len(FILE_MARK) :].decode().partition("\n")[2])
        size = path.stat().st_size
        with path.open("rb") as file:
            for at, length in _pieces(size):
                file.seek(at)
                digest.update(file.read(length))
        digest.update(str(size).encode())
    elif isinstance(value, bytes):
        view = memoryview(value)
        for at, length in _pieces(len(value)):
            digest.update(view[at : at + length])
        digest.update(str(len(value)).encode())
    else:
        digest.update(orjson.dumps(value, default=repr, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS))


def _pieces(size: int) -> list[tuple[int, int]]:
    if size <= WHOLE_BYTES:
        return [(0, size)]
    return [(number * (size - PIECE_BYTES) // (PIECES - 1), PIECE_BYTES) for number in range(PIECES)]
