"""The order of writes: one after the other, in the order of their coming, of each thing that is written.

The one place that holds it. The order in which requests come is known only where they come in, so every process with a
face has one of these, in its `RouterClient`, and all doors of that process take their turns from it: NATS requests,
stored requests and bars, and HTTP. Between processes there is no order that a caller could know. There the writer's
heavy lane computes one write at a time, and the store refuses a version whose base is gone and knows a repeated id.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass

from contracts.errors import DeadlineExceeded, QueueFull


@dataclass(frozen=True, slots=True)
class Turn:
    """Being the first of a line."""

    line: str


class Order:
    """A line for each thing that is being written.

    Parameters
    ----------
    limit : int
        Turns of one line that may be waited for or held; a further one that has a deadline is refused.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._locks: dict[str, asyncio.Lock] = {}
        self._users: Counter[str] = Counter()

    @contextlib.asynccontextmanager
    async def turn(self, line: str, patience_s: float | None = None) -> AsyncIterator[Turn]:
        """Wait for the turn and hold it.

        Parameters
        ----------
        line : str
            What is written; see `Operation.line`.
        patience_s : float, optional
            How long to wait at most. Default: for ever, which is for what is stored and comes again.

        Raises
        ------
        DeadlineExceeded
            The turn did not come within `patience_s`.
        QueueFull
            Too many wait already.
        """
        if patience_s is not None and self._users[line] >= self._limit:
            raise QueueFull(f"{self._users[line]} writes of {_shown(line)} are waiting", retry_after_s=1.0)
        lock = self._locks.setdefault(line, asyncio.Lock())
        self._users[line] += 1
        try:
            try:
                async with asyncio.timeout(patience_s):
                    await lock.acquire()
            except TimeoutError:
                raise DeadlineExceeded(f"the deadline passed behind earlier writes of {_shown(line)}") from None
            try:
                yield Turn(line)
            finally:
                lock.release()
        finally:
            self._users[line] -= 1
            if not self._users[line]:
                del self._users[line], self._locks[line]


def _shown(line: str) -> str:
    return line.partition(":")[2] or line
