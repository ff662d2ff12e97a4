"""Reads request bodies within their limits: JSON in memory, bulk tables into a file."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Collection
from pathlib import Path

from starlette.requests import Request

from bus.read_process import table_path
from contracts.errors import BodyTooLarge, InvalidInput, Unavailable, UnsupportedMedia
from contracts.work import new_id

WRITE_BLOCK_BYTES = 2**20
JOIN_HERE_BYTES = 2**20
"""A body of more is put together in a thread: it copies so much without holding the interpreter."""
DISCARD_LIMIT_BYTES = 256 * 2**20
"""How much of a refused body is read and dropped, so that the caller, still sending, gets to read the refusal."""

_JSON_TYPES = frozenset({"", "application/json", "text/json"})
_BROWSER_SIMPLE = frozenset({"text/plain", "application/x-www-form-urlencoded", "multipart/form-data"})
"""What a page of any site may send without asking: a browser asks first (CORS) for every other type."""


def media_type(request: Request) -> str:
    """Give the content type without parameters, lower case; empty when there is none."""
    return request.headers.get("content-type", "").split(";")[0].strip().lower()


async def _within(request: Request, limit_bytes: int, kind: str) -> AsyncIterator[bytes]:
    """Give the body's chunks; over the limit, read on and drop, then refuse."""
    declared = request.headers.get("content-length", "")
    over = declared.isdecimal() and int(declared) > limit_bytes
    read = 0
    async for chunk in request.stream():
        read += len(chunk)
        over = over or read > limit_bytes
        if not over:
            yield chunk
        elif read > limit_bytes + DISCARD_LIMIT_BYTES:
            break
    if over:
        raise _too_large(limit_bytes, kind)


def _too_large(limit: int, kind: str) -> BodyTooLarge:
    hint = "" if kind == "bulk" else "; larger tables go to PUT /factor-model/{model_id}/data as Arrow or Parquet"
    return BodyTooLarge(f"the {kind} body is over the limit of {limit} bytes{hint}", field="body")


async def read_body(request: Request, limit_bytes: int) -> bytes:
    """Take in a JSON body, as it is; an absent one is empty.

    Raises
    ------
    UnsupportedMedia
        The content type is not JSON. Those that a form of any web page can send are refused too, though curl's
        ``-d`` uses one unless told otherwise.
    BodyTooLarge
        The body is longer than `limit_bytes`.
    """
    kind = media_type(request)
    if kind not in _JSON_TYPES and not kind.endswith("+json"):
        hint = "; with curl: -H 'content-type: application/json'" if kind in _BROWSER_SIMPLE else ""
        raise UnsupportedMedia(f"content type must be application/json, was {kind!r}{hint}", field="content-type")
    chunks = [chunk async for chunk in _within(request, limit_bytes, "JSON")]
    if sum(map(len, chunks)) <= JOIN_HERE_BYTES:
        return b"".join(chunks)
    return await asyncio.to_thread(b"".join, chunks)


@contextlib.asynccontextmanager
async def bulk_file(request: Request, limit_bytes: int, folder: Path) -> AsyncIterator[Path]:
    """Stream the body into a file of its own in `folder`, removed at the end with what was made of it.

    Raises
    ------
    BodyTooLarge
        The body is longer than `limit_bytes`.
    InvalidInput
        There is no body.
    Unavailable
        The file cannot be written (a full disk, for one).
    """
    path = folder / f"{new_id()}.upload"
    try:
        try:
            await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
            read = await _write(request, limit_bytes, path)
        except OSError as error:
            raise Unavailable(f"the upload folder cannot be written: {error.strerror}") from None
        if read == 0:
            raise InvalidInput("the body is empty; it must be an Arrow IPC stream or a Parquet file", field="body")
        yield path
    finally:
        for made in (path, path.with_suffix(".arrow")):
            await asyncio.to_thread(made.unlink, missing_ok=True)


@contextlib.asynccontextmanager
async def table_files(frames: Collection[str], folder: Path) -> AsyncIterator[Path]:
    """Give the path beside which the tables of a JSON body may be left; what was left there is removed at the end."""
    beside = folder / new_id()
    try:
        yield beside
    finally:
        for name in frames:
            await asyncio.to_thread(table_path(str(beside), name).unlink, missing_ok=True)


async def _write(request: Request, limit_bytes: int, path: Path) -> int:
    block: list[bytes] = []
    read = written = 0
    with await asyncio.to_thread(path.open, "wb") as sink:
        async for chunk in _within(request, limit_bytes, "bulk"):
            read += len(chunk)
            block.append(chunk)
            if read - written >= WRITE_BLOCK_BYTES:
                await asyncio.to_thread(sink.writelines, block)
                block, written = [], read
        await asyncio.to_thread(sink.writelines, block)
    return read
