"""Reads what callers send outside of the process that answers them: large JSON, and every table in bulk.

Neither the HTTP replica nor the bridge decodes such a body. A process beside each does (`bus/read_process.py`), with a
limit on its memory and on its time; when a body ends it, the caller is told, and the next body gets a new process.
Small JSON is read where it arrives: it can hold up nobody.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import psutil

from bus.read_process import HEAD, TASK_HEAD, named, too_large
from bus.read_request import bar_payload, read_payload, request_of
from contracts.bulk import allowed_mb
from contracts.errors import DeadlineExceeded, EngineError, MalformedBody, Unavailable
from contracts.frames import ARROW_FILE, file_reference
from contracts.operations import OPERATIONS, Operation
from contracts.requests import Request
from contracts.settings import Settings, environment_of

HERE_BYTES = 64 * 1024
"""JSON up to this size is read where it arrives: a millisecond or two. More would hold up every other request."""
HEAVY_BYTES = 4 * 2**20
"""JSON beyond this has a process of its own, as tables have, so that a bar does not wait behind it."""
INLINE_BYTES = 2**19
"""A table up to this size travels in the request; a larger one stays a file that the actor reads. On its way in and out
the event loop would copy it three times."""
JSON_MEMORY_MB = 2500
"""For reading JSON: 5 million values, the text and the table made of it."""
SPARE_MB = 600
"""What the process and the libraries take, beside a table and half as much again while it is decoded."""
PIPE_BYTES = 2**20
WATCH_S = 0.1
QUEUE = 64
NEVER_S = 600.0
ROOT = Path(__file__).resolve().parent.parent

_log = logging.getLogger(__name__)


class Reader:
    """Two processes that read: one for JSON of ordinary size, one for what is large. Each is started when first needed.

    Parameters
    ----------
    current
        The limits.
    """

    def __init__(self, current: Settings) -> None:
        self._current = current
        self._light = _Process("json", JSON_MEMORY_MB, current, heavy=False)
        most_mb = max(_table_memory_mb(current.table_limit_mb), JSON_MEMORY_MB)
        self._heavy = _Process("tables", most_mb, current, heavy=True)

    def start(self) -> None:
        """Start the process for ordinary JSON now, so that nobody waits for it."""
        self._light.start()

    async def request(
        self,
        operation: Operation,
        body: bytes,
        below: dict[str, Any],
        above: dict[str, Any],
        default_model: str | None,
        timeout_s: float | None = None,
        beside: Path | None = None,
    ) -> Request:
        """Read a JSON body as the operation's request; see `bus.read_request`.

        `beside` is where larger tables may be left as files, which the caller removes: ``<beside>.<field>.arrow``.

        Raises
        ------
        MalformedBody, InvalidInput, BodyTooLarge
            What is wrong with it.
        TableTooLarge
            Reading it took more memory than it may.
        DeadlineExceeded
            Reading it took longer than `timeout_s`.
        """
        if len(body) <= HERE_BYTES:
            return request_of(operation, read_payload(body, below, above), default_model)
        at = None if beside is None else str(beside)
        asked = ("request", (operation.name, below, above, default_model, INLINE_BYTES, at))
        read: Request = await self._for(body).ask(asked, timeout_s, body=body)
        return read

    async def bar(self, body: bytes, default_model: str | None) -> Request:
        """Read a bar as the request that appends it."""
        if len(body) <= HERE_BYTES:
            return request_of(OPERATIONS["append_day"], bar_payload(body, default_model), default_model)
        read: Request = await self._for(body).ask(("bar", (default_model,)), None, body=body)
        return read

    async def named(self, body: bytes, field: str) -> Any:
        """Read what a body names in a field, None when it has none; raises what is wrong with the body."""
        if len(body) <= HERE_BYTES:
            return named(body, field)
        return await self._for(body).ask(("named", (field,)), None, body=body)

    async def table(self, path: Path, kind: str, names: dict[str, str], timeout_s: float | None = None) -> bytes:
        """Read a bulk table in a file; gives what stands for it in a request.

        A table that does not travel in the request is written beside `path`, with the suffix ``.arrow``.

        Raises
        ------
        TableTooLarge
            It takes more memory than it may: by its own metadata, or as it turned out.
        MalformedBody, InvalidInput, UnsupportedMedia
            What is wrong with it.
        DeadlineExceeded
            Reading it took longer than `timeout_s`.
        """
        plain = path.with_suffix(".arrow")
        limit = self._current.table_limit_mb
        asked = ("table", (str(path), kind, names, limit, INLINE_BYTES, str(plain)))
        found = await asyncio.to_thread(path.stat)
        memory_mb = _table_memory_mb(allowed_mb(found.st_size, limit))
        small: bytes | None = await self._heavy.ask(asked, timeout_s, memory_mb=memory_mb)
        return file_reference(plain, ARROW_FILE) if small is None else small

    def _for(self, body: bytes) -> _Process:
        return self._heavy if len(body) > HEAVY_BYTES else self._light

    def stats(self) -> dict[str, Any]:
        """Count what was read, and what became of it."""
        return {process.name: process.stats() for process in (self._light, self._heavy)}

    def close(self) -> None:
        """End both processes."""
        self._light.close()
        self._heavy.close()


def _table_memory_mb(table_mb: int) -> int:
    return table_mb + table_mb // 2 + SPARE_MB


CRASHES = (signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE)
"""What a library of others does on a body that it was not made for; nobody sends these from outside."""


class _Process:
    """One process that reads, one task at a time."""

    def __init__(self, name: str, memory_mb: int, current: Settings, *, heavy: bool) -> None:
        self._heavy = heavy
        self.name = name
        self._environment = {**os.environ, **environment_of(current)}
        self._memory_mb = memory_mb
        self._turn: asyncio.Lock | None = None
        self._waiting = 0
        self._starting = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._counts: Counter[str] = Counter()
        self._overgrown = False

    def start(self) -> subprocess.Popen[bytes]:
        """Give the process, started anew when there is none."""
        with self._starting:
            if self._child is not None and self._child.poll() is not None:
                self._end(self._child)  # it ended between two tasks; its pipes are ours still
                self._child = None
            if self._child is None:
                told = (os.getpid(), int(self._heavy))
                command = [sys.executable, "-m", "bus.read_process", *map(str, told)]
                self._child = subprocess.Popen(
                    command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, env=self._environment
                )
                _widen(self._child)
                self._counts["started"] += 1
            return self._child

    async def ask(
        self,
        task: tuple[str, tuple[Any, ...]],
        timeout_s: float | None,
        *,
        body: bytes = b"",
        memory_mb: int | None = None,
    ) -> Any:
        """Have one task done on a body; raises what it raised. `memory_mb`: less than all that the process may have."""
        memory_mb = self._memory_mb if memory_mb is None else min(memory_mb, self._memory_mb)
        if self._waiting >= QUEUE:
            raise Unavailable(f"{QUEUE} bodies wait to be read", retry_after_s=1.0)
        self._turn = self._turn or asyncio.Lock()
        self._waiting += 1
        try:
            async with asyncio.timeout(NEVER_S if timeout_s is None else timeout_s), self._turn:
                packed = pickle.dumps((task, memory_mb), protocol=pickle.HIGHEST_PROTOCOL)
                done, value = await self._exchange(packed, body, memory_mb)
        except TimeoutError:
            self._counts["late"] += 1
            raise DeadlineExceeded("the deadline passed while the body was read") from None
        finally:
            self._waiting -= 1
        self._counts["read" if done else "refused"] += 1
        if not done:
            raise value
        return value

    async def _exchange(self, packed: bytes, body: bytes, memory_mb: int) -> tuple[bool, Any]:
        child = self._child
        if child is None or child.poll() is not None:
            child = await asyncio.to_thread(self.start)
        self._overgrown = False
        watch = asyncio.create_task(self._watch(child, memory_mb))
        work = asyncio.create_task(asyncio.to_thread(_send, child, packed, body))
        try:
            answer = await asyncio.shield(work)
        except (OSError, EOFError):
            self._counts["ended"] += 1
            return False, self._why_ended(child, memory_mb)
        except asyncio.CancelledError:
            # Nobody waits for it any more: what the process works on ends with it.
            self._end(child)
            work.add_done_callback(lambda done: done.cancelled() or done.exception())
            raise
        finally:
            watch.cancel()
        return answer

    def _why_ended(self, child: subprocess.Popen[bytes], memory_mb: int) -> EngineError:
        """Say what ended the process in the middle of a task. Polars aborts when the kernel gives no more memory."""
        self._end(child)
        if self._overgrown or child.returncode == -signal.SIGABRT:
            return too_large(memory_mb)
        _log.error("the process that reads %s ended with %s", self.name, child.returncode)
        if -child.returncode in CRASHES:
            name = signal.Signals(-child.returncode).name
            return MalformedBody(f"the body cannot be read: it ends the process that reads it ({name})", field="body")
        return Unavailable("the process that reads bodies ended; it is started again", retry_after_s=1.0)

    async def _watch(self, child: subprocess.Popen[bytes], memory_mb: int) -> None:
        """End a process that grew beyond its limit, where the kernel does not hold it to it."""
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(child.pid)
            while True:
                await asyncio.sleep(WATCH_S)
                if process.memory_info().rss > memory_mb * 2**20:
                    self._overgrown = True
                    child.kill()
                    return

    def _end(self, child: subprocess.Popen[bytes]) -> None:
        child.kill()
        child.wait()
        for pipe in (child.stdin, child.stdout):
            with contextlib.suppress(OSError):
                assert pipe is not None
                pipe.close()

    def stats(self) -> dict[str, Any]:
        return {
            "memory_limit_mb": self._memory_mb,
            "waiting": self._waiting,
            **{name: self._counts[name] for name in ("started", "read", "refused", "late", "ended")},
        }

    def close(self) -> None:
        with self._starting:
            if self._child is not None:
                self._end(self._child)
                self._child = None


def _widen(child: subprocess.Popen[bytes]) -> None:
    """Let a bar pass its pipes in one go where the system can: 64 KiB at a time, both sides wait seven times."""
    size = getattr(fcntl, "F_SETPIPE_SZ", None)
    for pipe in (child.stdin, child.stdout):
        with contextlib.suppress(OSError):  # as a user has only so much of it
            if size is not None and pipe is not None:
                fcntl.fcntl(pipe.fileno(), size, PIPE_BYTES)


def _send(child: subprocess.Popen[bytes], packed: bytes, body: bytes) -> tuple[bool, Any]:
    """Write a task with its body and read its answer; in a thread. The body is not pickled, which would copy it."""
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write(TASK_HEAD.pack(len(packed), len(body)))
    child.stdin.write(packed)
    child.stdin.write(body)
    child.stdin.flush()
    head = child.stdout.read(HEAD.size)
    if len(head) < HEAD.size:
        raise EOFError
    size = HEAD.unpack(head)[0]
    told = child.stdout.read(size)
    if len(told) < size:
        raise EOFError
    answer: tuple[bool, Any] = pickle.loads(told)  # noqa: S301  our own process wrote it
    return answer
