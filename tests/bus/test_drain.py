import asyncio
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import orjson
import pytest
from fixtures_nats import ClientDouble, bridge_over, peer_of, stored_in, until
from nats.js.api import StreamConfig

from bus import streams
from bus.outbox import Outbox
from bus.streams import EVENTS
from contracts.events import event
from contracts.settings import Settings
from contracts.work import Priority

# A bridge in a process of its own, that dies by `kill -9` where the test says.
BRIDGE = """
import asyncio, os, signal, sys
from pathlib import Path
from fixtures_nats import ClientDouble
from bus.bridge import Bridge
from bus.outbox import Outbox
from contracts.settings import Settings

def die(*args, **kwargs):
    os.kill(os.getpid(), signal.SIGKILL)

if sys.argv[2] == "before delete":
    # On a slow machine it would remove the first before the last is out: then the database is as if it were locked.
    Outbox.delete = lambda box, seqs, **_: die() if len(seqs) == 50 else False
if sys.argv[2] == "before publish":
    import bus.drain
    bus.drain.publish_all = die

async def main():
    await Bridge(Settings(run_dir=Path(sys.argv[1])), ClientDouble()).start()
    await asyncio.sleep(60)

asyncio.run(main())
"""


def bridge_process(run_dir, death):
    paths = os.pathsep.join([str(Path(__file__).parents[1]), str(Path(__file__).parents[2])])
    environment = {**os.environ, "PYTHONPATH": paths}
    return subprocess.Popen([sys.executable, "-c", BRIDGE, str(run_dir), death], env=environment)


def made(name, n, priority=Priority.NORMAL, subject="factor.library.x"):
    return [event(subject, "T", {"n": i}, priority=priority, event_id=f"{name}{i}") for i in range(n)]


def outbox_of(server):
    return Outbox.of(Settings(run_dir=server.run_dir))


def drained(bridge):
    return lambda: bridge.status()["outbox"]["depth"] == 0


async def ids_in(nc):
    return [e.headers["Nats-Msg-Id"] for e in await stored_in(nc, EVENTS)]


def test_events_of_other_processes_arrive_in_order_whatever_their_priority(own_server):
    async def run():
        box = outbox_of(own_server)
        async with bridge_over(own_server, ClientDouble()) as bridge, peer_of(own_server) as nc:
            for i in range(300):
                await box.put([event("factor.library.x", "T", i, priority=Priority(i % 5), event_id=f"e{i}")])
            await until(drained(bridge), "the outbox is empty")
            assert await ids_in(nc) == [f"e{i}" for i in range(300)]
            assert bridge.stats()["duplicates"] == 0
            assert bridge.status()["outbox"]["delivered"] == 300
        box.close()

    asyncio.run(run())


def test_what_was_put_while_nats_was_away_arrives_when_it_is_back(own_server):
    async def run():
        box = outbox_of(own_server)
        own_server.stop()
        bridge_client = ClientDouble()
        from bus.bridge import Bridge

        bridge = Bridge(Settings(run_dir=own_server.run_dir), bridge_client)
        await bridge.start()
        await box.put(made("a", 500))
        got = await bridge.feed(0, 5.0)
        assert got["events"], "websockets are fed all the same"
        assert not bridge.connected
        own_server.start()
        await until(drained(bridge), "the outbox is empty")
        async with peer_of(own_server) as nc:
            assert await ids_in(nc) == [f"a{i}" for i in range(500)]
        await bridge.stop()
        box.close()

    asyncio.run(run())


def test_kill_9_of_the_server_under_load_loses_and_repeats_nothing(own_server):
    async def run():
        box = outbox_of(own_server)
        async with bridge_over(own_server, ClientDouble()) as bridge:
            put = 0
            for _ in range(3):
                for _ in range(20):
                    await box.put(made(f"r{put}-", 20, Priority.URGENT))
                    put += 1
                own_server._process.kill()
                own_server._process.wait()
                await box.put(made(f"r{put}-", 20))
                put += 1
                await until(lambda: not bridge.connected, "the bridge noticed")
                own_server.start()
                await until(lambda: bridge.status()["jetstream"] == "ready", "the bridge is back")
            await until(drained(bridge), "the outbox is empty")
            async with peer_of(own_server) as nc:
                counts = Counter(await ids_in(nc))
            assert set(counts) == {f"r{k}-{i}" for k in range(put) for i in range(20)}
            assert set(counts.values()) == {1}
            assert bridge.status()["connections"] == 4
        box.close()

    asyncio.run(run())


def killed_bridge(server, death, expected_in_stream):
    async def run():
        box = outbox_of(server)
        await box.put(made("k", 50))
        process = bridge_process(server.run_dir, death)
        assert await asyncio.to_thread(process.wait, 30) == -signal.SIGKILL
        assert box.counts().depth == 50, "nothing was removed"
        async with peer_of(server) as nc:
            assert len(await ids_in(nc)) == expected_in_stream
            async with bridge_over(server, ClientDouble()) as bridge:
                await until(drained(bridge), "the next bridge drained it")
                assert bridge.stats()["duplicates"] == expected_in_stream
            assert await ids_in(nc) == [f"k{i}" for i in range(50)]
        box.close()

    asyncio.run(run())


def test_a_bridge_killed_between_publishing_and_removing_repeats_nothing(own_server):
    killed_bridge(own_server, "before delete", expected_in_stream=50)


def test_a_bridge_killed_between_reading_and_publishing_loses_nothing(own_server):
    killed_bridge(own_server, "before publish", expected_in_stream=0)


def test_an_outage_longer_than_the_servers_memory_of_ids_repeats_nothing(own_server, monkeypatch):
    monkeypatch.setattr(streams, "DUPLICATE_WINDOW_S", 0.2)

    async def run():
        box = outbox_of(own_server)
        async with peer_of(own_server) as nc:
            await streams.ensure(nc.jetstream())
            # As after a bridge that was killed between the stream's storing and our removing.
            for event_ in made("k", 700):
                await box.put([event_])
                await nc.jetstream().publish(event_.subject, event_.data, headers=event_.headers())
            await box.put(made("new", 3))

            async def forgotten():
                again = made("probe", 1)[0]
                ack = await nc.jetstream().publish(again.subject, again.data, headers=again.headers())
                return not ack.duplicate and (await ids_in(nc)).count("probe0") > 1

            await until(forgotten, "the server has forgotten ids")

            async def quiet():
                newest = (await stored_in(nc, EVENTS))[-1]
                return newest and await streams.newest_ids(nc.jetstream())

            await until(quiet, "the stream was quiet for half the window")
            async with bridge_over(own_server, ClientDouble()) as bridge:
                await until(drained(bridge), "the outbox is empty")
                assert bridge.stats()["duplicates"] == 700
            counts = Counter(await ids_in(nc))
            del counts["probe0"]
            assert set(counts) == {*(f"k{i}" for i in range(700)), "new0", "new1", "new2"}
            assert set(counts.values()) == {1}
        box.close()

    asyncio.run(run())


def test_an_event_over_the_servers_limit_is_counted_and_holds_up_nobody(own_server):
    async def run():
        box = outbox_of(own_server)
        async with bridge_over(own_server, ClientDouble()) as bridge, peer_of(own_server) as nc:
            await box.put([*made("a", 2), event("factor.library.x", "T", b"x" * 9 * 2**20), *made("b", 2)])
            await until(drained(bridge), "the outbox is empty")
            assert await ids_in(nc) == ["a0", "a1", "b0", "b1"]
            assert bridge.status()["outbox"]["undeliverable"] == 1
        box.close()

    asyncio.run(run())


@pytest.mark.parametrize(
    "change",
    [{"subject": "factor.a b"}, {"subject": "factor..x"}, {"subject": ""}, {"subject": "factor.*"}, {"priority": 77}],
    ids=str,
)
def test_an_event_that_cannot_be_sent_is_counted_and_holds_up_nobody(own_server, change):
    async def run():
        box = outbox_of(own_server)
        async with bridge_over(own_server, ClientDouble()) as bridge, peer_of(own_server) as nc:
            await box.put([*made("a", 2), made("bad", 1)[0]._replace(**change), *made("b", 2)])
            await until(drained(bridge), "the outbox is empty")
            assert await ids_in(nc) == ["a0", "a1", "b0", "b1"]
            assert bridge.status()["outbox"]["undeliverable"] == 1
            assert bridge.connections == 1
        box.close()

    asyncio.run(run())


def test_an_event_that_no_stream_takes_waits_until_one_does(own_server):
    async def run():
        box = outbox_of(own_server)
        async with bridge_over(own_server, ClientDouble()) as bridge, peer_of(own_server) as nc:
            await box.put(made("lost", 1, subject="elsewhere.x"))
            await box.put(made("a", 2))
            await until(lambda: bridge.stats()["publish_errors"] > 0, "the refusal was counted")
            await until(lambda: bridge.status()["outbox"]["depth"] == 1, "the others went on")
            await nc.jetstream().add_stream(StreamConfig(name="LATE", subjects=["elsewhere.x"]))
            await until(drained(bridge), "it is tried again")
            assert [e.headers["ce-id"] for e in await stored_in(nc, "LATE")] == ["lost0"]
        box.close()

    asyncio.run(run())


def test_urgent_events_do_not_wait_for_the_buffer(own_server):
    async def run():
        box = outbox_of(own_server)
        async with bridge_over(own_server, ClientDouble(), buffer_interval_ms=60_000.0) as bridge:
            await box.put(made("low", 1, Priority.LOW))
            await box.put(made("urgent", 1, Priority.URGENT))
            await until(lambda: bridge.drainer.acknowledged == 2, "both went out long before the interval", 20.0)
        box.close()

    asyncio.run(run())


def test_the_feed_gives_websockets_what_was_published(own_server):
    async def run():
        async with bridge_over(own_server, ClientDouble()) as bridge, peer_of(own_server) as nc:
            body = orjson.dumps({"portfolio_weights": {"A": 1.0}, "portfolio_id": "p"})
            waiting = asyncio.create_task(bridge.feed(None, 20.0))
            await asyncio.sleep(0)
            reply = orjson.loads((await nc.request("risk.factor_request.factor_exposures", body, timeout=30)).data)
            got = await waiting
            # Health comes by the second, and may have come first.
            while not (mine := [e for e in got["events"] if e["subject"] == "factor.portfolio_exposures.p"]):
                got = await bridge.feed(got["last"], 20.0)
            told = orjson.loads(mine[0]["data"])
            assert told["calculation_id"] == reply["calculation_result"]["calculation_id"]

    asyncio.run(run())
