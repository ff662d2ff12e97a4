"""Places for requests, shared between connections: one that floods waits in its own line, others begin at once."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any

from contracts.errors import RateExceeded

PLACES = 8
"""What all connections together have in work while several ask. A request waits for its turn on the event loop behind
those in work, so this is what another's flood may cost; one connection that asks alone has all places of the bridge.
Measured as what the bridge computes between a calm peer's request and its reply, beside 256 of another in flight, p50
and p99: 5.8 to 7.3 and 14 to 19 ms with 32 places, 2.2 and 6 ms with 8; alone 1.2 and 3.4. A batch of fewer costs a
flood a third more CPU for each of its requests."""
PLACES_LEAST = 2
LARGE_BYTES = 16_384
"""An answer of so many bytes halves the places of its connection, as writing and sending it hold up the event loop; one
place is left at least."""
REMEMBERED = 8
"""Answers over which their size is averaged."""
ASKING_S = 1.0
"""A connection asks while something of it is in work or waits, and so long after it asked last."""
BURST_S = 2.0
"""So many seconds' worth of requests may come at once."""


class _Line:
    """What one connection asked for."""

    __slots__ = ("answer_bytes", "in_work", "left", "seen", "waiting")

    def __init__(self, left: float, now: float) -> None:
        self.waiting: deque[tuple[Any, float]] = deque()
        self.in_work = 0
        self.answer_bytes = 0.0
        self.left = left
        self.seen = now


class Shares:
    """Lets requests begin: at once while their connection has places, else in their order when one is free.

    Parameters
    ----------
    begin : callable
        Begins the work on a request, given when it came (`time.monotonic`) and its connection; `ended` is called after.
    per_second : float
        Requests of one connection; the double of it may come at once.
    """

    def __init__(self, begin: Callable[[Any, float, str], None], per_second: float) -> None:
        self._begin = begin
        self._per_second = per_second
        self._lines: dict[str, _Line] = {}
        self._turns: deque[str] = deque()
        self._looked = 0.0
        self.waiting = 0

    def come(self, request: Any, connection: str, *, urgent: bool = False) -> None:
        """Begin a request or let it wait; an urgent one before the others of its connection.

        Raises
        ------
        RateExceeded
            The connection asks more often than it may.
        """
        now = time.monotonic()
        if now - self._looked > ASKING_S / 4:
            self._forget(now)
        line = self._lines.get(connection)
        most = max(1.0, self._per_second * BURST_S)
        if line is None:
            line = self._lines[connection] = _Line(most, now)
        line.left = min(most, line.left + (now - line.seen) * self._per_second)
        line.seen = now
        if line.left < 1.0 - 1e-9:
            raise RateExceeded(
                f"a connection may ask {self._per_second:g} times per second",
                retry_after_s=(1.0 - line.left) / self._per_second,
            )
        line.left -= 1.0
        if line.in_work < self._places(line) and not line.waiting:
            line.in_work += 1
            self._begin(request, now, connection)
            return
        if not line.waiting:
            self._turns.append(connection)
        (line.waiting.appendleft if urgent else line.waiting.append)((request, now))
        self.waiting += 1

    def ended(self, connection: str, answer_bytes: int = 0) -> None:
        """Let those that wait begin while their connections have places, one of each connection in turn."""
        line = self._lines.get(connection)
        if line is not None:
            line.in_work -= 1
            line.answer_bytes += (answer_bytes - line.answer_bytes) / REMEMBERED
        passed = 0
        # More than one when there are more places than before: another connection asks no longer.
        while passed < len(self._turns):
            name = self._turns.popleft()
            first = self._lines[name]
            if first.in_work >= self._places(first):
                self._turns.append(name)
                passed += 1
                continue
            request, came = first.waiting.popleft()
            self.waiting -= 1
            first.in_work += 1
            passed = 0
            if first.waiting:
                self._turns.append(name)
            self._begin(request, came, name)

    def _places(self, line: _Line) -> float:
        n = len(self._lines)
        if n <= 1:
            return float("inf")
        return max(round(max(PLACES // n, PLACES_LEAST) / (1.0 + line.answer_bytes / LARGE_BYTES)), 1)

    def _forget(self, now: float) -> None:
        """Forget connections that no longer ask."""
        self._looked = now
        gone = [
            name for name, line in self._lines.items()
            if not line.in_work and not line.waiting and now - line.seen > ASKING_S
        ]  # fmt: skip
        for name in gone:
            del self._lines[name]


def connection_of(reply: str) -> str:
    """Name a connection by where it wants its answers: a client has an inbox, and under it one for each request."""
    return reply.rpartition(".")[0]
