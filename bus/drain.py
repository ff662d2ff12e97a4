"""From the outbox to the stream: in order, many in flight, removed when the stream has acknowledged.

At least once: what was not acknowledged when a connection or a process ended is sent again with the same
``Nats-Msg-Id``, and the stream drops what it has already.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections import deque

import orjson
from nats.aio.client import Client
from nats.aio.msg import Msg

from bus.feed import Feed
from bus.outbox import Outbox
from bus.wire import hpub, publish_all
from contracts.errors import first_line

log = logging.getLogger(__name__)

WINDOW = 1024
"""Events sent and not yet acknowledged."""
READ_BATCH = 256
ACK_TIMEOUT_S = 5.0
CHECK_S = 1.0
REMOVE_BATCH = 256
"""Acknowledged events are removed so many at a time, or at rest: one transaction for many."""
CHECKPOINT_BYTES = 16 * 2**20
"""A log of this size is moved into the database: two fsyncs for some thousand events."""
HEADER_ALLOWANCE = 8192


class Drainer:
    """Drains one outbox over one connection at a time.

    Parameters
    ----------
    outbox : Outbox
        A door of its own, so that it sees every face's commits, those of its own process included.
    feed : Feed
        Gets every event, whether NATS is connected or not.
    interval_s : float
        Longest time that an event below the priority threshold waits.
    """

    def __init__(self, outbox: Outbox, feed: Feed, interval_s: float) -> None:
        self._outbox = outbox
        self._feed = feed
        self._interval_s = max(interval_s, 0.001)
        self._poke = asyncio.Event()
        self._changed = -1
        self._in_flight: dict[int, float] = {}
        self._done: list[int] = []
        self._hopeless: list[int] = []
        self._cursor = 0
        self._full = False
        self._known: set[str] = set()
        self._check_at = 0.0
        self._checkpoint: asyncio.Task[None] | None = None
        self._prefix = 0
        self.published = 0
        self.acknowledged = 0
        self.duplicates = 0
        self.retries = 0
        self.errors = 0
        self.last_error = ""
        self.delays_ms: deque[float] = deque(maxlen=2048)

    async def run(self, nc: Client, known: set[str]) -> None:
        """Drain until cancelled, or until the connection ends.

        Parameters
        ----------
        nc : Client
            The connection.
        known : set of str
            Ids of events that the stream has and its server may have forgotten; they are not sent again.
        """
        self._in_flight.clear()
        self._cursor = 0
        self._known = known
        inbox = nc.new_inbox()
        self._prefix = len(inbox) + 1
        acks = await nc.subscribe(f"{inbox}.*", cb=self._on_ack)
        wake = self._outbox.listen()
        loop = asyncio.get_running_loop()
        loop.add_reader(wake, self._on_wake, wake)
        try:
            while not nc.is_closed:
                sent = await self._send(nc, inbox)
                if len(self._done) >= REMOVE_BATCH:
                    self._remove()
                if not sent:
                    await self._rest()
        finally:
            loop.remove_reader(wake)
            os.close(wake)
            with contextlib.suppress(Exception):
                await acks.unsubscribe()
            self._remove()

    async def follow(self) -> None:
        """Feed the websockets while NATS is away; nothing is sent or removed."""
        after = max(self._feed.stored, self._outbox.newest() - self._feed.limit)
        while True:
            for stored in self._outbox.read(after, READ_BATCH):
                after = stored.seq
                self._feed.add(stored)
            await asyncio.sleep(max(self._interval_s, 0.05))

    async def _send(self, nc: Client, inbox: str) -> int:
        now = time.monotonic()
        if now > self._check_at:
            self._check_timeouts(now)
        room = WINDOW - len(self._in_flight)
        if room <= 0:
            self._full = True
            return 0
        rows = self._outbox.read(self._cursor, min(room, READ_BATCH))
        commands = []
        for stored in rows:
            self._cursor = stored.seq
            self._feed.add(stored)
            if stored.seq in self._in_flight:
                continue
            event = stored.event
            if event.id in self._known:
                self.duplicates += 1
                self._done.append(stored.seq)
                continue
            if len(event.data) + HEADER_ALLOWANCE > nc.max_payload:
                self._give_up(stored.seq, f"event {event.id} on {event.subject} is over the server's largest message")
                continue
            try:
                commands.append(hpub(event, stored.seq, f"{inbox}.{stored.seq}"))
            except Exception as error:  # noqa: BLE001  it would fail again for ever, and everything waits behind it
                self._give_up(stored.seq, f"event {event.id} on {event.subject!r} cannot be sent: {first_line(error)}")
                continue
            self._in_flight[stored.seq] = now
        if commands:
            await publish_all(nc, commands)
            self.published += len(commands)
        return len(rows)

    async def _on_ack(self, msg: Msg) -> None:
        seq = int(msg.subject[self._prefix :])
        sent_at = self._in_flight.pop(seq, None)
        if msg.headers is not None and msg.headers.get("Status") == "503":
            self._failed(seq, "no stream takes this subject")
        elif b'"error"' in msg.data:
            self._failed(seq, _reason(msg.data))
        elif sent_at is not None:
            self.acknowledged += 1
            self.duplicates += b'"duplicate"' in msg.data
            self.delays_ms.append((time.monotonic() - sent_at) * 1e3)
            self._done.append(seq)
        # Waking the drainer for every acknowledgement would cost a transaction each.
        if len(self._done) >= REMOVE_BATCH or self._full:
            self._full = False
            self._poke.set()

    def _failed(self, seq: int, reason: str) -> None:
        """Send from this event on again, a little later: the stream may be full or not yet there."""
        self.errors += 1
        if reason != self.last_error:
            log.warning("NATS did not take an event: %s", reason)
        self.last_error = reason
        self._in_flight[seq] = -ACK_TIMEOUT_S

    def _check_timeouts(self, now: float) -> None:
        """Forget what was not acknowledged in time and read on from there."""
        late = [seq for seq, sent_at in self._in_flight.items() if now - sent_at > ACK_TIMEOUT_S]
        for seq in late:
            del self._in_flight[seq]
        if late:
            self.retries += len(late)
            self._cursor = min(self._cursor, min(late) - 1)
        self._check_at = now + CHECK_S

    def _give_up(self, seq: int, reason: str) -> None:
        log.error("%s", reason)
        self.last_error = reason
        self._hopeless.append(seq)

    def _remove(self) -> None:
        """Remove what was acknowledged; a locked database is asked again at the next turn."""
        if self._done and self._outbox.delete(self._done):
            self._done = []
        if self._hopeless and self._outbox.delete(self._hopeless, undeliverable=True):
            self._hopeless = []

    async def _rest(self) -> None:
        """Wait for a wake or an acknowledgement, and for other processes' commits no longer than the interval."""
        changed = self._outbox.changed()
        if changed != self._changed:
            self._changed = changed
            # Something was committed between the last read and now; read once more before resting.
            return
        self._poke.clear()
        try:
            # Not wait_for: before Python 3.12 it loses a cancellation that comes together with the wake.
            async with asyncio.timeout(self._interval_s):
                await self._poke.wait()
        except TimeoutError:
            self._remove()
            self._start_checkpoint()

    def _start_checkpoint(self) -> None:
        running = self._checkpoint is not None and not self._checkpoint.done()
        if not running and self._outbox.wal_bytes() > CHECKPOINT_BYTES:
            self._checkpoint = asyncio.get_running_loop().create_task(asyncio.to_thread(self._outbox.checkpoint))

    def _on_wake(self, pipe: int) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(pipe, 4096)
        self._poke.set()

    @property
    def in_flight(self) -> int:
        """Events sent and not yet acknowledged."""
        return len(self._in_flight)


def _reason(answer: bytes) -> str:
    """Say why the stream did not take an event; its answer may be anything."""
    try:
        return str(orjson.loads(answer)["error"]["description"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return answer[:200].decode(errors="replace")
