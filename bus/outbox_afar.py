"""The head's outbox as a face on another node has it: what is put goes there in calls, and is kept there or nowhere.

One outbox gives one order of events, whichever node made them. While a call is on its way later puts gather and leave
as the next one, so that many share a call.
"""

from __future__ import annotations

import asyncio
import logging
import pickle
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from bus.outbox import HELD_LIMIT, Outbox, OutboxError, Put, Trouble
from contracts.backoff import backoff_s
from contracts.errors import EngineError, Unavailable, first_line
from contracts.events import Event

log = logging.getLogger(__name__)

CALL_EVENTS = 512
"""So many events leave in one call at most, but for a put that has more by itself."""
RETRY_S = (0.05, 0.1, 0.25, 0.5, 1.0)
HOLD_S = 0.25
"""So long a database that another process has locked is waited for; its events are written later then."""

Keep = Callable[[Sequence[Sequence[Event]]], Awaitable[Sequence[EngineError | None]]]
"""Has the head keep the events of some puts, in their order; gives what kept each of them out, or None."""


class OutboxAfar:
    """Puts events into an outbox that another process has.

    Parameters
    ----------
    keep
        The call. When it fails with `OSError` or `TimeoutError` it is made again: the same events have the same ids, so
        that what was kept all the same is dropped as a repeat.

    Attributes
    ----------
    trouble
        Why the last call failed, and since when; None while calls succeed.
    """

    def __init__(self, keep: Keep) -> None:
        self._keep = keep
        self._waiting: deque[Put] = deque()
        self._held = 0
        self._sending: asyncio.Task[None] | None = None
        self.trouble: Trouble | None = None

    async def put(self, events: Sequence[Event], wait_s: float | None = None) -> bool:
        """Have the events kept; returns when they are, or when `wait_s` passed.

        Returns
        -------
        bool
            Whether they are durable now; false when they are in this process's memory, on their way.

        Raises
        ------
        OutboxError
            The head did not keep them, or too many wait here already.
        """
        if not events:
            return True
        if self._held >= HELD_LIMIT:
            raise OutboxError(f"the head's outbox does not answer, and {self._held} events wait in memory for it")
        put = Put(events, asyncio.get_running_loop().create_future(), wait_s)
        self._waiting.append(put)
        self._held += len(events)
        if self._sending is None:
            self._sending = asyncio.create_task(self._send(), name="events to the head")
        await asyncio.wait((put.done,), timeout=wait_s)
        return put.done.result() if put.done.done() else False

    def look(self) -> Trouble | None:
        """Say why events cannot be kept, and since when; None while they can."""
        return self.trouble

    @property
    def held(self) -> int:
        """Events that are in this process's memory only."""
        return self._held

    async def close(self, timeout_s: float) -> None:
        """Let what is on its way arrive, if it does in time."""
        if self._sending is not None:
            await asyncio.wait((self._sending,), timeout=timeout_s)
            self._sending.cancel()

    async def _send(self) -> None:
        attempt = 0
        try:
            while self._waiting:
                puts = self._next()
                try:
                    refusals = await self._keep([put.events for put in puts])
                except (OSError, TimeoutError) as error:
                    self._note(first_line(error) or "no answer")
                    await asyncio.sleep(backoff_s(RETRY_S, attempt))
                    attempt += 1
                    continue
                attempt, self.trouble = 0, None
                for put, refused in zip(puts, refusals, strict=True):
                    self._waiting.popleft()
                    self._settle(put, refused)
        finally:
            self._sending = None

    def _next(self) -> list[Put]:
        """Give the first puts, which stay in front until they are settled."""
        puts: list[Put] = []
        count = 0
        for put in self._waiting:
            count += len(put.events)
            if puts and count > CALL_EVENTS:
                break
            puts.append(put)
        return puts

    def _settle(self, put: Put, refused: EngineError | None) -> None:
        self._held -= len(put.events)
        if refused is not None:
            log.error("the head's outbox did not keep an event: %s", refused.detail)
        if put.done.done():  # whoever put it was cancelled
            return
        if refused is None:
            put.done.set_result(True)
        else:
            put.done.set_exception(OutboxError(refused.detail))
            put.done.exception()  # whoever put it may wait no longer; it is in the log

    def _note(self, reason: str) -> None:
        if self.trouble is None or self.trouble.reason != reason:
            log.warning("the head's outbox cannot be reached: %s", reason)
        self.trouble = Trouble(reason, self.trouble.since if self.trouble is not None else time.time())


def packed_parts(parts: Sequence[Sequence[Event]]) -> bytes:
    """Pack the events of some puts for `kept`."""
    return pickle.dumps([[tuple(event) for event in part] for part in parts], 5)


async def kept(outbox: Outbox, packed: bytes, wait_s: float = HOLD_S) -> list[dict[str, Any] | None]:
    """Put what an outpost sent into the head's outbox; gives for each of its puts the problem that kept it out.

    Puts of one turn share one transaction, and an event that cannot be stored fails its own only.
    """
    parts = [[Event(*fields) for fields in part] for part in pickle.loads(packed)]  # noqa: S301  (from our own process)
    done = await asyncio.gather(*(outbox.put(part, wait_s) for part in parts), return_exceptions=True)
    return [_problem(one) for one in done]


def _problem(outcome: bool | BaseException) -> dict[str, Any] | None:
    if isinstance(outcome, EngineError):
        return outcome.to_problem()
    if isinstance(outcome, BaseException):
        return Unavailable(f"the outbox cannot be written: {first_line(outcome)}").to_problem()
    return None
