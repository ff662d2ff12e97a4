"""The newest events in memory, for websockets that follow them: bounded, and it says what a slow reader missed."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import Any

from bus.outbox_table import Stored
from contracts.events import Event

FEED_LIMIT = 2000
FEED_BYTES = 64 * 2**20
READ_LIMIT = 500


class Feed:
    """A ring of the newest events, in the order of their coming; their numbers are the feed's own.

    Parameters
    ----------
    limit : int
        Events kept; older ones are forgotten, and a reader that comes late is told how many it missed.
    limit_bytes : int
        Of their data, likewise; the newest event is kept whatever its size.

    Attributes
    ----------
    stored : int
        The outbox's number of the newest event that came from there.
    """

    def __init__(self, limit: int = FEED_LIMIT, limit_bytes: int = FEED_BYTES) -> None:
        self.limit = limit
        self.limit_bytes = limit_bytes
        self._bytes = 0
        self._ring: deque[Stored] = deque()
        self.stored = 0
        self._news = asyncio.Event()

    @property
    def last(self) -> int:
        """The newest event's sequence number; 0 when there was none."""
        return self._ring[-1].seq if self._ring else 0

    def add(self, stored: Stored) -> None:
        """Take an event of the outbox; one that is not newer than the newest of those is known already."""
        if stored.seq > self.stored:
            self.stored = stored.seq
            self._take(Stored(max(stored.seq, self.last + 1), stored.event))

    def add_event(self, event: Event) -> None:
        """Take an event that did not pass the outbox."""
        self._take(Stored(self.last + 1, event))

    def _take(self, numbered: Stored) -> None:
        self._ring.append(numbered)
        self._bytes += len(numbered.event.data)
        while len(self._ring) > self.limit or (self._bytes > self.limit_bytes and len(self._ring) > 1):
            self._bytes -= len(self._ring.popleft().event.data)
        self._news.set()

    async def read(self, after: int | None, timeout_s: float) -> dict[str, Any]:
        """Give the events after a sequence number, waiting for the first at most `timeout_s` seconds.

        Parameters
        ----------
        after : int or None
            The `last` of the answer before; None starts with what comes next.

        Returns
        -------
        dict
            ``events``: list of {seq, id, subject, type, time, priority, content_type, data (bytes)};
            ``last``: what to ask with next; ``missed``: events that were forgotten before they were read.
        """
        start = self.last if after is None else after
        deadline = asyncio.get_running_loop().time() + timeout_s
        while self.last <= start:
            left = deadline - asyncio.get_running_loop().time()
            if left <= 0:
                return {"events": [], "last": start, "missed": 0}
            self._news.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._news.wait()
        fresh = [stored for stored in self._ring if stored.seq > start][:READ_LIMIT]
        missed = max(0, self._ring[0].seq - start - 1) if after is not None and start else 0
        return {
            "events": [{"seq": stored.seq, **stored.event._asdict()} for stored in fresh],
            "last": fresh[-1].seq,
            "missed": missed,
        }
