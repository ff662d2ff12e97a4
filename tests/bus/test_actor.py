"""The bridge as a Ray actor, between a real nats-server and echoing workloads."""

import asyncio
import os
import signal

import nats
import orjson
import pytest
import ray
from fixtures_nats import peer_of, stored_in, until
from fixtures_ray import DEADLINE_S, ECHOING

from bus.actor import BRIDGE, start_bridge
from bus.outbox import outbox_for_face
from bus.streams import EVENTS
from contracts.settings import NAMESPACE, Settings
from engine.nats_server import NatsServer
from router.client import RouterClient

SUBJECT = "risk.factor_request.factor_exposures"
BODY = orjson.dumps({"portfolio_weights": {"A": 1.0}, "portfolio_id": "p"})


@pytest.fixture
def bridge(echo_router):
    """A bridge actor with a nats-server of its own, on the cluster that the tests share."""
    server = NatsServer(echo_router, port=0)
    server.start()
    handle = start_bridge(Settings(run_dir=echo_router))
    try:
        yield server, handle
    finally:
        ray.get(handle.stop.remote(), timeout=DEADLINE_S)
        ray.kill(handle, no_restart=True)
        server.stop()


async def answered(nc):
    try:
        return orjson.loads((await nc.request(SUBJECT, BODY, timeout=30)).data)
    except nats.errors.Error:
        return None


async def ready(handle):
    try:
        return (await handle.status.remote())["state"] == "READY"
    except ray.exceptions.RayActorError:
        return False


def test_a_request_goes_through_the_bridge_to_an_actor_and_its_event_to_the_stream(bridge):
    server, handle = bridge

    async def run():
        client = await RouterClient().start(DEADLINE_S)
        await client.wait_ready(set(ECHOING), DEADLINE_S)
        await until(lambda: ready(handle), "the bridge is ready", DEADLINE_S)
        await until(lambda: client.table.bus.connected, "everybody knows that the bus is connected")
        async with peer_of(server) as nc:
            got = await answered(nc)
            assert got["success"]
            assert got["calculation_result"]["messagebus_published"] is True
            assert {"queue", "compute", "dispatch", "publish"} <= set(got["calculation_result"]["timings_ms"])
            many = await asyncio.gather(*(answered(nc) for _ in range(200)))
            assert max(one["calculation_result"]["factor_exposures"]["n_batch"] for one in many) > 1
            ids = [got["calculation_result"]["calculation_id"]]
            ids += [one["calculation_result"]["calculation_id"] for one in many]

            async def drained():
                return (await handle.status.remote())["outbox"]["depth"] == 0

            await until(drained, "all events were delivered")
            told = [
                orjson.loads(e.data)["calculation_id"] for e in await stored_in(nc, EVENTS) if "exposures" in e.subject
            ]
            assert sorted(told) == sorted(ids)
        feed = await handle.feed.remote(0, 5.0)
        assert feed["events"]
        await client.close()

    asyncio.run(run())


def test_a_bridge_killed_with_kill_9_comes_back_and_answers(bridge):
    server, handle = bridge

    async def run():
        await until(lambda: ready(handle), "the bridge is ready", DEADLINE_S)
        first = (await handle.status.remote())["pid"]
        os.kill(first, signal.SIGKILL)
        async with peer_of(server) as nc:
            await until(lambda: answered(nc), "requests are answered again", DEADLINE_S)
        await until(lambda: ready(handle), "the bridge is ready again", DEADLINE_S)
        assert (await handle.status.remote())["pid"] != first

    asyncio.run(run())


def test_starting_twice_gives_the_same_bridge(bridge, echo_router):
    _, handle = bridge
    assert start_bridge(Settings(run_dir=echo_router)) == handle == ray.get_actor(BRIDGE, NAMESPACE)


def test_with_the_message_bus_switched_off_there_is_no_bridge_and_no_outbox(ray_cluster, tmp_path):
    off = Settings(run_dir=tmp_path, FACTOR_ENGINE_MESSAGEBUS_ENABLED=False)
    assert off.messagebus_enabled is False
    assert start_bridge(off) is None
    assert outbox_for_face(off) is None
    with pytest.raises(ValueError, match=BRIDGE):
        ray.get_actor(BRIDGE, NAMESPACE)
