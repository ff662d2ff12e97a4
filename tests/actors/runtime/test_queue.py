from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.runtime.meter import Meter
from actors.runtime.queue import LaneQueue
from contracts.answers import Calculation
from contracts.errors import InvalidInput
from contracts.requests import Request
from contracts.work import Priority, WorkItem, WorkResult

DEADLINE_S = 20.0


class Named(Request):
    name: str


def item(name: Any, *, priority: int = 1, timeout_s: float = DEADLINE_S, operation: str = "size", age_s: float = 0.0):
    now = time.time() - age_s
    return WorkItem(str(name), operation, Named(name=str(name)), priority, time.time() + timeout_s, now)


def echo(operation: str, items: list[WorkItem]) -> list[Any]:
    return [Calculation(one.request.name, "", 1.0) for one in items]


def lane(compute: Callable[..., Any] = echo, **limits: Any) -> LaneQueue:
    given_limits = {"limit": 1000, "batch_limit": 64, "batch_predicted_s": 1.0, "ages_s": 1.0, **limits}
    return LaneQueue(compute, Meter(), **given_limits)


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < end, "the condition did not come"
        time.sleep(0.001)


class Gate:
    """A computation that can be held, and that remembers the batches it was given."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.entered = threading.Event()
        self.batches: list[list[str]] = []

    def __call__(self, operation: str, items: list[WorkItem]) -> list[Any]:
        self.batches.append([one.request_id for one in items])
        self.entered.set()
        assert self.open.wait(DEADLINE_S)
        return echo(operation, items)


@pytest.fixture
def pool():
    with ThreadPoolExecutor(32) as threads:
        yield threads


def held(pool: ThreadPoolExecutor, queue: LaneQueue, gate: Gate) -> Future[list[WorkResult]]:
    """Keep the lane busy with one item, of an operation of its own: the others are not predicted to take as long."""
    first = pool.submit(queue.call, [item("first", operation="held")])
    assert gate.entered.wait(DEADLINE_S)
    return first


def enqueue(pool: ThreadPoolExecutor, queue: LaneQueue, items: list[WorkItem]) -> Future[list[WorkResult]]:
    before = len(queue)
    future = pool.submit(queue.call, items)
    until(lambda: len(queue) == before + len(items))
    return future


def test_what_a_method_timed_apart_is_a_stage_of_its_own_and_no_computation():
    """A write that took 3 ms in all says that 2 s of commit were among them: compute is never negative."""

    def write(operation: str, items: list[WorkItem]) -> list[Any]:
        return [Calculation(1, "", 1.0, stages_s={"commit": 2.0})]

    meter = Meter()
    queue = LaneQueue(write, meter, limit=10, batch_limit=1, batch_predicted_s=1.0, ages_s=1.0)
    (result,) = queue.call([item("one")])
    assert result.timings_ms["commit"] == 2000.0
    assert result.timings_ms["compute"] == 0.0
    assert meter.snapshot()["size"]["stages_ms"]["commit"]["count"] == 1


def test_a_lone_caller_computes_in_its_own_thread():
    seen = []
    queue = lane(lambda operation, items: seen.append(threading.get_ident()) or echo(operation, items))
    results = queue.call([item("a"), item("b")])
    assert [result.unwrap().values for result in results] == ["a", "b"]
    assert seen == [threading.get_ident()]
    assert len(queue) == 0
    assert not queue.busy


def test_higher_priorities_overtake_and_equals_keep_their_order(pool):
    gate = Gate()
    queue = lane(gate, batch_limit=1)
    calls = [held(pool, queue, gate)]
    for name, priority in (("n1", 1), ("low", 0), ("n2", 1), ("urgent", 3), ("n3", 1), ("critical", 4)):
        calls.append(enqueue(pool, queue, [item(name, priority=priority)]))
    gate.open.set()
    for call in calls:
        call.result(DEADLINE_S)
    assert [batch[0] for batch in gate.batches] == ["first", "critical", "urgent", "n1", "n2", "n3", "low"]


def test_waiting_counts_as_priority_so_that_low_is_not_starved(pool):
    gate = Gate()
    queue = lane(gate, batch_limit=1, ages_s=1.0)
    calls = [held(pool, queue, gate)]
    calls.append(enqueue(pool, queue, [item("high", priority=2)]))
    calls.append(enqueue(pool, queue, [item("low, old", priority=0, age_s=2.5)]))
    calls.append(enqueue(pool, queue, [item("low, older, not old enough", priority=0, age_s=1.5)]))
    gate.open.set()
    for call in calls:
        call.result(DEADLINE_S)
    assert [b[0] for b in gate.batches] == ["first", "low, old", "high", "low, older, not old enough"]


def test_what_waits_leaves_together_by_operation_and_each_caller_gets_its_own(pool):
    gate = Gate()
    queue = lane(gate)
    calls = {"first": held(pool, queue, gate)}
    for i in range(10):
        operation = "size" if i % 2 else "value"
        calls[str(i)] = enqueue(pool, queue, [item(i, operation=operation)])
    gate.open.set()
    for name, call in calls.items():
        assert str(call.result(DEADLINE_S)[0].unwrap().values) == name
    assert gate.batches == [["first"], ["0", "2", "4", "6", "8"], ["1", "3", "5", "7", "9"]]


def test_a_batch_is_bounded_in_number_and_in_predicted_time(pool):
    gate = Gate()
    queue = lane(gate, batch_limit=4, batch_predicted_s=0.5)
    queue._meter.learn("value", 0.2, 1)
    calls = [held(pool, queue, gate), enqueue(pool, queue, [item(i) for i in range(5)])]
    calls.append(enqueue(pool, queue, [item(f"slow {i}", operation="value") for i in range(5)]))
    gate.open.set()
    for call in calls:
        call.result(DEADLINE_S)
    # Five short ones: four by number; then the fifth with as many slow ones as half a second holds.
    assert gate.batches[1:4] == [["0", "1", "2", "3"], ["4"], ["slow 0", "slow 1"]]
    assert max(len(batch) for batch in gate.batches) <= 4


def test_a_passed_deadline_is_answered_without_computing():
    computed = []
    queue = lane(lambda operation, items: computed.extend(items) or echo(operation, items))
    late, good = queue.call([item("late", timeout_s=-1.0), item("good")])
    assert late.problem["code"] == "deadline_exceeded"
    assert late.request_id == "late"
    assert good.unwrap().values == "good"
    assert [one.request_id for one in computed] == ["good"]


def test_a_deadline_that_passes_behind_a_long_computation_ends_the_wait(pool):
    gate = Gate()
    queue = lane(gate)
    first = held(pool, queue, gate)
    late = pool.submit(queue.call, [item("late", timeout_s=0.05)]).result(DEADLINE_S)
    assert late[0].problem["code"] == "deadline_exceeded"
    assert len(queue) == 0
    gate.open.set()
    assert first.result(DEADLINE_S)[0].unwrap().values == "first"
    assert gate.batches == [["first"]]


def test_a_full_queue_refuses_with_the_time_to_ask_again(pool):
    gate = Gate()
    queue = lane(gate, limit=3)
    first = held(pool, queue, gate)
    results = pool.submit(queue.call, [item(i) for i in range(5)])
    until(lambda: len(queue) == 3)
    gate.open.set()
    codes = [r.problem["code"] if r.problem else "ok" for r in results.result(DEADLINE_S)]
    assert codes == ["ok", "ok", "ok", "queue_full", "queue_full"]
    assert results.result()[4].problem["retry_after_s"] > 0
    first.result(DEADLINE_S)
    assert queue.call([item("again")])[0].unwrap().values == "again"


def test_errors_stay_with_their_items_and_whatever_breaks_a_computation_is_answered():
    def compute(operation: str, items: list[WorkItem]) -> list[Any]:
        if operation == "value":
            raise SystemExit
        if operation == "momentum":
            return []
        return [
            InvalidInput("bad", field="x") if one.request.name == "bad" else Calculation(1, "", 1.0) for one in items
        ]

    queue = lane(compute)
    results = queue.call(
        [item("bad"), item("good"), item("exit", operation="value"), item("short", operation="momentum")]
    )
    codes = [r.problem["code"] if r.problem else "ok" for r in results]
    assert codes == ["invalid_input", "ok", "internal", "internal"]
    assert not queue.busy


def test_many_threads_all_get_exactly_their_answers(pool):
    queue = lane(batch_limit=8)

    def caller(number: int) -> bool:
        for i in range(30):
            names = [f"{number}/{i}/{j}" for j in range(1 + i % 3)]
            answers = queue.call([item(name, priority=i % 5) for name in names])
            if [r.unwrap().values for r in answers] != names:
                return False
        return True

    assert all(pool.map(caller, range(24)))
    assert len(queue) == 0
    assert not queue.busy


@given(st.lists(st.tuples(st.sampled_from(list(Priority)), st.floats(0, 5)), min_size=1, max_size=12))
@settings(max_examples=40, deadline=None)
def test_order_is_priority_plus_waited_time(entries):
    order: list[str] = []
    queue = lane(lambda operation, items: order.extend(one.request_id for one in items) or echo(operation, items))
    now = time.time()
    items = [WorkItem(str(i), "size", {"name": i}, p, now + 60, now - age) for i, (p, age) in enumerate(entries)]
    queue.call(items)
    rank = [entries[int(name)][0] + entries[int(name)][1] for name in order]
    assert all(a >= b - 1e-6 for a, b in pairwise(rank))
