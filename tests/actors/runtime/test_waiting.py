from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.runtime.meter import Meter
from actors.runtime.waiting import LEAST_RETRY_S, Waiter, Waiting
from contracts.errors import QueueFull
from contracts.requests import Empty
from contracts.work import Priority, WorkItem

NOW = time.time()


class Named(Waiter):
    __slots__ = ("gone", "name")

    def __init__(self, name: object, priority: int = 1, age_s: float = 0.0, operation: str = "size") -> None:
        self.item = WorkItem(str(name), operation, Empty(), priority, NOW + 60.0, NOW - age_s)
        self.alone = False
        self.name = name
        self.gone = False

    def wanted(self, wall: float) -> bool:
        return not self.gone


def waiting(*waiters: Named, limit: int = 100, predicted_s: float = 10.0, costs: dict[str, float] | None = None):
    meter = Meter()
    for operation, seconds in (costs or {}).items():
        meter.learn(operation, seconds, 1)
    made: Waiting[Named] = Waiting(meter, limit=limit, ages_s=1.0, batch_predicted_s=predicted_s)
    for waiter in waiters:
        made.put(waiter)
    return made


def names(waiters: list[Named]) -> list[object]:
    return [waiter.name for waiter in waiters]


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(list(Priority)), st.integers(0, 8)), max_size=40))
def test_they_leave_by_priority_and_age_and_equals_in_the_order_of_their_coming(given_ones):
    queue = waiting(*(Named(i, priority, age) for i, (priority, age) in enumerate(given_ones)))
    batch, unwanted = queue.take(len(given_ones) + 1)
    wanted = sorted(range(len(given_ones)), key=lambda i: (-given_ones[i][0] - given_ones[i][1], i))
    assert names(batch) == wanted
    assert unwanted == []
    assert len(queue) == 0


def test_a_clock_that_is_ahead_gains_nothing():
    queue = waiting(Named("in an hour", age_s=-3600.0), Named("in half an hour", age_s=-1800.0))
    assert names(queue.take(2)[0]) == ["in an hour", "in half an hour"]


def test_one_more_than_may_wait_is_refused_with_the_time_that_those_before_it_take():
    queue = waiting(Named(1), Named(2), limit=2, costs={"size": 0.2})
    with pytest.raises(QueueFull) as told:
        queue.put(Named(3))
    assert told.value.retry_after_s == pytest.approx(0.4)
    queue.remove(lambda waiter: waiter.name == 1)
    queue.put(Named(3))
    assert names(queue.take(9)[0]) == [2, 3]
    queue.put(Named(4, operation="value"))
    queue.put(Named(5, operation="value"))
    with pytest.raises(QueueFull) as told:
        queue.put(Named(6))
    assert told.value.retry_after_s == LEAST_RETRY_S


def test_a_batch_is_bounded_in_number_and_in_predicted_time_but_never_empty():
    slow = [Named(i, operation="risk_model") for i in range(4)]
    queue = waiting(*slow, predicted_s=0.5, costs={"risk_model": 0.2})
    assert names(queue.take(9)[0]) == [0, 1]
    assert names(queue.take(1)[0]) == [2]
    slower = waiting(*slow, predicted_s=0.5, costs={"risk_model": 5.0})
    assert names(slower.take(9)[0]) == [0]


def test_what_nobody_wants_any_more_takes_no_place_in_a_batch_and_is_told_apart():
    ones = [Named(i) for i in range(4)]
    queue = waiting(*ones)
    ones[0].gone = ones[2].gone = True
    batch, unwanted = queue.take(2)
    assert (names(batch), names(unwanted)) == ([1, 3], [0, 2])


def test_one_that_must_be_alone_shares_no_batch():
    ones = [Named(i) for i in range(4)]
    ones[1].alone = True
    queue = waiting(*ones)
    assert [names(queue.take(9)[0]) for _ in range(3)] == [[0], [1], [2, 3]]
