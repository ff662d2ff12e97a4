"""A failed event lets no later one of its subject overtake it; other subjects go on."""

import asyncio
import random

import pytest
from fixtures_nats import ClientDouble, bridge_over, peer_of, stored_in, until
from nats.js.api import DiscardPolicy

from bus.direct import Direct
from bus.feed import Feed
from bus.lines import UNIT_EVENTS, UNIT_LEAST, Lines
from bus.outbox import Outbox, Stored
from bus.streams import EVENTS
from contracts.errors import Unavailable
from contracts.events import event
from contracts.settings import Settings

LARGE = b"x" * 200_000


def of(subject, name, data=b"1"):
    return event(f"factor.library.{subject}", "T", data, event_id=name)


async def ids_by_subject(nc):
    found = {}
    for stored in await stored_in(nc, EVENTS):
        found.setdefault(stored.subject.rpartition(".")[2], []).append(stored.headers["ce-id"])
    return found


async def refuse_large(js):
    """Leave the stream room for small events only; gives what takes that back."""
    info = await js.stream_info(EVENTS)
    as_it_was = info.config
    await js.update_stream(as_it_was.evolve(max_bytes=info.state.bytes + 50_000, discard=DiscardPolicy.NEW))
    return lambda: js.update_stream(as_it_was)


@pytest.mark.parametrize("together", [True, False])
def test_a_refused_event_is_not_overtaken_by_those_of_its_subject(own_server, monkeypatch, together):
    if not together:  # as on a server that cannot store several messages as one

        async def never(_js):
            return False

        monkeypatch.setattr("bus.streams.takes_units", never)

    n = 2 * UNIT_LEAST  # enough for a unit

    async def run():
        box = Outbox.of(Settings(run_dir=own_server.run_dir))
        async with bridge_over(own_server, ClientDouble()) as bridge, peer_of(own_server) as nc:
            allow = await refuse_large(nc.jetstream())
            await box.put([of("a", "a0", LARGE), *(of("a", f"a{i}") for i in range(1, n)), of("b", "b0")])
            await until(lambda: bridge.stats()["publish_errors"] > 0, "the large one was refused")
            await box.put([of("a", f"a{n}"), of("b", "b1")])
            await until(lambda: bridge.status()["outbox"]["depth"] == n + 1, "the other subject goes on")
            assert await ids_by_subject(nc) == {"b": ["b0", "b1"]}
            await allow()
            await until(lambda: bridge.status()["outbox"]["depth"] == 0, "all went out")
            assert (await ids_by_subject(nc))["a"] == [f"a{i}" for i in range(n + 1)]
        box.close()

    asyncio.run(run())


def test_every_subject_keeps_its_order_under_kill_9_of_the_server(own_server):
    async def run():
        box = Outbox.of(Settings(run_dir=own_server.run_dir))
        rng = random.Random(5)
        put = {}
        async with bridge_over(own_server, ClientDouble()) as bridge:
            for round_ in range(4):
                for _ in range(60):
                    subject = rng.choice("abcde")
                    many = rng.choice((1, 3, 9, UNIT_LEAST + 9))
                    batch = [of(subject, f"{subject}{len(put.get(subject, [])) + i}") for i in range(many)]
                    put.setdefault(subject, []).extend(one.id for one in batch)
                    await box.put(batch)
                if round_ == 3:
                    break
                # The bridge is somewhere between sending and being told.
                own_server.process.kill()
                own_server.process.wait()
                await until(lambda: not bridge.connected, "the bridge noticed")
                own_server.start()
                await until(lambda: bridge.status()["jetstream"] == "ready", "the bridge is back")
            await until(lambda: bridge.status()["outbox"]["depth"] == 0, "all went out")
            async with peer_of(own_server) as nc:
                assert await ids_by_subject(nc) == put
        box.close()

    asyncio.run(run())


def test_events_of_a_bar_are_stored_in_order_or_come_again(own_server):
    async def run():
        async with bridge_over(own_server, ClientDouble()), peer_of(own_server) as nc:
            earlier = {"factor.library.m": 2}

            def waiting(subject):
                earlier[subject] = earlier.get(subject, 0) - 1
                return earlier[subject] >= 0

            direct = Direct(Feed(), waiting=waiting)
            await direct.start(nc)
            allow = await refuse_large(nc.jetstream())
            events = [of("m", "table", LARGE), of("m", "told"), of("n", "other")]
            with pytest.raises(Unavailable):
                await direct.publish(events)
            assert await ids_by_subject(nc) == {}
            assert earlier["factor.library.m"] < 0, "it waited for what was put before"
            await allow()
            # As after a death in the midst of it, on a server that stores one after the other.
            await nc.jetstream().publish(events[0].subject, events[0].data, headers=events[0].headers())
            await direct.publish(events)
            assert await ids_by_subject(nc) == {"m": ["table", "told"], "n": ["other"]}
            assert direct.duplicates == 1

    asyncio.run(run())


def stored(seq, subject="a", size=1):
    return Stored(seq, of(subject, f"e{seq}", b"x" * size))


def seqs(unit):
    return [one.seq for one in unit.events]


def gathered(lines, first, count):
    for seq in range(first, first + count):
        assert lines.take(stored(seq))


def test_of_a_line_one_unit_is_on_its_way_and_the_rest_gathers():
    lines = Lines()
    gathered(lines, 1, UNIT_LEAST)
    assert lines.take(stored(1000, "b"))
    first, other = lines.leave(0.0)
    assert (seqs(first), seqs(other)) == ([*range(1, UNIT_LEAST + 1)], [1000])
    gathered(lines, 1001, UNIT_EVENTS + 1)
    assert list(lines.leave(0.0)) == []
    assert lines.done(first.number) == (first, None)
    (second,) = lines.leave(0.0)
    assert len(second.events) == UNIT_EVENTS
    assert (lines.held, lines.in_flight) == (UNIT_EVENTS + 2, UNIT_EVENTS + 1)


def test_few_events_of_a_line_go_one_by_one():
    """A unit costs the server more than some tens of events."""
    lines = Lines()
    gathered(lines, 1, UNIT_LEAST - 1)
    for seq in range(1, UNIT_LEAST):
        (unit,) = lines.leave(0.0)
        assert seqs(unit) == [seq]
        lines.done(unit.number)
    assert lines.held == lines.in_flight == 0


def test_a_line_that_stands_still_holds_one_event_and_says_where_to_read_again():
    lines = Lines()
    gathered(lines, 1, UNIT_LEAST)
    (unit,) = lines.leave(0.0)
    lines.take(stored(500))
    assert [one.seq for one in lines.failed(unit.number, 10.0)] == [*range(2, UNIT_LEAST + 1), 500]
    assert not lines.take(stored(501)), "it stays in the outbox"
    assert lines.held == 1
    assert list(lines.leave(10.5)) == [], "not yet"
    (again,) = lines.leave(11.5)
    assert seqs(again) == [1]
    assert lines.done(again.number) == (again, 2)
    assert lines.held == lines.in_flight == 0


def test_a_unit_with_events_that_are_stored_already_goes_one_by_one():
    lines = Lines()
    gathered(lines, 1, UNIT_LEAST)
    (unit,) = lines.leave(0.0)
    lines.again(unit.number)
    gathered(lines, UNIT_LEAST + 1, UNIT_LEAST)
    sent = []
    while unit := next(lines.leave(0.0), None):
        sent.append(seqs(unit))
        lines.done(unit.number)
    assert sent == [*([seq] for seq in range(1, UNIT_LEAST + 1)), [*range(UNIT_LEAST + 1, 2 * UNIT_LEAST + 1)]]
    assert lines.held == 0
