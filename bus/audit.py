"""The audit log: a line for each write, done or refused: who, what, which version came of it.

Every process with a face appends to the one file of the run directory, a line in one system call, so lines do not mix.
It is bounded: a full file becomes ``audit.jsonl.1``, and the one before that goes.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import fcntl
import logging
import os
from collections.abc import Awaitable, Mapping
from pathlib import Path
from typing import Any

import orjson

from contracts.answers import Calculation, Page
from contracts.caller import caller
from contracts.errors import EngineError
from contracts.operations import Operation
from contracts.requests import Request
from contracts.settings import Settings
from contracts.work import WorkResult

LIMIT_BYTES = 16 * 2**20
"""Of one file; with the one before it the log takes twice that."""
LONGEST = 200
"""Characters of a name in a line, so that what a caller sends cannot push out what others did."""

log = logging.getLogger(__name__)


class Audit:
    """Appends to one audit log.

    Parameters
    ----------
    path
        The file; its folder is made when missing.
    limit_bytes
        Size at which a new file is begun.

    Attributes
    ----------
    lost
        Lines that could not be written: a full disk does not hold up the write that they tell of.
    """

    def __init__(self, path: Path, limit_bytes: int = LIMIT_BYTES) -> None:
        self.path = path
        self.limit_bytes = limit_bytes
        self.lost = 0

    @staticmethod
    def of(current: Settings, node: str | None = None) -> Audit:
        """Give the run's log; a node beside the head has one of its own, as lines of two machines would mix."""
        name = "audit.jsonl" if node is None else f"audit-{node}.jsonl"
        return Audit(current.run_dir.resolve() / "audit" / name)

    async def noted(self, operation: Operation, request: Request, doing: Awaitable[WorkResult]) -> WorkResult:
        """Await a write, and note what came of it."""
        try:
            result = await doing
        except EngineError as error:
            await self.note(operation, request, outcome=error.code)
            raise
        except BaseException as error:
            # Nobody waits any more; the write may have been done all the same.
            self._append(_line(operation, request, type(error).__name__, None))
            raise
        outcome = "done" if result.problem is None else str(result.problem.get("code"))
        await self.note(operation, request, outcome=outcome, version=_version(result.value))
        return result

    async def note_other(self, what: str, named: Mapping[str, Any], *, outcome: str) -> None:
        """Append a line for a change that is no operation of the table."""
        line = {
            "time": dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds"),
            "who": caller.get(),
            "operation": what,
            **named,
            "outcome": outcome,
            "pid": os.getpid(),
        }
        await asyncio.to_thread(self._append, orjson.dumps(line) + b"\n")

    async def note(self, operation: Operation, request: Request, *, outcome: str, version: int | None = None) -> None:
        """Append a line, beside the event loop."""
        await asyncio.to_thread(self._append, _line(operation, request, outcome, version))

    def _append(self, line: bytes) -> None:
        try:
            try:
                size = self._write(line)
            except FileNotFoundError:
                self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                size = self._write(line)
            if size > self.limit_bytes:
                self._turn()
        except OSError as error:
            if not self.lost:
                log.warning("the audit log cannot be written: %s", error.strerror)
            self.lost += 1

    def _write(self, line: bytes) -> int:
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, line)
            return os.fstat(descriptor).st_size
        finally:
            os.close(descriptor)

    def _turn(self) -> None:
        """Begin a new file, unless another process did meanwhile."""
        lock = os.open(self.path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            with contextlib.suppress(FileNotFoundError):
                if self.path.stat().st_size > self.limit_bytes:
                    self.path.replace(self.path.with_name(f"{self.path.name}.1"))
        finally:
            os.close(lock)


def _line(operation: Operation, request: Request, outcome: str, version: int | None) -> bytes:
    written = operation.written if operation.writes else request.keeps
    named = {} if written is None else {written: str(getattr(request, written, None))[:LONGEST]}
    what: dict[str, Any] = {
        "time": dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds"),
        "who": caller.get(),
        "operation": operation.name,
        **named,
        "outcome": outcome,
        "version": version,
        "request_id": request.request_id,
        "pid": os.getpid(),
    }
    return orjson.dumps(what) + b"\n"


def _version(made: Calculation | Page | None) -> int | None:
    if isinstance(made, Calculation):
        if made.model_version is not None:
            return made.model_version
        found = made.values.get("portfolio_version") if isinstance(made.values, dict) else None
        return found if isinstance(found, int) else None
    return None
