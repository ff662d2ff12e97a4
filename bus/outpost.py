"""An outpost: a bridge on another node than the head's. It answers requests, and publishes nothing itself.

What its answers tell others goes into the head's outbox (`bus.outbox_afar`), so that there is one order of events. What
one bridge alone does, such as bars and durable requests, is left to the head's.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections import Counter
from typing import Any

from nats.aio.client import Client
from nats.errors import Error as NatsError

from bus.audit import Audit
from bus.connection import close, connect
from bus.face import Face, FaceClient
from bus.micro import Micro
from bus.outbox_afar import Keep, OutboxAfar
from bus.reader import Reader
from bus.requests import RequestDesk
from bus.spool import Spool
from contracts.backoff import backoff_s
from contracts.bus_mode import BusMode, ModeFile
from contracts.errors import EngineError, first_line
from contracts.identity import engine_id
from contracts.settings import Settings
from contracts.version import VERSION

log = logging.getLogger(__name__)

BACKOFF_S = (0.1, 0.25, 0.5, 1.0)
MODE_LOOK_S = 0.1
FINISH_S = 2.0


class Outpost:
    """Answers the request subjects from this node, in the queue group of all bridges.

    Parameters
    ----------
    current : Settings
        The run directory is on storage that the nodes share; `nats_url` is reached from here.
    client : RouterClient
        Started.
    keep : callable
        Has the head keep events; see `OutboxAfar`.
    node : str
        What this node is called in file names.
    """

    def __init__(self, current: Settings, client: FaceClient, keep: Keep, node: str) -> None:
        self._current = current
        self.mode = ModeFile.of(current)
        self.outbox = OutboxAfar(keep)
        self.face = Face(client, self.outbox, lambda: self.connected, Audit.of(current, node), self.mode)
        self.reader = Reader(current)
        self.desk = RequestDesk(
            self.face,
            self.reader,
            current.bridge_limit,
            current.subscribe_to_engines,
            Spool(current.run_dir / "answers"),
            engine_id(current.run_dir),
            current.nats_rate,
        )
        self._micro = Micro(self.desk.endpoints, VERSION)
        self._task: asyncio.Task[None] | None = None
        self._ended = asyncio.Event()
        self._server: dict[str, Any] = {}
        self.connected = False
        self.since = time.time()
        self.errors: Counter[str] = Counter()
        self.last_error = ""

    async def start(self) -> None:
        """Begin connecting; returns at once, and NATS may come and go from then on."""
        await asyncio.to_thread(self.reader.start)
        self._task = asyncio.create_task(self._run(), name="outpost")

    async def stop(self) -> None:
        """Take no more, answer what was taken, and let its events arrive."""
        await self.desk.leave(FINISH_S)
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        await self.outbox.close(FINISH_S)
        self.reader.close()

    async def _run(self) -> None:
        attempt = 0
        while True:
            if self.mode.now is not BusMode.FULL:
                await asyncio.sleep(MODE_LOOK_S)
                continue
            self._ended.clear()
            try:
                nc, self._server = await connect(self._current, "outpost", self._on_error, self._on_end)
            except (OSError, NatsError, TimeoutError, EngineError) as error:
                self._note(error)
                await asyncio.sleep(backoff_s(BACKOFF_S, attempt))
                attempt += 1
                continue
            attempt = 0
            try:
                await self._serve(nc)
            except (OSError, NatsError, TimeoutError) as error:
                self._note(error)
            except Exception as error:
                log.exception("the outpost's connection failed and is made again")
                self.errors[type(error).__name__] += 1
            finally:
                self._set_connected(False)
                await close(nc)

    async def _serve(self, nc: Client) -> None:
        """Answer until the connection ends or the mode is another."""
        await self.desk.start(nc)
        await self._micro.start(nc)
        await nc.flush()
        self._set_connected(True)
        while self.mode.now is BusMode.FULL and not self._ended.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(MODE_LOOK_S):
                    await self._ended.wait()
        await self.desk.leave(FINISH_S)

    async def _on_error(self, error: Exception) -> None:
        self._note(error)

    async def _on_end(self) -> None:
        self._set_connected(False)
        self._ended.set()

    def _note(self, error: BaseException) -> None:
        self.errors[type(error).__name__] += 1
        text = first_line(error)
        if text != self.last_error:
            log.warning("NATS: %s", text)
        self.last_error = text

    def _set_connected(self, connected: bool) -> None:
        if connected != self.connected:
            self.connected, self.since = connected, time.time()

    def status(self) -> dict[str, Any]:
        """Say whether and where it is connected, and what went through."""
        desk, trouble = self.desk, self.outbox.look()
        return {
            "connected": self.connected,
            "since": self.since,
            "server": self._server,
            "last_error": self.last_error,
            "outbox_trouble": trouble.reason if trouble is not None else None,
            "outbox_held": self.outbox.held,
            "requests": desk.requests,
            "problems": desk.problems,
            "refused": desk.refused,
            "in_work": desk.in_work,
            "pid": os.getpid(),
        }
