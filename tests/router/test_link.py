from __future__ import annotations

import asyncio
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import ActorUnavailableError

from contracts.answers import Calculation
from contracts.errors import CallerGone, DeadlineExceeded, InternalError, QueueFull
from contracts.requests import Empty
from contracts.settings import Settings
from contracts.work import Lane, Priority, WorkResult, work_item
from router.link import HEAVY_IN_FLIGHT, OVERTAKING_IN_FLIGHT, SECOND_CALL_ITEMS, ActorGone, ActorLink, Links
from router.packing import pack_results, unpack_items

DEADLINE_S = 20.0


class Recorder:
    """Stands for an actor's handle: it keeps the calls, and the test answers them when it wants to."""

    def __init__(self, actor_id: str = "a") -> None:
        self.actor_id = actor_id
        self.calls: list[tuple[list[Any], Future[bytes]]] = []
        self.call_light = self.call_heavy = self
        self.left: list[Any] = []
        self.leave = SimpleNamespace(remote=self.left.append)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Recorder) and other.actor_id == self.actor_id

    def __hash__(self) -> int:
        return hash(self.actor_id)

    def remote(self, packed: bytes) -> Recorder:
        self.calls.append((unpack_items(packed), Future()))
        return self

    def future(self) -> Future[bytes]:
        return self.calls[-1][1]

    def names(self) -> list[list[str]]:
        return [[item.request_id for item in items] for items, _ in self.calls]

    def answer(self, call: int) -> None:
        items, future = self.calls[call]
        results = [
            WorkResult(i.request_id, Calculation(i.request_id, "", 1.0), None, "cpu", {"compute": 0.01}) for i in items
        ]
        future.set_result(pack_results(results))


def item(name: str, priority: Priority = Priority.NORMAL, timeout_s: float = DEADLINE_S):
    return work_item("size", Empty(), priority=priority, timeout_s=timeout_s, request_id=name)


async def turn() -> None:
    """Let what was submitted leave: it does so at the end of a turn of the loop."""
    await asyncio.sleep(0)


async def value(future: asyncio.Future[WorkResult]) -> Any:
    return (await asyncio.wait_for(future, DEADLINE_S)).unwrap().values


def test_nothing_waits_at_low_load_and_what_came_meanwhile_leaves_together():
    async def scenario() -> None:
        actor = Recorder()
        link = ActorLink(actor, Lane.LIGHT, Settings(batch_limit=3))
        futures = [link.submit(item("0"))]
        await turn()
        futures += [link.submit(item(str(i))) for i in range(1, 6)]
        await turn()
        assert actor.names() == [["0"]]
        actor.answer(0)
        assert await value(futures[0]) == "0"
        assert actor.names() == [["0"], ["1", "2", "3"]]
        actor.answer(1)
        assert [await value(f) for f in futures[1:4]] == ["1", "2", "3"]
        actor.answer(2)
        assert [await value(f) for f in futures[4:]] == ["4", "5"]

    asyncio.run(scenario())


def test_what_comes_in_one_turn_of_the_loop_leaves_in_one_call():
    async def scenario() -> None:
        actor = Recorder()
        link = ActorLink(actor, Lane.LIGHT, Settings())
        futures = [link.submit(item(str(i))) for i in range(2 * SECOND_CALL_ITEMS - 1)]
        assert actor.names() == []
        await turn()
        assert [len(names) for names in actor.names()] == [2 * SECOND_CALL_ITEMS - 1]
        actor.answer(0)
        assert [await value(future) for future in futures] == [str(i) for i in range(len(futures))]
        # So many are two calls of like size, so that both sides are at work.
        for i in range(2 * SECOND_CALL_ITEMS):
            link.submit(item(f"later {i}"))
        await turn()
        assert [len(names) for names in actor.names()[1:]] == [SECOND_CALL_ITEMS, SECOND_CALL_ITEMS]

    asyncio.run(scenario())


def test_who_asks_one_by_one_waits_for_no_end_of_a_turn():
    async def scenario() -> None:
        actor = Recorder()
        link = ActorLink(actor, Lane.LIGHT, Settings())
        alone = link.submit(item("0"))
        assert actor.names() == []
        await turn()
        actor.answer(0)
        assert await value(alone) == "0"
        burst = [link.submit(item(str(i))) for i in range(1, 6)]
        assert actor.names() == [["0"], ["1"]]
        await turn()
        assert actor.names() == [["0"], ["1"]]
        actor.answer(1)
        assert await value(burst[0]) == "1"
        assert actor.names() == [["0"], ["1"], ["2", "3", "4", "5"]]
        actor.answer(2)
        assert [await value(future) for future in burst[1:]] == ["2", "3", "4", "5"]
        # After a call of many, those of one turn leave together again.
        for i in range(6, 9):
            link.submit(item(str(i)))
        assert len(actor.names()) == 3
        await turn()
        assert actor.names()[3] == ["6", "7", "8"]

    asyncio.run(scenario())


def test_many_waiting_items_are_a_second_call_and_no_third():
    async def scenario() -> None:
        actor = Recorder()
        link = ActorLink(actor, Lane.LIGHT, Settings())
        link.submit(item("first"))
        await turn()
        for i in range(1, SECOND_CALL_ITEMS):
            link.submit(item(str(i)))
        await turn()
        assert [len(names) for names in actor.names()] == [1]
        link.submit(item("one more"))
        await turn()
        assert [len(names) for names in actor.names()] == [1, SECOND_CALL_ITEMS]
        for i in range(4 * SECOND_CALL_ITEMS):
            link.submit(item(f"later {i}"))
        await turn()
        assert len(actor.calls) == 2

    asyncio.run(scenario())


def test_what_waits_for_a_large_call_leaves_in_two_halves():
    async def scenario() -> None:
        actor = Recorder()
        link = ActorLink(actor, Lane.LIGHT, Settings())
        large, few = 5 * SECOND_CALL_ITEMS, SECOND_CALL_ITEMS
        first = link.submit(item("first"))
        await turn()
        second = [link.submit(item(f"second {i}")) for i in range(few)]
        await turn()
        third = [link.submit(item(f"third {i}")) for i in range(large)]
        await turn()
        actor.answer(0)
        actor.answer(1)
        assert await value(first) == "first"
        assert [await value(future) for future in second] == [f"second {i}" for i in range(few)]
        assert [len(names) for names in actor.names()] == [1, few, large]
        # Fewer than half of what is in flight wait for it.
        last = [link.submit(item(f"last {i}")) for i in range(2 * few)]
        await turn()
        assert len(actor.calls) == 3
        actor.answer(2)
        assert [await value(future) for future in third] == [f"third {i}" for i in range(large)]
        assert [len(names) for names in actor.names()] == [1, few, large, few, few]
        actor.answer(4)
        actor.answer(3)
        assert [await value(future) for future in last] == [f"last {i}" for i in range(2 * few)]

    asyncio.run(scenario())


def test_a_higher_priority_does_not_wait_for_the_call_in_flight_but_calls_in_flight_are_bounded():
    async def scenario() -> None:
        actor = Recorder()
        link = ActorLink(actor, Lane.LIGHT, Settings())
        link.submit(item("normal"))
        await turn()
        link.submit(item("waits"))
        for priority in (Priority.HIGH, Priority.URGENT, Priority.CRITICAL):
            link.submit(item(priority.name, priority))
            await turn()
        assert actor.names()[0] == ["normal"]
        assert [names[0] for names in actor.names()] == ["normal", "HIGH", "URGENT", "CRITICAL"]
        link.submit(item("another", Priority.CRITICAL))
        await turn()
        assert len(actor.calls) == OVERTAKING_IN_FLIGHT

    asyncio.run(scenario())


def test_heavy_items_travel_alone():
    async def scenario() -> None:
        actor = Recorder()
        link = ActorLink(actor, Lane.HEAVY, Settings())
        for i in range(3):
            link.submit(item(str(i)))
        await turn()
        assert actor.names() == [["0"], ["1"], ["2"]]

    asyncio.run(scenario())


def test_a_deadline_ends_the_wait_for_a_silent_actor_and_what_expired_is_not_sent():
    async def scenario() -> None:
        actor = Recorder()
        link = ActorLink(actor, Lane.LIGHT, Settings())
        first = link.submit(item("first"))
        await turn()
        late = link.submit(item("late", timeout_s=0.02))
        with pytest.raises(DeadlineExceeded):
            await late
        actor.answer(0)
        assert await value(first) == "first"
        assert actor.names() == [["first"]]

    asyncio.run(scenario())


def test_each_item_ends_at_its_own_deadline_whether_it_waits_or_is_in_flight():
    async def scenario() -> None:
        actor, ended = Recorder(), []
        link = ActorLink(actor, Lane.LIGHT, Settings())

        async def ask(name: str, timeout_s: float) -> None:
            with pytest.raises(DeadlineExceeded):
                await link.submit(item(name, timeout_s=timeout_s))
            ended.append(name)

        first = asyncio.create_task(ask("in flight", 0.2))
        await turn()
        await turn()
        others = [asyncio.create_task(ask(f"waits {s}", s)) for s in (0.3, 0.1, 0.0, 0.4)]
        await asyncio.wait_for(asyncio.gather(first, *others), DEADLINE_S)
        assert ended == ["waits 0.0", "waits 0.1", "in flight", "waits 0.3", "waits 0.4"]
        assert actor.names() == [["in flight"]]
        assert link._timer is None, "nothing is looked for where nobody waits"

    asyncio.run(scenario())


def test_who_goes_away_is_dropped_here_or_told_to_the_actor_all_of_one_turn_at_once():
    async def scenario() -> None:
        actor = Recorder()
        link = ActorLink(actor, Lane.HEAVY, Settings())
        items = [item(str(i)) for i in range(HEAVY_IN_FLIGHT + 2)]
        futures = [link.submit(one) for one in items]
        await turn()
        for one in (items[0], items[1], items[-1]):
            link.leave(one.key)
        with pytest.raises(CallerGone):
            await futures[-1]
        await asyncio.sleep(0)
        assert actor.left == [[items[0].key, items[1].key]]
        for call in range(HEAVY_IN_FLIGHT):
            actor.answer(call)
        assert await value(futures[0]) == "0"  # it was too late: what came of it is told
        assert await value(futures[1]) == "1"
        assert [names for names in actor.names() if names == [items[-1].request_id]] == []
        assert len(actor.calls) == HEAVY_IN_FLIGHT + 1

    asyncio.run(scenario())


def test_a_lost_call_is_told_to_all_its_items_and_the_link_goes_on():
    async def scenario() -> None:
        actor = Recorder()
        link = ActorLink(actor, Lane.LIGHT, Settings())
        first = link.submit(item("first"))
        await turn()
        second = link.submit(item("second"))
        actor.calls[0][1].set_exception(ActorUnavailableError("it restarts", b"a" * 16))
        with pytest.raises(ActorGone):
            await first
        actor.answer(1)
        assert await value(second) == "second"

    asyncio.run(scenario())


def test_the_queue_is_bounded_and_cancelled_items_leave_room():
    async def scenario() -> None:
        link = ActorLink(Recorder(), Lane.LIGHT, Settings(queue_limit=2))
        link.submit(item("in flight"))
        await turn()
        waiting = [link.submit(item(str(i))) for i in range(2)]
        with pytest.raises(QueueFull) as full:
            link.submit(item("too many"))
        assert full.value.retry_after_s
        waiting[0].cancel()
        link.submit(item("fits"))

    asyncio.run(scenario())


def test_a_new_table_that_names_the_same_actor_keeps_its_link_and_another_actor_gets_its_own():
    async def scenario() -> None:
        links = Links(Settings())
        first = links.to("size_factor", Lane.LIGHT, Recorder("a"))
        assert links.to("size_factor", Lane.LIGHT, Recorder("a")) is first
        assert links.to("size_factor", Lane.HEAVY, Recorder("a")) is not first
        assert links.to("size_factor", Lane.LIGHT, Recorder("b")) is not first

    asyncio.run(scenario())


def test_what_waits_and_what_is_in_flight_counts_in_both_lanes_of_an_actor():
    async def scenario() -> None:
        links = Links(Settings())
        actor = Recorder()
        light, heavy = (links.to("a", lane, actor) for lane in (Lane.LIGHT, Lane.HEAVY))
        assert links.load("a") == links.load("b") == 0
        waiting = [light.submit(item(str(i))) for i in range(2)]
        heavy.submit(item("long"))
        assert links.load("a") == 3
        await turn()
        waiting.append(light.submit(item("more")))
        assert links.load("a") == 4
        actor.answer(0)
        assert [await value(future) for future in waiting[:2]] == ["0", "1"]
        assert links.load("a") == 2
        assert links.load("b") == 0

    asyncio.run(scenario())


class Unpackable:
    """Something that a request should never hold."""

    def __reduce__(self):
        raise RuntimeError("cannot be packed")


def test_a_request_that_cannot_be_packed_fails_alone_and_the_lane_goes_on():
    async def scenario() -> None:
        actor = Recorder()
        link = ActorLink(actor, Lane.LIGHT, Settings())
        first = link.submit(item("first"))
        await turn()
        bad = item("bad")
        bad.request.__dict__["more"] = Unpackable()
        beside = [link.submit(item("a")), link.submit(bad), link.submit(item("b"))]
        actor.answer(0)
        assert await value(first) == "first"
        assert actor.names() == [["first"], ["a"], ["b"]]
        for call in (1, 2):
            actor.answer(call)
        assert await value(beside[0]) == "a"
        assert await value(beside[2]) == "b"
        with pytest.raises(InternalError, match="logged as"):
            await value(beside[1])
        last = link.submit(item("last"))
        await turn()
        actor.answer(3)
        assert await value(last) == "last"

    asyncio.run(scenario())


@pytest.mark.parametrize("answer", [b"no pickle", pack_results([]), None], ids=["unreadable", "too few", "cancelled"])
def test_an_answer_that_makes_no_sense_is_told_to_all_who_wait_and_the_lane_goes_on(answer):
    async def scenario() -> None:
        actor = Recorder()
        link = ActorLink(actor, Lane.LIGHT, Settings())
        waiting = link.submit(item("a"))
        await turn()
        if answer is None:
            actor.calls[0][1].cancel()
            actor.calls[0][1].set_running_or_notify_cancel()
        else:
            actor.calls[0][1].set_result(answer)
        with pytest.raises((InternalError, ActorGone)):
            await value(waiting)
        later = link.submit(item("b"))
        await turn()
        actor.answer(1)
        assert await value(later) == "b"

    asyncio.run(scenario())
