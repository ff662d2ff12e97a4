"""Which requests an actor was at work on when its process ended, so that none ends one actor after another.

Before a batch is computed, its requests are noted in a small file that is mapped into memory: what is in it outlives
any death of the process. The next process of the actor reads what the last one left. A request that was there is
computed alone from then on, so that it cannot be taken for another of its batch; one that was there twice is refused,
and kept for inspection. Noting takes 1 microsecond and 0.2 more for each request.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import mmap
import os
import socket
import struct
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson
import psutil

from contracts.errors import EndsActors, EngineError
from contracts.files import replacing
from contracts.frames import FILE_MARK
from contracts.work import WorkItem

MOST = 2
"""Processes that a request may end before it is refused."""
DIGEST = 16
CAPACITY_BYTES = 256 * 1024
"""For the names of the requests of one batch: 256 of the longest."""
SUSPECTS = 1000
"""Requests that are remembered; the oldest are forgotten."""
KEPT = 16
"""Refused requests that are kept for inspection, the newest."""
_SIZE = struct.Struct("<I")
_NOTHING = _SIZE.pack(0)

_log = logging.getLogger(__name__)


class BlackBox:
    """Notes what one lane of an actor computes.

    Parameters
    ----------
    folder
        Where the notes are; on this node's disk, or on a disk that the nodes share.
    name
        The actor's workload and lane.
    refused
        Where requests go that ended too many processes.
    """

    def __init__(self, folder: Path, name: str, refused: Path) -> None:
        self._folder, self._name, self._refused = folder, name, refused
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._memory = folder / f"{name}.json"
        self._suspects = OrderedDict(self._remembered())
        self._take_up()
        self._path = folder / f"{name}.{_host()}.{os.getpid()}.now"
        with self._path.open("w+b") as file:
            file.truncate(_SIZE.size + CAPACITY_BYTES)
            self._map = mmap.mmap(file.fileno(), _SIZE.size + CAPACITY_BYTES)

    @contextlib.contextmanager
    def at_work(self, items: Sequence[WorkItem]) -> Iterator[None]:
        """Note the items for as long as they are computed."""
        self.begin(items)
        try:
            yield
        finally:
            self.end()

    def begin(self, items: Sequence[WorkItem]) -> None:
        """Note the items, until `end`: they are computed now. Only the last batch that began is noted."""
        packed = _packed(items)
        self._map[_SIZE.size : _SIZE.size + len(packed)] = packed
        self._map[: _SIZE.size] = _SIZE.pack(len(packed))

    def end(self) -> None:
        """Note that nothing is computed."""
        self._map[: _SIZE.size] = _NOTHING

    def is_suspect(self, item: WorkItem) -> bool:
        """Say whether a process ended while it computed the item."""
        return bool(self._suspects) and _digest(item.operation, item.request_id).hex() in self._suspects

    def refusal(self, item: WorkItem) -> EngineError | None:
        """Give why an item is not computed; None for one that may be."""
        if not self._suspects:
            return None
        ended = self._suspects.get(_digest(item.operation, item.request_id).hex(), 0)
        if ended < MOST:
            return None
        where = self._keep(item)
        return EndsActors(
            f"{ended} processes of {self._name.partition('.')[0]} ended while they computed this request; it is not "
            f"tried again{f', and kept in {where.name} of the run directory' if where else ''}",
            field="request_id",
        )

    @property
    def n_suspects(self) -> int:
        """Requests that are remembered."""
        return len(self._suspects)

    def _remembered(self) -> list[tuple[str, int]]:
        try:
            return [(str(key), int(count)) for key, count in json.loads(self._memory.read_text()).items()]
        except (OSError, ValueError, AttributeError):
            return []

    def _take_up(self) -> None:
        """Read what dead processes of this node left behind."""
        found = 0
        for path in self._folder.glob(f"{self._name}.{_host()}.*.now"):
            if _lives(path.suffixes[-2][1:]):
                continue
            for operation, request_id in _unpacked(path.read_bytes()):
                key = _digest(operation, request_id).hex()
                self._suspects[key] = self._suspects.pop(key, 0) + 1
                found += 1
            path.unlink(missing_ok=True)
        while len(self._suspects) > SUSPECTS:
            self._suspects.popitem(last=False)
        if found:
            _log.warning("%s: the last process ended while it computed %d requests", self._name, found)
            with replacing(self._memory) as out:
                out.write(json.dumps(self._suspects).encode())

    def _keep(self, item: WorkItem) -> Path | None:
        """Write the request down, its tables beside it."""
        folder = self._refused / _digest(item.operation, item.request_id).hex()
        try:
            if not folder.exists():
                _write(folder, item)
                kept = sorted(self._refused.iterdir(), key=lambda path: path.stat().st_mtime)
                for old in kept[:-KEPT]:
                    for file in old.iterdir():
                        file.unlink()
                    old.rmdir()
        except OSError as error:
            _log.warning("a request that ended processes could not be kept: %s", error)
            return None
        return folder


def _write(folder: Path, item: WorkItem) -> None:
    folder.mkdir(parents=True, mode=0o700)
    plain = {}
    for name, value in item.request:
        if not isinstance(value, bytes):
            plain[name] = value
            continue
        plain[name] = f"{name}.arrow"
        if value.startswith(FILE_MARK):
            source = Path(value.partition(b"\n")[2].partition(b"\n")[2].decode())
            with contextlib.suppress(OSError):  # gone with its request, or on another disk
                os.link(source, folder / f"{name}.arrow")
        else:
            (folder / f"{name}.arrow").write_bytes(value)
    about = {"operation": item.operation, "request_id": item.request_id, "request": plain}
    (folder / "request.json").write_text(json.dumps(about, default=str, indent=1))


def _packed(items: Sequence[WorkItem]) -> bytes:
    """Pack the names of requests, of as many as there is room for; their hashes are made when somebody asks."""
    names = [item[:2] for item in items]  # request id and operation
    try:
        packed = orjson.dumps(names)
    except orjson.JSONEncodeError:  # an id with half of a surrogate pair in it
        packed = json.dumps(names).encode()
    return packed if len(packed) <= CAPACITY_BYTES else _packed(items[: len(items) // 2])


def _unpacked(content: bytes) -> list[tuple[str, str]]:
    """Give operation and request id of each noted request."""
    size = _SIZE.unpack_from(content)[0] if len(content) >= _SIZE.size else 0
    if not size:
        return []
    try:
        names: list[Any] = json.loads(content[_SIZE.size : _SIZE.size + size])
        return [(str(operation), str(request_id)) for request_id, operation in names]
    except (ValueError, TypeError):  # of another release, for one
        _log.warning("what the last process noted cannot be read")
        return []


def _digest(operation: str, request_id: str) -> bytes:
    text = f"{operation}:{request_id}"
    return hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=DIGEST).digest()


def _host() -> str:
    return socket.gethostname().replace(".", "-")


def _lives(pid: str) -> bool:
    try:
        state: str = psutil.Process(int(pid)).status()
    except (psutil.Error, ValueError):
        return False
    return state != str(psutil.STATUS_ZOMBIE)
