"""The bounded priority queue of one lane of an actor.

Flat combining: the thread that brings items computes. It enqueues them, and if nobody computes in this lane it does so
itself, taking the best items first, its own or others', until its own are answered; then it hands over to the thread
that waits for the next best item. At low load there is no thread switch at all; at high load one thread drains what
many callers brought, and items of the same operation reach the method together.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from actors.runtime.black_box import BlackBox
from actors.runtime.meter import Meter
from actors.runtime.traced import Traced
from actors.runtime.waiting import Waiter, Waiting
from contracts import logs, tracing
from contracts.answers import Answer, Calculation
from contracts.errors import CallerGone, DeadlineExceeded, EngineError, InternalError
from contracts.work import Device, Key, WorkItem, WorkResult

Outcome = Answer | EngineError
Compute = Callable[[str, list[WorkItem]], Sequence[Outcome]]
CPU = Device.CPU.value
OK = 200

_log = logging.getLogger(__name__)


class _Ticket:
    """The items that one thread brought, and what became of them."""

    __slots__ = ("items", "left", "promoted", "results", "wake")

    def __init__(self, items: Sequence[WorkItem]) -> None:
        self.items = items
        self.results: list[WorkResult | None] = [None] * len(items)
        self.left = len(items)
        self.promoted = False
        # Only a ticket that waits for another thread has one.
        self.wake: threading.Event | None = None


class _Entry(Waiter):
    """One waiting item, and whose it is."""

    __slots__ = ("arrived", "index", "ticket")

    def __init__(self, item: WorkItem, ticket: _Ticket, index: int, arrived: float) -> None:
        self.item = item
        self.alone = False
        self.ticket = ticket
        self.index = index
        self.arrived = arrived

    def wanted(self, wall: float) -> bool:
        """Until its deadline."""
        return self.item.deadline > wall


class LaneQueue:
    """A bounded queue in front of one lane's computation; one batch is computed at a time.

    Parameters
    ----------
    compute
        Called as ``compute(operation, items)`` without any lock held; gives an answer or an error per item.
    meter
        Where calls and latencies are counted, and whose predictions bound a batch.
    limit
        Items that may wait; one more is answered with `QueueFull`.
    batch_limit
        Items that leave the queue together.
    batch_predicted_s
        Predicted seconds that one batch may take; a single item may take longer.
    ages_s
        Waiting this many seconds is worth one level of priority, so that LOW is never starved.

    Attributes
    ----------
    box
        Where it notes what it computes, for the process after this one; None: nowhere.
    """

    def __init__(
        self,
        compute: Compute,
        meter: Meter,
        *,
        limit: int,
        batch_limit: int,
        batch_predicted_s: float,
        ages_s: float,
    ) -> None:
        self.box: BlackBox | None = None
        self._compute = compute
        self._meter = meter
        self._batch_limit = batch_limit
        self._mutex = threading.Lock()
        self._waiting: Waiting[_Entry] = Waiting(meter, limit=limit, ages_s=ages_s, batch_predicted_s=batch_predicted_s)
        self._combining = False
        self._running: tuple[str, float] | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def busy(self) -> bool:
        """Whether something is being computed or waits."""
        return self._combining or len(self._waiting) > 0

    @property
    def overdue(self) -> dict[str, Any] | None:
        """What is computed though its deadline has passed: `operation`, and `since` (seconds since the epoch)."""
        running = self._running
        if running is None or running[1] >= time.time():
            return None
        return {"operation": running[0], "since": running[1]}

    def call(self, items: Sequence[WorkItem]) -> list[WorkResult]:
        """Answer all `items`, in their order; blocks until each has an answer or its deadline passed."""
        ticket = _Ticket(items)
        with self._mutex:
            self._admit(items, ticket)
            combiner = ticket.left > 0 and not self._combining
            if combiner:
                self._combining = True
            elif ticket.left:
                ticket.wake = threading.Event()
        if ticket.wake is not None:
            combiner = self._wait(ticket, ticket.wake, max(item.deadline for item in items))
        if combiner:
            self._combine(ticket)
        results = [result for result in ticket.results if result is not None]
        _tell(items, results)
        return results

    def leave(self, keys: Collection[Key]) -> None:
        """Drop what waits for callers that went away; what is computed is not the queue's."""
        with self._mutex:
            for entry in self._waiting.remove(lambda entry: entry.item.key in keys):
                gone = CallerGone("the caller went away while the request waited")
                self._settle(entry.ticket, entry.index, entry.item, gone, time.perf_counter() - entry.arrived, 0.0)

    def _admit(self, items: Sequence[WorkItem], ticket: _Ticket) -> None:
        now = time.perf_counter()
        wary = self.box if self.box is not None and self.box.n_suspects else None
        for index, item in enumerate(items):
            entry = _Entry(item, ticket, index, now)
            try:
                if wary is not None:
                    refusal = wary.refusal(item)
                    if refusal is not None:
                        raise refusal
                    entry.alone = wary.is_suspect(item)
                self._waiting.put(entry)
            except EngineError as error:
                self._settle(ticket, index, item, error, 0.0, 0.0)

    def _wait(self, ticket: _Ticket, wake: threading.Event, deadline: float) -> bool:
        """Wait until the ticket is answered or made combiner (True); past its last deadline, answer it with that."""
        woken = wake.wait(max(0.0, deadline - time.time()))
        with self._mutex:
            if ticket.promoted:
                return True
            if not woken and ticket.left:
                self._abandon(ticket)
        return False

    def _abandon(self, ticket: _Ticket) -> None:
        """Answer what is left of a ticket whose deadlines all passed; a running computation is not waited for."""
        for entry in self._waiting.remove(lambda entry: entry.ticket is ticket):
            self._expire(entry)
        for index, result in enumerate(ticket.results):
            if result is None:
                request_id = ticket.items[index].request_id
                problem = DeadlineExceeded("the deadline passed during the computation").to_problem(request_id)
                ticket.results[index] = WorkResult(request_id, None, problem, CPU, {})
        ticket.left = 0

    def _combine(self, ticket: _Ticket) -> None:
        """Compute the best waiting items until the ticket's own are answered, then hand over."""
        try:
            while ticket.left:
                self._run(self._take())
        finally:
            with self._mutex:
                best = self._waiting.best
                self._combining = best is not None
                if best is not None:
                    best.ticket.promoted = True
                    if best.ticket.wake is not None:
                        best.ticket.wake.set()

    def _take(self) -> list[_Entry]:
        """Take the best items, up to the batch's limits; those whose deadline passed are answered with that."""
        with self._mutex:
            batch, late = self._waiting.take(self._batch_limit)
            for entry in late:
                self._expire(entry)
        return batch

    def _expire(self, entry: _Entry) -> None:
        waited = time.perf_counter() - entry.arrived
        error = DeadlineExceeded(f"the deadline passed after {waited:.3f} s in the queue")
        self._settle(entry.ticket, entry.index, entry.item, error, waited, 0.0)

    def _run(self, batch: list[_Entry]) -> None:
        """Compute a batch, operation by operation, each answered as soon as it is there."""
        groups: dict[str, list[_Entry]] = {}
        for entry in batch:
            group = groups.get(entry.item.operation)
            if group is None:
                groups[entry.item.operation] = [entry]
            else:
                group.append(entry)
        for operation, entries in groups.items():
            self._run_group(operation, entries)

    def _run_group(self, operation: str, entries: list[_Entry]) -> None:
        began = time.perf_counter()
        answers: Sequence[Outcome] = ()
        items = [entry.item for entry in entries]
        self._running = (operation, max([item.deadline for item in items]))
        try:
            if self.box is not None:
                self.box.begin(items)
            with Traced(operation, items) as traced:
                answers = self._compute(operation, items)
                traced.told(answers)
        except BaseException:  # noqa: BLE001  whatever ends the computation, everybody who waits gets an answer
            _log.exception("the computation of %s was broken off", operation)
        if self.box is not None:
            self.box.end()
        self._running = None
        took = time.perf_counter() - began
        if len(answers) != len(entries):
            wrong = InternalError(f"{operation} gave {len(answers)} answers to {len(entries)} requests")
            answers = [wrong] * len(entries)
        self._meter.learn(operation, took, len(entries))
        with self._mutex:
            for entry, answer in zip(entries, answers, strict=True):
                self._settle(entry.ticket, entry.index, entry.item, answer, began - entry.arrived, took)

    def _settle(
        self,
        ticket: _Ticket,
        index: int,
        item: WorkItem,
        outcome: Outcome,
        queue_s: float,
        compute_s: float,
    ) -> None:
        """Write an item's result and wake its thread when it was the last; called with the mutex held."""
        device = CPU
        value: Answer | None = None
        problem: dict[str, Any] | None = None
        timings = {"queue": queue_s * 1e3, "compute": compute_s * 1e3}
        if isinstance(outcome, EngineError):
            self._meter.failed(item.operation, outcome.code, queue=queue_s, compute=compute_s)
            problem = outcome.to_problem(item.request_id)
        else:
            value = outcome
            apart: Mapping[str, float] = {}
            if isinstance(outcome, Calculation):
                device = outcome.device.value
                apart = outcome.stages_s or apart
            if apart:
                compute_s = max(compute_s - sum(apart.values()), 0.0)
                timings = {"queue": queue_s * 1e3, "compute": compute_s * 1e3, **{k: s * 1e3 for k, s in apart.items()}}
            self._meter.answered(item.operation, device, queue=queue_s, compute=compute_s, **apart)
        result = WorkResult(item.request_id, value, problem, device, timings)
        if ticket.results[index] is None:
            ticket.results[index] = result
            ticket.left -= 1
            if not ticket.left and ticket.wake is not None:
                ticket.wake.set()


def _tell(items: Sequence[WorkItem], results: Sequence[WorkResult]) -> None:
    """Write the log lines of what was computed, under the ids that the faces know."""
    for item, result in zip(items, results, strict=True):
        status = result.problem["status"] if result.problem else OK
        ours = status >= tracing.OURS
        if logs.wanted(ours=ours):
            code = result.problem["code"] if result.problem else None
            times = {f"{stage}_ms": round(took, 3) for stage, took in result.timings_ms.items()}
            logs.told(
                f"computed {item.operation}",
                status,
                ours=ours,
                request_id=item.request_id,
                trace_id=tracing.trace_of(item.trace),
                code=code,
                device=result.device,
                **times,
            )
