"""From the outbox to the stream: each subject in its order, many in flight, removed when the stream has acknowledged.

At least once: what was not acknowledged when a connection or a process ended is sent again with the same
``Nats-Msg-Id``, and the stream drops what it has already. `bus.lines` keeps the order of a subject.
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
from bus.fresh import Fresh
from bus.lines import Lines, Unit
from bus.outbox import Outbox
from bus.outbox_table import Stored
from bus.straight import subscribe
from bus.wire import HEADER_ALLOWANCE, hpub, publish_all, unpublishable

log = logging.getLogger(__name__)

WINDOW = 1024
"""Events read and not yet acknowledged."""
READ_BATCH = 256
ACK_TIMEOUT_S = 5.0
CHECK_S = 1.0
REMOVE_BATCH = 256
TIDY_S = 0.1
"""Acknowledged events are removed so many at a time, or so often: one transaction for many. A face that answers one
request after another would pay for each transaction by itself."""
CHECKPOINT_BYTES = 16 * 2**20
"""A log of this size is moved into the database: two fsyncs for some thousand events."""
_CHAIN_BROKEN = 10070
_TOO_LARGE = 10054
"""The stream takes no message of this size, whoever else's it takes: such an event would wait for ever."""


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
    fresh : Fresh, optional
        What this process puts, by another door: it is not read back.
    """

    def __init__(self, outbox: Outbox, feed: Feed, interval_s: float, fresh: Fresh | None = None) -> None:
        self._outbox = outbox
        self._fresh = fresh if fresh is not None else Fresh()
        self._feed = feed
        self._interval_s = max(interval_s, 0.001)
        self._poke = asyncio.Event()
        self._changed = -1
        self._lines = Lines()
        self._held: set[int] = set()
        """What is in the lines, or acknowledged and not removed yet: not to be read again."""
        self._done: list[int] = []
        self._hopeless: list[int] = []
        self._cursor = 0
        self._full = False
        self._look = True
        """Whether there may be more behind the cursor; else only what is in the lines is looked after."""
        self._known: set[str] = set()
        self._check_at = self._tidy_at = 0.0
        self._checkpoint: asyncio.Task[bool] | None = None
        self._prefix = 0
        self.published = 0
        self.acknowledged = 0
        self.duplicates = 0
        self.retries = 0
        self.errors = 0
        self.last_error = ""
        self.delays_ms: deque[float] = deque(maxlen=2048)

    async def run(self, nc: Client, known: set[str], *, batches: bool = True) -> None:
        """Drain until cancelled, or until the connection ends.

        Parameters
        ----------
        nc : Client
            The connection.
        known : set of str
            Ids of events that the stream has and its server may have forgotten; they are not sent again.
        batches : bool
            Whether the stream stores several messages as one.
        """
        self._lines = Lines(batches=batches)
        self._held = {*self._done, *self._hopeless}
        self._cursor = 0
        self._look = True
        self._known = known
        inbox = nc.new_inbox()
        self._prefix = len(inbox) + 1
        acks = await subscribe(nc, f"{inbox}.*", self._on_ack)
        wake = self._outbox.listen()
        loop = asyncio.get_running_loop()
        loop.add_reader(wake, self._on_wake, wake)
        self._fresh.begin()
        try:
            while not nc.is_closed:
                sent = await self._send(nc, inbox)
                if len(self._done) >= REMOVE_BATCH:
                    self._remove()
                if not sent:
                    await self._rest()
        finally:
            self._fresh.end()
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
        rows = self._read(nc.max_payload) if self._look else []
        commands: list[bytes] = []
        for unit in self._lines.leave(now):
            commands += self._encoded(unit, inbox)
        if commands:
            await publish_all(nc, commands)
            self.published += len(commands)
        return len(rows) or len(commands)

    def _read(self, max_payload: int) -> list[Stored]:
        """Read on from the cursor, into the lines."""
        room = WINDOW - self._lines.held
        if room <= 0:
            self._full = True
            return []
        most = min(room, READ_BATCH)
        rows = self._fresh.take(self._cursor, most) or self._outbox.read(self._cursor, most)
        self._look = bool(rows)
        for stored in rows:
            self._cursor = stored.seq
            self._feed.add(stored)
            event = stored.event
            if stored.seq in self._held:
                continue
            if event.id in self._known:
                self.duplicates += 1
                self._settle([stored])
            elif len(event.data) + HEADER_ALLOWANCE > max_payload:
                self._give_up(stored.seq, f"event {event.id} on {event.subject} is over the server's largest message")
            elif (why := unpublishable(event)) is not None:
                self._give_up(stored.seq, f"event {event.id} on {event.subject!r} cannot be sent: {why}")
            elif self._lines.take(stored):
                self._held.add(stored.seq)
        return rows

    @staticmethod
    def _encoded(unit: Unit, inbox: str) -> list[bytes]:
        reply = f"{inbox}.{unit.number}"
        commands: list[bytes] = []
        before: Stored | None = None
        last = len(unit.events)
        for place, stored in enumerate(unit.events, 1):
            more: dict[str, str] = {}
            if unit.batch and last > 1:
                more = {"Nats-Batch-Id": reply[-64:], "Nats-Batch-Sequence": str(place)}
                if place == last:
                    more["Nats-Batch-Commit"] = "1"
            elif before is not None:
                more = {"Nats-Expected-Last-Msg-Id": before.event.id}
            # Only the last is acknowledged: the stream has it if, and only if, it has those before it.
            commands.append(hpub(stored.event, stored.seq, reply if place == last else "", more))
            before = stored
        return commands

    def _on_ack(self, msg: Msg) -> None:
        number = int(msg.subject[self._prefix :])
        if msg.headers is not None and msg.headers.get("Status") == "503":
            self._failed(number, "no stream takes this subject", 0)
        elif b'"error"' in msg.data:
            self._failed(number, *_reason(msg.data))
        else:
            unit = self._landed(number)
            if unit is not None:
                self.acknowledged += len(unit.events)
                self.duplicates += len(unit.events) * (b'"duplicate"' in msg.data)
                self.delays_ms += [(time.monotonic() - unit.sent_at) * 1e3] * len(unit.events)
                self._settle(unit.events)
        # A line that has more to send goes on; else waking for every acknowledgement would cost a transaction each.
        if len(self._done) >= REMOVE_BATCH or self._full or self._lines.held > self._lines.in_flight:
            self._look = self._look or self._full
            self._full = False
            self._poke.set()

    def _landed(self, number: int) -> Unit | None:
        """Let the line of a unit go on, with what was left in the outbox while it stood still."""
        unit, left_from = self._lines.done(number)
        if left_from is not None:
            self._cursor = min(self._cursor, left_from - 1)
            self._look = True
        return unit

    def _settle(self, events: list[Stored]) -> None:
        """Have the outbox forget what the stream has, at the next turn that does so."""
        self._held.update(stored.seq for stored in events)
        self._done += [stored.seq for stored in events]

    def _failed(self, number: int, reason: str, code: int) -> None:
        """Send this unit again, a little later: the stream may be full or not yet there. Its line waits for it."""
        if code == _CHAIN_BROKEN:
            self._lines.broken(number, time.monotonic())
            return
        if self._lines.only(number) is None:
            # One by one each says for itself; in a batch some may be what the stream has already.
            self._lines.again(number)
            return
        self.errors += 1
        if reason != self.last_error:
            log.warning("NATS did not take an event: %s", reason)
        self.last_error = reason
        if code == _TOO_LARGE and (unit := self._landed(number)) is not None:
            self._poke.set()
            event = unit.events[0].event
            self._give_up(
                unit.events[0].seq, f"event {event.id} on {event.subject} is over the stream's largest message"
            )
            return
        self._back(number, time.monotonic())

    def _back(self, number: int, now: float) -> None:
        self._held.difference_update(stored.seq for stored in self._lines.failed(number, now))

    def _check_timeouts(self, now: float) -> None:
        """Take what was not acknowledged in time for failed; the stream may have it, and then says so.

        And read on once, whatever was told of new events: an event that nobody told of may wait, but not for good.
        """
        self._look = True
        late = self._lines.late(now, ACK_TIMEOUT_S)
        for number in late:
            self._back(number, now)
        self.retries += len(late)
        self._check_at = now + CHECK_S

    def _give_up(self, seq: int, reason: str) -> None:
        log.error("%s", reason)
        self.last_error = reason
        self._held.add(seq)
        self._hopeless.append(seq)

    def _remove(self) -> None:
        """Remove what was acknowledged; a locked database is asked again at the next turn."""
        if self._done and self._outbox.delete(self._done):
            self._held.difference_update(self._done)
            self._done = []
        if self._hopeless and self._outbox.delete(self._hopeless, undeliverable=True):
            self._held.difference_update(self._hopeless)
            self._hopeless = []

    async def _rest(self) -> None:
        """Wait for a wake or an acknowledgement, and for other processes' commits no longer than the interval."""
        changed = self._outbox.changed()
        if changed != self._changed:
            self._changed = changed
            # Something was committed between the last read and now; read once more before resting.
            self._look = True
            return
        self._poke.clear()
        # A line that stands still, or waits for an acknowledgement, is looked at when its time comes.
        wait_s = min(self._interval_s, CHECK_S) if self._lines.held else self._interval_s
        timer = asyncio.get_running_loop().call_later(wait_s, self._poke.set)
        try:
            await self._poke.wait()
        finally:
            timer.cancel()
        now = time.monotonic()
        if now > self._tidy_at:
            self._tidy_at = now + TIDY_S
            self._remove()
            self._start_checkpoint()

    def _start_checkpoint(self) -> None:
        running = self._checkpoint is not None and not self._checkpoint.done()
        if not running and self._outbox.log.due(CHECKPOINT_BYTES):
            self._checkpoint = asyncio.create_task(asyncio.to_thread(self._outbox.log.move))

    def _on_wake(self, pipe: int) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(pipe, 4096)
        self._look = True
        self._poke.set()

    @property
    def in_flight(self) -> int:
        """Events sent and not yet acknowledged."""
        return self._lines.in_flight


def _reason(answer: bytes) -> tuple[str, int]:
    """Say why the stream did not take an event, and the server's number of it; its answer may be anything."""
    try:
        error = orjson.loads(answer)["error"]
        return str(error["description"]), int(error.get("err_code", 0))
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError):
        return answer[:200].decode(errors="replace"), 0
