"""The line from one process to one lane of one actor: natural batching, priority, bounds and deadlines.

What is submitted in one turn of the event loop leaves together at its end: requests that came in one read share a call.
After a call of one item the next leaves at once, since who asks one by one would wait for nobody. While a call is in
flight later items wait and leave together as the next call, so nothing waits at low load and the cost of a call is
shared at high load; when many wait there are two calls, so that the actor need not wait for us nor we for it.
Everything runs on the event loop that submits; Ray's callback only hands results to it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any, NamedTuple

from ray.exceptions import RayError, RayTaskError

from actors.runtime.meter import Meter
from actors.runtime.waiting import Waiter, Waiting
from contracts.errors import CallerGone, DeadlineExceeded, InternalError, QueueFull, first_line
from contracts.settings import Settings
from contracts.unexpected import unexpected
from contracts.work import Key, Lane, WorkItem, WorkResult
from router.packing import pack_items, unpack_results

LIGHT_IN_FLIGHT = 1
"""Calls in flight before items wait for each other."""
SECOND_CALL_ITEMS = 8
"""So many waiting items are worth a second call: the actor computes one while we pack and read the other."""
OVERTAKING_IN_FLIGHT = 4
"""Calls in flight when an item of a higher priority than all of them comes: it need not wait for their answers."""
NEVER = float("inf")
EARLY_S = 0.001
HEAVY_IN_FLIGHT = 8
"""Heavy items travel alone, and the actor's queue orders them."""


_log = logging.getLogger(__name__)


class ActorGone(Exception):
    """The actor did not answer: it died, is restarting, or cannot be reached."""


class _Entry(Waiter):
    """One waiting item, and the future of whoever waits for it."""

    __slots__ = ("due", "future")

    def __init__(self, item: WorkItem, future: asyncio.Future[WorkResult], due: float) -> None:
        self.item = item
        self.alone = False
        self.future = future
        self.due = due
        """The deadline, by the loop's clock."""

    def wanted(self, wall: float) -> bool:  # noqa: ARG002  (the link ends the future at its deadline)
        """Until its future has an end."""
        return not self.future.done()


class _Call(NamedTuple):
    """A call in flight: the best priority in it, and its items."""

    priority: int
    n_items: int
    batch: Sequence[_Entry]


class ActorLink:
    """Sends items to one lane of one actor, and gives each its own future.

    Parameters
    ----------
    handle
        The actor's Ray handle.
    lane
        The lane, which names the method.
    current
        Queue and batch limits.
    """

    def __init__(self, handle: Any, lane: Lane, current: Settings) -> None:
        heavy = lane is Lane.HEAVY
        self._handle = handle
        self._left: list[Key] = []
        self._method = handle.call_heavy if heavy else handle.call_light
        self._in_flight_limit = HEAVY_IN_FLIGHT if heavy else LIGHT_IN_FLIGHT
        self._batch_limit = 1 if heavy else current.batch_limit
        self._meter = Meter()
        self._waiting: Waiting[_Entry] = Waiting(
            self._meter,
            limit=current.queue_limit,
            ages_s=current.low_priority_ages_s,
            batch_predicted_s=current.batch_predicted_ms / 1e3,
        )
        self._in_flight: dict[int, _Call] = {}
        self._sequence = 0
        self._planned = False
        self._lonely = False
        """Whether the last call had one item."""
        self._loop = asyncio.get_running_loop()
        # One timer for all: a timer of its own for each item costs more than all that is done with it here.
        self._due = NEVER
        self._timer: asyncio.TimerHandle | None = None

    @property
    def load(self) -> int:
        """Items that wait here, or were sent and are not answered."""
        return len(self._waiting) + sum(call.n_items for call in self._in_flight.values())

    def submit(self, item: WorkItem) -> asyncio.Future[WorkResult]:
        """Send the item, with what is submitted in the same turn of the loop, or with the next call.

        The future raises `DeadlineExceeded` at the item's deadline and `ActorGone` when the actor did not answer.

        Raises
        ------
        QueueFull
            Too many items wait already.
        """
        due = self._loop.time() + max(0.0, item.remaining_s())
        entry = _Entry(item, self._loop.create_future(), due)
        try:
            self._waiting.put(entry)
        except QueueFull:
            self._waiting.remove(lambda entry: entry.future.done())
            self._pump()  # what this turn of the loop submitted may leave now
            self._waiting.put(entry)
        if due < self._due:
            self._look_at(due)
        if self._lonely and not self._in_flight and not self._planned:
            self._pump()
        elif not self._planned:
            # Behind what this turn of the loop still submits, so that what came in one read leaves in one call.
            self._planned = True
            self._loop.call_soon(self._leave_together)
        return entry.future

    def _leave_together(self) -> None:
        self._planned = False
        self._pump()

    def leave(self, key: Key) -> None:
        """Say that nobody waits for an item any more: it is dropped here, or ended in the actor."""
        waiting = self._waiting.remove(lambda entry: entry.item.key == key)
        for entry in waiting:
            self._finish(entry, CallerGone("the caller went away while the request waited"))
        if waiting:
            return
        self._left.append(key)
        if len(self._left) == 1:
            self._loop.call_soon(self._tell_left)

    def _tell_left(self) -> None:
        """Tell the actor who went away, all of one turn of the loop at once."""
        keys, self._left = self._left, []
        try:
            self._handle.leave.remote(keys)
        except RayError as error:
            _log.info("the actor was not told that callers went away: %s", first_line(error))

    def _look_at(self, due: float) -> None:
        """Look again for items whose deadline passed at the time `due` of the loop's clock."""
        if self._timer is not None:
            self._timer.cancel()
        self._due = due
        self._timer = self._loop.call_at(due, self._expire)

    def _expire(self) -> None:
        """End what is due, waiting or in flight, and look again when the next of them is."""
        now, wall = self._loop.time(), time.time()
        # A timer may come a little early, by the clock's grain.
        self._due, self._timer, late = NEVER, None, now + EARLY_S
        first = NEVER
        for entry in (*self._waiting, *(entry for call in self._in_flight.values() for entry in call.batch)):
            if entry.future.done():
                continue
            if entry.due <= late:
                item = entry.item
                told = f"no answer to {item.operation} within {wall - item.sent_at:.3f} s"
                entry.future.set_exception(DeadlineExceeded(told))
            elif entry.due < first:
                first = entry.due
        if first < NEVER:
            self._look_at(first)

    def _pump(self) -> None:
        while (best := self._waiting.best) is not None and self._may_send(best.item.priority):
            batch = self._take()
            if batch:
                self._send(batch)

    def _may_send(self, priority: int) -> bool:
        n_flying = len(self._in_flight)
        if n_flying < self._in_flight_limit:
            return True
        best, n_items = max((call.priority, call.n_items) for call in self._in_flight.values())
        if n_flying == 1 and len(self._waiting) >= max(SECOND_CALL_ITEMS, n_items // 2):
            return True
        return n_flying < OVERTAKING_IN_FLIGHT and priority > best

    def _take(self) -> list[_Entry]:
        """Take the best waiting items, up to the call's limits; those that nobody waits for any more are dropped."""
        limit = self._batch_limit
        if not self._in_flight and len(self._waiting) >= 2 * SECOND_CALL_ITEMS:
            # The second call takes the other half: two calls of like size keep both sides at work.
            limit = min(limit, (len(self._waiting) + 1) // 2)
        batch, _ = self._waiting.take(limit)
        return batch

    def _send(self, batch: list[_Entry]) -> None:
        self._sequence += 1
        self._lonely = len(batch) == 1
        number = self._sequence
        self._in_flight[number] = _Call(max(entry.item.priority for entry in batch), len(batch), batch)
        try:
            answer: Future[bytes] = self._method.remote(pack_items([entry.item for entry in batch])).future()
        except Exception as error:  # noqa: BLE001  an item that cannot be packed, for one: it may not hold up the lane
            self._unsent(number, batch, error)
            return
        answer.add_done_callback(lambda done: self._hand_over(number, batch, done))

    def _unsent(self, number: int, batch: list[_Entry], error: Exception) -> None:
        """Settle a call that could not be made; what is wrong with one item is not told to the others."""
        self._in_flight.pop(number, None)
        if isinstance(error, RayError):
            self._landed(number, batch, _meaning(error))
        elif len(batch) == 1:
            self._landed(number, batch, unexpected(error, _log))
        else:
            for entry in batch:
                self._send([entry])

    def _hand_over(self, number: int, batch: list[_Entry], done: Future[bytes]) -> None:
        """Bring the outcome to the event loop; runs on Ray's callback thread."""
        outcome: Sequence[WorkResult] | Exception
        try:
            error = done.exception()
            outcome = unpack_results(done.result()) if error is None else _meaning(error)
            assert isinstance(outcome, Exception) or len(outcome) == len(batch), "as many results as items"
        except Exception as unreadable:  # noqa: BLE001  whatever came, those who wait are told
            outcome = unexpected(unreadable, _log)
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._landed, number, batch, outcome)

    def _landed(self, number: int, batch: list[_Entry], outcome: Sequence[WorkResult] | Exception) -> None:
        self._in_flight.pop(number, None)
        try:
            if isinstance(outcome, Exception):
                for entry in batch:
                    self._finish(entry, outcome)
            else:
                self._learn(batch, outcome)
                for entry, result in zip(batch, outcome, strict=True):
                    self._finish(entry, result)
        finally:
            self._pump()

    @staticmethod
    def _finish(entry: _Entry, outcome: WorkResult | Exception) -> None:
        if entry.future.done():
            return
        if isinstance(outcome, Exception):
            entry.future.set_exception(outcome)
        else:
            entry.future.set_result(outcome)

    def _learn(self, batch: list[_Entry], results: Sequence[WorkResult]) -> None:
        """Learn what an item of each operation costs; the actor reports the time of the batch it was in."""
        if len(batch) == 1:
            stages = results[0].timings_ms
            self._meter.learn(batch[0].item.operation, (sum(stages.values()) - stages.get("queue", 0.0)) / 1e3, 1)
            return
        first: dict[str, WorkResult] = {}
        counts: dict[str, int] = {}
        for entry, result in zip(batch, results, strict=True):
            name = entry.item.operation
            first.setdefault(name, result)
            counts[name] = counts.get(name, 0) + 1
        for name, result in first.items():
            stages = result.timings_ms
            self._meter.learn(name, (sum(stages.values()) - stages.get("queue", 0.0)) / 1e3, counts[name])


class Links:
    """The links of one process: one per actor and lane, replaced when the actor is."""

    def __init__(self, current: Settings) -> None:
        self._current = current
        self._links: dict[tuple[str, Lane], tuple[Any, ActorLink]] = {}

    def load(self, name: str) -> int:
        """Give how many items of this process wait for an actor or are with it, in both lanes."""
        light, heavy = self._links.get((name, Lane.LIGHT)), self._links.get((name, Lane.HEAVY))
        return (light[1].load if light else 0) + (heavy[1].load if heavy else 0)

    def to(self, name: str, lane: Lane, handle: Any) -> ActorLink:
        """Give the link to a lane of an actor."""
        known = self._links.get((name, lane))
        if known is not None and known[0] is handle:
            return known[1]
        # Every new table brings new handles; most name the same actor, whose link goes on.
        same = known is not None and known[0] == handle
        link = known[1] if same and known is not None else ActorLink(handle, lane, self._current)
        self._links[name, lane] = (handle, link)
        return link


def _meaning(error: BaseException) -> Exception:
    """Tell a lost actor from a defect inside it."""
    if isinstance(error, RayTaskError):
        return InternalError(f"the actor failed outside of a computation: {type(error.cause).__name__}")
    return ActorGone(first_line(error))
