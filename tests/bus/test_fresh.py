import asyncio

import pytest
from fixtures_nats import ClientDouble, bridge_over, peer_of, stored_in, until

from bus.fresh import MOST, MOST_BYTES, Fresh
from bus.outbox import Outbox
from bus.streams import EVENTS
from contracts.events import event
from contracts.settings import Settings


def made(*names, data=b"1"):
    return [event("factor.library.x", "T", data, event_id=name) for name in names]


def taken(fresh, after, most=100):
    return [(stored.seq, stored.event.id) for stored in fresh.take(after, most)]


@pytest.fixture
def fresh():
    fresh = Fresh()
    fresh.begin()
    return fresh


def test_what_follows_is_given_once_and_in_parts(fresh):
    fresh.add(made("a", "b"), 2)
    fresh.add(made("c"), 3)
    assert taken(fresh, 0, 2) == [(1, "a"), (2, "b")]
    assert taken(fresh, 2) == [(3, "c")]
    assert taken(fresh, 2) == []


def test_behind_an_event_of_another_process_nothing_is_given(fresh):
    fresh.add(made("a"), 1)
    fresh.add(made("c"), 3)  # 2 is another's
    assert taken(fresh, 0) == [(1, "a")]
    assert taken(fresh, 1) == []
    assert taken(fresh, 2) == [(3, "c")]


def test_what_was_read_from_the_outbox_meanwhile_is_not_given(fresh):
    fresh.add(made("a", "b", "c"), 3)
    assert taken(fresh, 2) == [(3, "c")]


def test_it_holds_nothing_while_nobody_drains(fresh):
    fresh.end()
    fresh.add(made("a"), 1)
    assert taken(fresh, 0) == []


@pytest.mark.parametrize(("n", "size"), [(MOST + 1, 1), (9, MOST_BYTES // 8)])
def test_what_has_grown_is_left_to_the_outbox(fresh, n, size):
    for number in range(n):
        fresh.add(made(str(number), data=b"x" * size), number + 1)
    assert len(taken(fresh, 0, n)) == 0
    fresh.add(made("next"), n + 1)
    assert taken(fresh, n) == [(n + 1, "next")]


def test_events_of_this_process_and_of_another_arrive_in_their_order(own_server):
    box = Outbox.of(Settings(run_dir=own_server.run_dir))
    names = [f"e{number}" for number in range(120)]

    async def run():
        async with bridge_over(own_server, ClientDouble()) as bridge, peer_of(own_server) as nc:
            for number, name in enumerate(names):
                ours = number % 5 != 3
                await (bridge._outbox if ours else box).put(made(name))
            await until(lambda: bridge.status()["outbox"]["depth"] == 0, "all are out")
            assert [stored.headers["Nats-Msg-Id"] for stored in await stored_in(nc, EVENTS)] == names
            assert bridge.stats()["duplicates"] == 0

    asyncio.run(run())
    box.close()
