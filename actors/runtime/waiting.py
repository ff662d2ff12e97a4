"""What waits, in front of an actor's lane and on the way to it: one order, one bound, one prediction.

Priority and age are one number that never changes: a level of priority is worth so many seconds of waiting, so LOW is
never starved and equals keep their order. A batch is bounded in number and in predicted time. It has no lock: its owner
has one, or an event loop.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from actors.runtime.meter import Meter
from contracts.errors import QueueFull
from contracts.work import WorkItem

LEAST_RETRY_S = 0.05


class Waiter:
    """An item that waits; `alone` if it must not share a batch. A subclass says for whom, and whether it is wanted."""

    __slots__ = ("alone", "cost_s", "item")

    item: WorkItem
    cost_s: float
    alone: bool

    def wanted(self, wall: float) -> bool:
        """Say whether anybody still waits for it at the time `wall`, seconds since the epoch."""
        raise NotImplementedError


W = TypeVar("W", bound=Waiter)


class Waiting(Generic[W]):
    """A bounded priority queue.

    Parameters
    ----------
    meter : Meter
        Predicts what an item costs.
    limit : int
        Items that may wait.
    ages_s : float
        Waiting this many seconds is worth one level of priority.
    batch_predicted_s : float
        Predicted seconds that one batch may take; a single item may take longer.
    """

    def __init__(self, meter: Meter, *, limit: int, ages_s: float, batch_predicted_s: float) -> None:
        self._meter = meter
        self._limit = limit
        self._ages_s = ages_s
        self._batch_predicted_s = batch_predicted_s
        # Each under its key and its number, which no two share: so they are compared without a call of ours.
        self._heap: list[tuple[float, int, W]] = []
        self._sequence = 0
        self._backlog_s = 0.0

    def __len__(self) -> int:
        return len(self._heap)

    def __iter__(self) -> Iterator[W]:
        """Give all that wait, in no order."""
        return (waiter for _, _, waiter in self._heap)

    @property
    def best(self) -> W | None:
        """The one that leaves next; None where none waits."""
        return self._heap[0][2] if self._heap else None

    def put(self, waiter: W) -> None:
        """Let it wait.

        Raises
        ------
        QueueFull
            As many wait as may; says after how many seconds to ask again, by the predicted cost of those.
        """
        if len(self._heap) >= self._limit:
            retry = round(max(LEAST_RETRY_S, self._backlog_s), 3)
            raise QueueFull(f"{len(self._heap)} requests are waiting; ask again in {retry} s", retry_after_s=retry)
        item = waiter.item
        self._sequence += 1
        # The time of asking counts, so that waiting elsewhere is not lost; a clock ahead of ours gains nothing.
        asked, now = item.sent_at, time.time()
        key = (min(now, asked)) - item.priority * self._ages_s
        waiter.cost_s = cost_s = self._meter.expected_s(item.operation)
        self._backlog_s += cost_s
        heapq.heappush(self._heap, (key, self._sequence, waiter))

    def take(self, n_most: int) -> tuple[list[W], list[W]]:
        """Take the best ones for one batch; gives them, and those on the way that nobody wants any more."""
        batch: list[W] = []
        unwanted: list[W] = []
        predicted = 0.0
        wall = time.time()
        heap, operation, cost = self._heap, "", 0.0
        while heap and len(batch) < n_most:
            best = heap[0][2]
            if best.wanted(wall):
                if best.item.operation != operation:
                    operation = best.item.operation
                    cost = self._meter.expected_s(operation)
                if batch and (best.alone or batch[0].alone or predicted + cost > self._batch_predicted_s):
                    break
                predicted += cost
                batch.append(best)
            else:
                unwanted.append(best)
            heapq.heappop(heap)
            self._backlog_s -= best.cost_s
        if not heap:
            self._backlog_s = 0.0  # what rounding left
        return batch, unwanted

    def remove(self, which: Callable[[W], bool]) -> list[W]:
        """Take out all that `which` names, wherever they are."""
        gone = [entry for entry in self._heap if which(entry[2])]
        if gone:
            numbers = {number for _, number, _ in gone}
            self._heap = [entry for entry in self._heap if entry[1] not in numbers]
            heapq.heapify(self._heap)
            self._backlog_s = sum(waiter.cost_s for _, _, waiter in self._heap)
        return [waiter for _, _, waiter in gone]
