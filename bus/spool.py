"""Answers that are larger than a NATS message: kept for some minutes, and handed out a part at a time.

They lie in the run directory, so that any bridge of the engine gives out any part. Whoever asks names the answer by an
id that nobody can guess, and where the part begins. So it is fetched as fast as it is read, and again where a part was
lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import re
import secrets
import time
from pathlib import Path
from typing import NamedTuple

from contracts.errors import AnswerGone, InvalidInput, Unavailable

KEPT_S = 300.0
KEPT_BYTES = 2 * 2**30
"""Of all answers together; the oldest go first."""
PARTS_HEADER = "factor-parts"
ID_HEADER = "factor-answer-id"
OFFSET_HEADER = "factor-answer-offset"
BYTES_HEADER = "factor-answer-bytes"
SHA256_HEADER = "factor-answer-sha256"
HEADERS_BYTES = 6144
"""What the headers of a reply take at most; a server's limit is on both together."""
_ID = re.compile("[0-9a-f]{32}")


class Begun(NamedTuple):
    """The first part of an answer, and the headers that say how to get the rest."""

    body: bytes
    headers: dict[str, str]


class Spool:
    """Keeps answers in a folder.

    Parameters
    ----------
    folder : Path
        Of the run directory; made when an answer is first kept.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.kept = 0
        self.let_go = 0

    async def begin(self, body: bytes, limit: int) -> Begun:
        """Keep an answer and give its first part, for a server that takes messages of `limit` bytes.

        Raises
        ------
        Unavailable
            The folder cannot be written.
        """
        identity = secrets.token_hex(16)
        try:
            await asyncio.to_thread(self._put, identity, body)
        except OSError as error:
            raise Unavailable(f"the answer cannot be kept to be fetched: {error.strerror}") from None
        self.kept += 1
        headers = {
            ID_HEADER: identity,
            BYTES_HEADER: str(len(body)),
            SHA256_HEADER: await asyncio.to_thread(lambda: hashlib.sha256(body).hexdigest()),
            OFFSET_HEADER: "0",
        }
        return Begun(body[: part_bytes(limit)], headers)

    async def part(self, identity: str, offset: str, limit: int) -> bytes:
        """Give the part of an answer that begins at an offset; empty behind the end.

        Raises
        ------
        InvalidInput
            The offset is no number of bytes.
        AnswerGone
            There is no such answer, or not any more.
        """
        if not offset.isdecimal() or len(offset) > 15:
            raise InvalidInput(f"{OFFSET_HEADER} must be a number of bytes", field=OFFSET_HEADER)
        if _ID.fullmatch(identity) is None:
            raise AnswerGone(f"{ID_HEADER} names no answer", field=ID_HEADER)
        try:
            return await asyncio.to_thread(self._read, identity, int(offset), part_bytes(limit))
        except OSError:
            raise AnswerGone(f"the answer is not kept any more: it is for {KEPT_S:g} s", field=ID_HEADER) from None

    def _put(self, identity: str, body: bytes) -> None:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._sweep(len(body))
        path = self._folder / identity
        try:
            path.write_bytes(body)
        except OSError:
            path.unlink(missing_ok=True)
            raise

    def _read(self, identity: str, offset: int, size: int) -> bytes:
        with (self._folder / identity).open("rb") as source:
            source.seek(offset)
            return source.read(size)

    def _sweep(self, coming: int) -> None:
        """Let go what is old, and what is too much beside what comes."""
        now, held = time.time(), coming
        found = []
        for path in self._folder.iterdir():
            with contextlib.suppress(OSError):
                status = path.stat()
                found.append((status.st_mtime, status.st_size, path))
        for modified, size, path in sorted(found, reverse=True):
            held += size
            if held > KEPT_BYTES or now - modified > KEPT_S:
                held -= size
                self.let_go += 1
                with contextlib.suppress(OSError):
                    path.unlink()


def part_bytes(limit: int) -> int:
    """How much of an answer goes into a message of `limit` bytes beside its headers."""
    return max(limit - HEADERS_BYTES, limit // 2)
