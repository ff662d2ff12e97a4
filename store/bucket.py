"""An object store by what a store of ours needs of it: conditional puts, reads, listings; errors that are ours.

Credentials come from the environment, as the tools of each cloud read them (``AWS_...``, ``GOOGLE_...``,
``AZURE_...``).
What a store answers is not passed on, as it may quote a signature: errors name the store and the fault's kind.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from contracts.errors import Unavailable
from contracts.files import replacing
from contracts.settings import checked_store

if TYPE_CHECKING:
    from obstore import UpdateVersion

REQUEST_S, RETRY_S, CONNECT_S = 30.0, 20.0, 5.0
QUICK_S = 2.0
"""What a reader waits who asks for a name that is not here."""
PIECE_BYTES = 16 << 20
"""What one request reads of a large object: so that a slow line does not run into the limit on a request's time."""
PIECES_AT_ONCE = 4
NO_BUCKET = "NoSuchBucket"
ALLOW_HTTP = ("AWS_ALLOW_HTTP", "AZURE_ALLOW_HTTP", "GOOGLE_ALLOW_HTTP")
"""Without one of them a store is reached by TLS only."""


class Stored(NamedTuple):
    """An object as a listing tells of it."""

    key: str
    size: int
    e_tag: str | None
    modified: datetime


class Head(NamedTuple):
    """A small object's content, and what names that state of it in a condition."""

    content: bytes
    version: UpdateVersion


class Refused(Exception):
    """The condition of a put did not hold, or the store says that it cannot tell just now."""


class NoAnswer(Unavailable):
    """The object store did not answer: whether a put was done is not known."""


class Bucket:
    """A prefix of a bucket.

    Parameters
    ----------
    uri
        Such as ``s3://bucket/prefix``.
    retry_s
        How long a request that changes nothing when it is repeated is tried again, seconds; default `RETRY_S`.

    Raises
    ------
    ValueError
        The address is none of an object store.
    Unavailable
        The package `obstore` is not installed, or the environment does not say how to reach the store.
    """

    def __init__(self, uri: str, retry_s: float | None = None) -> None:
        self.uri = checked_store(uri)
        try:
            import obstore.exceptions
            from obstore import store as kinds
        except ImportError:
            raise Unavailable(f"{self.uri} needs the package obstore: pip install 'factor-engine[objects]'") from None
        self._obstore = obstore
        self._faults: tuple[type[Exception], ...] = (obstore.exceptions.BaseError, OSError, ValueError)
        limits: Any = {"connect_timeout": timedelta(seconds=CONNECT_S), "timeout": timedelta(seconds=REQUEST_S)}
        limits["allow_http"] = any(os.environ.get(name, "").lower() in ("1", "true") for name in ALLOW_HTTP)
        backoff: Any = {"init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=2), "base": 2}
        again: Any = {
            "max_retries": 30,
            "retry_timeout": timedelta(seconds=RETRY_S if retry_s is None else retry_s),
            "backoff": backoff,
        }
        quick: Any = {"max_retries": 1, "retry_timeout": timedelta(seconds=QUICK_S), "backoff": backoff}
        short: Any = {**limits, "connect_timeout": timedelta(seconds=QUICK_S), "timeout": timedelta(seconds=QUICK_S)}
        once: Any = {"max_retries": 0, "retry_timeout": timedelta(seconds=1), "backoff": backoff}
        try:
            # A conditional put is never repeated by the library, which cannot know its own write again.
            self._again: Any = kinds.from_url(self.uri, client_options=limits, retry_config=again)
            self._once: Any = kinds.from_url(self.uri, client_options=limits, retry_config=once)
            self._quick: Any = kinds.from_url(self.uri, client_options=short, retry_config=quick)
        except self._faults as error:
            raise Unavailable(f"the store {self.uri} cannot be opened: {reason_of(error)}") from None

    def get(self, key: str, unless: str | None = None, *, quick: bool = False) -> Head | None:
        """Read a small object; None where its e-tag is `unless`. Raises `FileNotFoundError`, `Unavailable`."""
        with self._told(f"{key} cannot be read"):
            try:
                client = self._quick if quick else self._again
                got = self._obstore.get(client, key, options={"if_none_match": unless} if unless else None)
                meta = got.meta
                return Head(bytes(got.bytes()), {"e_tag": meta["e_tag"], "version": meta["version"]})
            except self._obstore.exceptions.NotModifiedError:
                return None

    def put_if(self, key: str, content: bytes, expected: UpdateVersion | None) -> UpdateVersion:
        """Put a small object where there is none (`expected` None), or in place of one state of it; one try.

        Raises
        ------
        Refused
            The condition did not hold, or could not be held just now.
        NoAnswer
            Whether it was put is not known.
        """
        errors = self._obstore.exceptions
        mode: Any = (
            "create" if expected is None else {name: said for name, said in expected.items() if said is not None}
        )
        with self._told(f"{key} cannot be written"):
            try:
                put = self._obstore.put(self._once, key, content, mode=mode, use_multipart=False)
            except (errors.AlreadyExistsError, errors.PreconditionError):
                raise Refused(key) from None
            except FileNotFoundError as error:
                if NO_BUCKET in str(error):
                    raise
                raise Refused(key) from None  # what was to be replaced is gone
            return {"e_tag": put["e_tag"], "version": put["version"]}

    def put(self, key: str, source: bytes | Path) -> None:
        """Put an object that is always the same under its key; repeated until it is there. Raises `Unavailable`."""
        with self._told(f"{key} cannot be written"):
            self._obstore.put(self._again, key, source)

    def put_pieces(self, key: str, pieces: Iterator[bytes]) -> int:
        """Put a large object from pieces; give its bytes. Raises `Unavailable`, and what reading the pieces raises."""
        size = 0

        def counted() -> Iterator[bytes]:
            nonlocal size
            for piece in pieces:
                size += len(piece)
                yield piece

        with self._told(f"{key} cannot be written"):
            self._obstore.put(self._again, key, counted())
        return size

    def size(self, key: str) -> int:
        """Tell an object's bytes. Raises `FileNotFoundError`, `Unavailable`."""
        with self._told(f"{key} cannot be read"):
            size: int = self._obstore.head(self._again, key)["size"]
        return size

    def download(self, key: str, path: Path) -> None:
        """Put an object in place as a file, whole and durable. Raises `FileNotFoundError`, `Unavailable`, `OSError`."""
        size = self.size(key)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with replacing(path, durable=True) as out, ThreadPoolExecutor(PIECES_AT_ONCE) as pool:
            starts = range(0, size, PIECE_BYTES)
            for first in range(0, len(starts), PIECES_AT_ONCE):  # as much in memory as is read at once
                some = starts[first : first + PIECES_AT_ONCE]
                for piece in pool.map(lambda at: self.range(key, at, min(PIECE_BYTES, size - at)), some):
                    out.write(piece)

    def range(self, key: str, start: int, length: int) -> bytes:
        """Read some bytes of an object. Raises `FileNotFoundError`, `Unavailable`."""
        if not length:
            return b""
        with self._told(f"{key} cannot be read"):
            return bytes(self._obstore.get_range(self._again, key, start=start, length=length))

    def listed(self, prefix: str) -> Iterator[Stored]:
        """Give what lies below a prefix. Raises `Unavailable`."""
        with self._told("it cannot be listed"):
            for some in self._obstore.list(self._again, prefix, chunk_size=1000):
                for one in some:
                    yield Stored(one["path"], one["size"], one["e_tag"], one["last_modified"])

    def delete(self, keys: Sequence[str]) -> None:
        """Remove objects; those that are gone already are no fault. Raises `Unavailable`."""
        if not keys:
            return
        with self._told("objects cannot be removed"), contextlib.suppress(FileNotFoundError):
            self._obstore.delete(self._again, [*keys])

    @contextlib.contextmanager
    def _told(self, what: str) -> Iterator[None]:
        """Make the store's faults ours; that there is no such object is said as it is."""
        try:
            yield
        except FileNotFoundError as error:
            if NO_BUCKET in str(error):
                raise Unavailable(f"the store {self.uri}: there is no such bucket") from None
            raise
        except self._faults as error:
            raise self._fault(error, what) from None

    def _fault(self, error: Exception, what: str) -> Unavailable:
        errors = self._obstore.exceptions
        text = f"the store {self.uri}: {what}: {reason_of(error)}"
        if isinstance(error, (errors.PermissionDeniedError, errors.UnauthenticatedError)):
            return Unavailable(text)
        return NoAnswer(text, retry_after_s=5.0)


_CODE = re.compile(r"<Code>(\w+)</Code>")
_STATUS = re.compile(r"\b(?:status(?: code)?:?|error) \(?(\d{3})\b")
_TOLD = {
    "BadScheme": "it is no HTTPS: set AWS_ALLOW_HTTP=true where that is meant",
    "timed out": "no answer in time", "TimedOut": "no answer in time", "Connection refused": "connection refused",
    "ConnectionRefused": "connection refused", "dns error": "no such host", "Permission": "no permission",
    "connection closed": "the connection was cut", "IncompleteMessage": "the connection was cut",
    "region": "no region is given: set AWS_REGION", "redential": "no credentials in the environment",
}  # fmt: skip


def reason_of(error: Exception) -> str:
    """Say what went wrong without quoting what the store or the request said."""
    text = str(error)
    code = _CODE.search(text)
    if code:
        return code[1]
    for sign, said in _TOLD.items():
        if sign in text:
            return said
    status = _STATUS.search(text)
    return f"status {status[1]}" if status else type(error).__name__
