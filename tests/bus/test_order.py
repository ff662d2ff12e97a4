"""A failed event lets no later one of its subject overtake it; other subjects go on."""

import asyncio
import random

import pytest
from fixtures_nats import ClientDouble, bridge_over, peer_of, stored_in, until
from nats.js.api import DiscardPolicy

from bus import drain, wire
from bus.direct import Direct
from bus.feed import Feed
from bus.lines import BATCH_LEAST, BROKEN_S, UNIT_EVENTS, Lines
from bus.outbox import Outbox
from bus.outbox_table import Stored
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


@pytest.mark.parametrize("batches", [True, False])
def test_a_refused_event_is_not_overtaken_by_those_of_its_subject(own_server, monkeypatch, batches):
    if not batches:  # as on a server that cannot store several messages as one

        async def never(_js):
            return False

        monkeypatch.setattr("bus.streams.takes_batches", never)

    n = 2 * BATCH_LEAST  # enough for a batch

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
                    many = rng.choice((1, 3, 9, BATCH_LEAST + 9))
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
    gathered(lines, 1, BATCH_LEAST)
    assert lines.take(stored(1000, "b"))
    first, other = lines.leave(0.0)
    assert (seqs(first), seqs(other)) == ([*range(1, BATCH_LEAST + 1)], [1000])
    gathered(lines, 1001, UNIT_EVENTS + 1)
    assert list(lines.leave(0.0)) == []
    assert lines.done(first.number) == (first, None)
    (second,) = lines.leave(0.0)
    assert len(second.events) == UNIT_EVENTS
    assert (lines.held, lines.in_flight) == (UNIT_EVENTS + 2, UNIT_EVENTS + 1)


def test_two_events_of_a_line_are_a_chain():
    lines = Lines()
    gathered(lines, 1, 2)
    (unit,) = lines.leave(0.0)
    assert (seqs(unit), unit.batch) == ([1, 2], False)


def broken(lines, first, now):
    """Have a chain of two break: both go alone."""
    gathered(lines, first, 2)
    (chain,) = lines.leave(now)
    lines.broken(chain.number, now)
    for seq in (first, first + 1):
        (unit,) = lines.leave(now)
        assert seqs(unit) == [seq]
        lines.done(unit.number)


@pytest.mark.parametrize("batches", [True, False])
def test_after_a_chain_broke_there_is_none_for_a_while(batches):
    """Few events go one by one: a batch costs the server more than some tens of them."""
    lines = Lines(batches=batches)
    broken(lines, 1, 0.0)
    gathered(lines, 3, BATCH_LEAST - 1)
    for seq in range(3, BATCH_LEAST + 2):
        (unit,) = lines.leave(1.0)
        assert seqs(unit) == [seq]
        lines.done(unit.number)
    gathered(lines, 100, BATCH_LEAST)
    (unit,) = lines.leave(1.0)
    assert (len(unit.events), unit.batch) == (BATCH_LEAST if batches else 1, True)
    lines.done(unit.number)
    if not batches:
        for _ in range(BATCH_LEAST - 1):
            (unit,) = lines.leave(1.0)
            lines.done(unit.number)
    gathered(lines, 1000, 2)
    (unit,) = lines.leave(BROKEN_S)
    assert (seqs(unit), unit.batch) == ([1000, 1001], False)
    lines.done(unit.number)
    assert lines.held == lines.in_flight == 0


def test_somebody_elses_event_amid_a_chain_changes_no_order(own_server, monkeypatch):
    """Another engine on the same server, say: what follows its event is refused, and comes again in its order."""
    amid = []

    async def run():
        box = Outbox.of(Settings(run_dir=own_server.run_dir))
        async with bridge_over(own_server, ClientDouble()) as bridge, peer_of(own_server) as nc:

            async def publish_all(connection, commands):
                for command in commands:
                    await wire.publish_all(connection, [command])
                    if b"Nats-Expected-Last-Msg-Id: a1\r" in command and not amid:
                        await connection._flush_pending(force_flush=True)  # else nats-py's PING goes before
                        await connection.flush()
                        amid.append(await nc.jetstream().publish("factor.library.z", b"", headers={"ce-id": "z0"}))

            monkeypatch.setattr(drain, "publish_all", publish_all)
            await box.put([of("a", f"a{i}") for i in range(8)])
            await until(lambda: bridge.status()["outbox"]["depth"] == 0, "all went out")
            assert len(amid) == 1
            stored_ids = [one.headers["ce-id"] for one in await stored_in(nc, EVENTS)]
            assert stored_ids == ["a0", "a1", "a2", "z0", "a3", "a4", "a5", "a6", "a7"]
            # While chains break, much leaves as a batch.
            await box.put([of("a", f"a{i}") for i in range(8, 8 + BATCH_LEAST)])
            await until(lambda: bridge.status()["outbox"]["depth"] == 0, "the batch went out")
            assert (await ids_by_subject(nc))["a"] == [f"a{i}" for i in range(8 + BATCH_LEAST)]
            batches = {(one.headers or {}).get("Nats-Batch-Id") for one in await stored_in(nc, EVENTS)}
            assert len(batches) == 2, batches
            assert bridge.stats()["publish_errors"] == 0
        box.close()

    asyncio.run(run())


def test_of_a_chain_the_last_event_of_which_is_too_large_the_others_are_out_at_once(own_server):
    async def run():
        box = Outbox.of(Settings(run_dir=own_server.run_dir))
        async with bridge_over(own_server, ClientDouble()) as bridge, peer_of(own_server) as nc:
            was = (await nc.jetstream().stream_info(EVENTS)).config
            await nc.jetstream().update_stream(was.evolve(max_msg_size=100_000))
            await box.put([*(of("a", f"a{i}") for i in range(5)), of("a", "large", LARGE), of("a", "a5")])
            await until(lambda: bridge.status()["outbox"]["depth"] == 0, "the others are out")
            assert (await ids_by_subject(nc))["a"] == [f"a{i}" for i in range(6)]
            assert bridge.status()["outbox"]["undeliverable"] == 1
        box.close()

    asyncio.run(run())


def test_a_line_that_stands_still_holds_one_event_and_says_where_to_read_again():
    lines = Lines()
    gathered(lines, 1, BATCH_LEAST)
    (unit,) = lines.leave(0.0)
    lines.take(stored(500))
    assert [one.seq for one in lines.failed(unit.number, 10.0)] == [*range(2, BATCH_LEAST + 1), 500]
    assert not lines.take(stored(501)), "it stays in the outbox"
    assert lines.held == 1
    assert list(lines.leave(10.5)) == [], "not yet"
    (again,) = lines.leave(11.5)
    assert seqs(again) == [1]
    assert lines.done(again.number) == (again, 2)
    assert lines.held == lines.in_flight == 0


def test_a_unit_with_events_that_are_stored_already_goes_one_by_one():
    lines = Lines()
    gathered(lines, 1, BATCH_LEAST)
    (unit,) = lines.leave(0.0)
    lines.again(unit.number)
    gathered(lines, BATCH_LEAST + 1, BATCH_LEAST)
    sent = []
    while unit := next(lines.leave(0.0), None):
        sent.append(seqs(unit))
        lines.done(unit.number)
    assert sent == [*([seq] for seq in range(1, BATCH_LEAST + 1)), [*range(BATCH_LEAST + 1, 2 * BATCH_LEAST + 1)]]
    assert lines.held == 0


def test_what_stood_behind_an_event_that_was_given_up_goes_on(own_server):
    async def run():
        box = Outbox.of(Settings(run_dir=own_server.run_dir))
        async with bridge_over(own_server, ClientDouble()) as bridge, peer_of(own_server) as nc:
            allow = await refuse_large(nc.jetstream())
            await box.put([of("a", "a0", LARGE), *(of("a", f"a{i}") for i in range(1, 5))])
            await until(lambda: bridge.stats()["publish_errors"] > 0, "the large one was refused")
            was = (await allow()).config
            # What the stream was full for it now takes from nobody, so the line that stood still has to go on without.
            await nc.jetstream().update_stream(was.evolve(max_msg_size=100_000))
            await until(lambda: bridge.status()["outbox"]["depth"] == 0, "the others are out", 60.0)
            assert (await ids_by_subject(nc))["a"] == ["a1", "a2", "a3", "a4"]
            assert bridge.status()["outbox"]["undeliverable"] == 1
        box.close()

    asyncio.run(run())
