"""Events in lines, one for each subject: of a line one unit is on its way at a time, so none overtakes another.

Publishing without waiting keeps an order only as long as everything succeeds: an event that the stream refuses, or
whose acknowledgement is lost, is stored behind those that were sent after it. So a line waits for what it sent; lines
do not wait for each other. What has gathered leaves as one unit: a chain, of which each event names the one before it
(``Nats-Expected-Last-Msg-Id``), so that the stream refuses all behind one that it refused. Where somebody else
publishes to the stream in between, chains break; for a while a unit is then a batch, stored whole or not at all
(ADR-50).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from bus.outbox_table import Stored

UNIT_EVENTS = 256
"""Events in one unit; the server takes 1,000 in a batch."""
BATCH_LEAST = 64
"""Fewer go one by one where there are no chains: nats-server (2.12) stages and syncs each batch, so that any takes some
milliseconds. Of 64 events at a time a stream took 15,000 a second in batches (37 us of the server's CPU for each),
27,000 alone (10 to 14 us), and 50,000 in chains (8 us)."""
BROKEN_S = 30.0
"""So long no chain is tried after one that somebody else's event broke."""
UNIT_BYTES = 4 * 2**20
RETRY_S = (1.0, 2.0, 5.0)


class Unit(NamedTuple):
    """Events of one subject that are on their way."""

    number: int
    events: list[Stored]
    sent_at: float
    batch: bool = False
    """Whether it is to be stored whole or not at all; else each event of it names the one before it."""


@dataclass
class _Line:
    waiting: deque[Stored] = field(default_factory=deque)
    alone: int = 0
    """So many go one by one: some of them are in the stream already, and a unit with such a one is refused."""
    failures: int = 0
    not_before: float = 0.0
    left_from: int | None = None
    """The first event that was left in the outbox while the line stood still."""


class Lines:
    """What was read from the outbox and is not acknowledged yet.

    Parameters
    ----------
    batches : bool
        Whether the stream takes batches.
    """

    def __init__(self, *, batches: bool = True) -> None:
        self._batches = batches
        self._chains_from = float("-inf")
        self._lines: dict[str, _Line] = {}
        self._free: dict[str, None] = {}
        self._units: dict[int, Unit] = {}
        self._count = 0
        self.held = 0
        self.in_flight = 0

    def take(self, stored: Stored) -> bool:
        """Put an event at the end of its line; False when the line stands still and the event stays in the outbox."""
        subject = stored.event.subject
        line = self._lines.get(subject)
        if line is None:
            line = self._lines[subject] = _Line()
            self._free[subject] = None
        if line.failures:
            if line.left_from is None:
                line.left_from = stored.seq
            return False
        line.waiting.append(stored)
        self.held += 1
        return True

    def leave(self, now: float) -> Iterator[Unit]:
        """Give the next unit of every line of which none is on its way."""
        for subject in list(self._free):
            line = self._lines[subject]
            if line.not_before > now:
                continue
            del self._free[subject]
            chain = now >= self._chains_from
            events = self._next(line, chain=chain)
            if not events:
                del self._lines[subject]
                continue
            self._count += 1
            unit = self._units[self._count] = Unit(self._count, events, now, batch=not chain)
            self.in_flight += len(events)
            yield unit

    def _next(self, line: _Line, *, chain: bool) -> list[Stored]:
        together = chain or (self._batches and len(line.waiting) >= BATCH_LEAST)
        most = UNIT_EVENTS if together and not line.alone and not line.failures else 1
        events: list[Stored] = []
        size = 0
        while line.waiting and len(events) < most:
            size += len(line.waiting[0].event.data)
            if events and size > UNIT_BYTES:
                break
            events.append(line.waiting.popleft())
        line.alone = max(0, line.alone - len(events))
        return events

    def done(self, number: int) -> tuple[Unit | None, int | None]:
        """Take a unit out that the stream has; gives it, and from where the outbox is to be read again, if it is."""
        unit = self._units.pop(number, None)
        if unit is None:
            return None, None
        self._landed(unit)
        self.held -= len(unit.events)
        line = self._lines[unit.events[0].event.subject]
        line.failures, line.not_before = 0, 0.0
        left, line.left_from = line.left_from, None
        return unit, left

    def broken(self, number: int, now: float) -> None:
        """Send the events of a chain one by one, as the stream may have some of them, and try none for a while.

        What broke it is another publisher's event, or one of its own that the stream refused, which then says why.
        """
        self._chains_from = now + BROKEN_S
        self.again(number)

    def again(self, number: int) -> None:
        """Send the events of a unit one by one: the stream has some of them."""
        unit = self._units.pop(number, None)
        if unit is not None:
            self._landed(unit)
            line = self._lines[unit.events[0].event.subject]
            line.waiting.extendleft(reversed(unit.events))
            line.alone = max(line.alone, len(unit.events))

    def failed(self, number: int, now: float) -> list[Stored]:
        """Let a line stand still for a while, behind the first event of this unit; gives what goes back to the outbox.

        Only one event of a line that stands still is held, so that such lines leave room for the others.
        """
        unit = self._units.pop(number, None)
        if unit is None:
            return []
        self._landed(unit)
        line = self._lines[unit.events[0].event.subject]
        back = [*unit.events[1:], *line.waiting]
        line.waiting = deque(unit.events[:1])
        line.alone = 0
        line.not_before = now + RETRY_S[min(line.failures, len(RETRY_S) - 1)]
        line.failures += 1
        if back:
            first = back[0].seq
            line.left_from = first if line.left_from is None else min(first, line.left_from)
            self.held -= len(back)
        return back

    def only(self, number: int) -> Unit | None:
        """Give a unit that is on its way if it is one event."""
        unit = self._units.get(number)
        return unit if unit is not None and len(unit.events) == 1 else None

    def late(self, now: float, after_s: float) -> list[int]:
        """List the units that were sent longer ago than `after_s`."""
        return [unit.number for unit in self._units.values() if now - unit.sent_at > after_s]

    def _landed(self, unit: Unit) -> None:
        self.in_flight -= len(unit.events)
        self._free[unit.events[0].event.subject] = None
