"""Events that this process has just committed, for a drainer in the same process: it need not read them back."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from bus.outbox_table import Stored
from contracts.events import Event

MOST = 1024
MOST_BYTES = 8 * 2**20


class Fresh:
    """The newest events of one process, by the numbers that the outbox gave them.

    What it does not have the outbox has: it is emptied when it has grown, and holds nothing while nobody drains.
    """

    def __init__(self) -> None:
        self._held: deque[Stored] = deque()
        self._bytes = 0
        self._wanted = False

    def begin(self) -> None:
        """Hold what comes from now on: a drainer is at work."""
        self._wanted = True

    def end(self) -> None:
        """Hold nothing."""
        self._wanted = False
        self._clear()

    def add(self, events: Sequence[Event], last: int) -> None:
        """Take events of one transaction, whose numbers are those up to `last`."""
        if not self._wanted:
            return
        self._bytes += sum([len(event.data) for event in events])
        if len(self._held) + len(events) > MOST or self._bytes > MOST_BYTES:
            self._clear()
            return
        self._held.extend(map(Stored, range(last - len(events) + 1, last + 1), events))

    def take(self, after: int, most: int) -> list[Stored]:
        """Give the events that follow number `after` without a gap; none where another process put one before them."""
        held = self._held
        while held and held[0].seq <= after:
            self._bytes -= len(held.popleft().event.data)
        out: list[Stored] = []
        while held and len(out) < most and held[0].seq == after + len(out) + 1:
            stored = held.popleft()
            self._bytes -= len(stored.event.data)
            out.append(stored)
        return out

    def _clear(self) -> None:
        self._held.clear()
        self._bytes = 0
