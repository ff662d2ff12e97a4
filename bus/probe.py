"""Whether the streams take writes, found out by writing: a server whose disk was full acknowledges nothing any more.

It goes on so when there is room again, until it is started anew; and what publishes to a stream may be somebody else,
of whose trouble the bridge sees nothing.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js import JetStreamContext

from contracts.errors import first_line

log = logging.getLogger(__name__)

PROBE_SUBJECT = "_factor_probe."
"""With the stream's name behind it; the message is removed at once."""
CALM_S = 300.0
"""Between probes while nothing looks wrong: a reader of a whole stream may meet the message before it is removed."""
TROUBLED_S = 2.0
"""Between probes when something does: a full disk, events that were not acknowledged, a stream that took no write."""
ANSWER_S = 2.0
ROOM_BYTES = 8 * 2**20
"""With less room on the server's disk it is the disk that has to be helped, not the server."""
RESTART_AFTER = 2
"""Probes in a row that fail before the server is asked to start again."""
RESTART_EVERY_S = 30.0


class StreamProbe:
    """Probes the streams of one server.

    Parameters
    ----------
    names
        The streams.
    folder
        Where the embedded server keeps them; None for a server that is not ours.
    restart
        Asks for the embedded server to be started again.
    failures
        Counts what the stream of events did not take.
    """

    def __init__(
        self,
        names: Iterable[str],
        folder: Path | None,
        restart: Callable[[], None],
        failures: Callable[[], int] = lambda: 0,
    ) -> None:
        self._failures = failures
        self._failures_seen = 0
        self._folder = folder
        self._restart = restart
        self._restart_at = 0.0
        self._failed = 0
        self.restarts_asked = 0
        self._faults: dict[str, dict[str, Any]] = {}
        self._names = tuple(names)

    @property
    def faults(self) -> dict[str, dict[str, Any]]:
        """The streams that take no writes: name: ``reason`` and ``since`` (seconds since the epoch)."""
        return dict(self._faults)

    async def run(self, nc: Client) -> None:
        """Probe when something looks wrong, and now and then, until cancelled."""
        calm_until = time.monotonic() + CALM_S
        while True:
            await asyncio.sleep(min(TROUBLED_S, CALM_S))
            if self._faults or self._looks_wrong() or time.monotonic() >= calm_until:
                await self.look(nc)
                calm_until = time.monotonic() + CALM_S

    def _looks_wrong(self) -> bool:
        free, failures = self.free_bytes(), self._failures()
        more, self._failures_seen = failures > self._failures_seen, failures
        return more or (free is not None and free < ROOM_BYTES)

    async def look(self, nc: Client) -> None:
        """Probe every stream once, and ask for a new start of a server that cannot mend itself.

        A server that answers nothing at all is none of it: the connection's own pings find that.
        """
        js = nc.jetstream()
        reasons = await asyncio.gather(*(self._probe(js, name) for name in self._names))
        if any(reasons) and not await _answers(nc):
            return
        for name, reason in zip(self._names, reasons, strict=True):
            if reason is None:
                if self._faults.pop(name, None) is not None:
                    log.warning("stream %s takes writes again", name)
                continue
            known = self._faults.setdefault(name, {"since": time.time()})
            if known.get("reason") != reason:
                log.warning("stream %s takes no writes: %s", name, reason)
            known["reason"] = reason
        self._failed = self._failed + 1 if self._faults else 0
        self._maybe_restart()

    def _maybe_restart(self) -> None:
        free = self.free_bytes()
        due = self._failed >= RESTART_AFTER and time.monotonic() >= self._restart_at
        if free is None or free < ROOM_BYTES or not due:
            return
        self._restart_at = time.monotonic() + RESTART_EVERY_S
        self.restarts_asked += 1
        try:
            self._restart()
        except OSError as error:
            log.warning("nats-server cannot be asked to start again: %s", first_line(error))

    def free_bytes(self) -> int | None:
        """Give the room on the embedded server's disk; None where the server is not ours."""
        if self._folder is None:
            return None
        try:
            return shutil.disk_usage(self._folder).free
        except OSError:
            return None

    async def _probe(self, js: JetStreamContext, name: str) -> str | None:
        try:
            ack = await js.publish(PROBE_SUBJECT + name, b"", timeout=ANSWER_S)
        except (NatsError, TimeoutError, OSError) as error:
            free = self.free_bytes()
            why = "no acknowledgement" if isinstance(error, TimeoutError) else first_line(error)
            return f"{why}; its disk is full" if free is not None and free < ROOM_BYTES else why
        try:
            await js.delete_msg(name, ack.seq)
        except (NatsError, TimeoutError) as error:
            log.debug("the probe stays in %s: %s", name, first_line(error))
        return None


async def _answers(nc: Client) -> bool:
    try:
        await nc.flush(timeout=1)
    except (NatsError, TimeoutError, OSError):
        return False
    return True
