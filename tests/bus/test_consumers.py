"""Consumers of the event stream: durable over restarts, and from any place on, as docs/clients.md says."""

import asyncio

import orjson
from fixtures_nats import ClientDouble, bridge_over, peer_of, until
from nats.js.api import ConsumerConfig, DeliverPolicy

from bus.streams import EVENTS

SUBJECT = "risk.factor_request.factor_exposures"
PATTERN = "factor.portfolio_exposures.*"


async def compute(nc, bridge, names):
    before = bridge.drainer.acknowledged
    for name in names:
        body = orjson.dumps({"portfolio_weights": {"A": 1.0}, "portfolio_id": name})
        await nc.request(SUBJECT, body, timeout=30)
    await until(lambda: bridge.drainer.acknowledged == before + len(names), "they are stored")


async def taken(js, count):
    mine = await js.pull_subscribe(PATTERN, durable="my-program", stream=EVENTS)
    out = []
    for message in await mine.fetch(count, timeout=30):
        out.append(message.subject.rpartition(".")[2])
        await message.ack_sync()
    return out


def test_a_durable_consumer_goes_on_where_it_was_over_restarts_of_everything(own_server):
    async def run():
        async with bridge_over(own_server, ClientDouble()) as bridge, peer_of(own_server) as nc:
            await compute(nc, bridge, ["a", "b", "c"])
            assert await taken(nc.jetstream(), 2) == ["a", "b"]
        own_server.stop()
        own_server.start()
        async with bridge_over(own_server, ClientDouble()) as bridge, peer_of(own_server) as nc:
            await compute(nc, bridge, ["d"])
            assert await taken(nc.jetstream(), 2) == ["c", "d"]

    asyncio.run(run())


def test_a_consumer_may_begin_anywhere_again(own_server):
    async def run():
        async with bridge_over(own_server, ClientDouble()) as bridge, peer_of(own_server) as nc:
            await compute(nc, bridge, ["a", "b", "c"])
            js = nc.jetstream()

            async def replayed(**where):
                reader = await js.subscribe(
                    PATTERN, stream=EVENTS, ordered_consumer=True, config=ConsumerConfig(**where)
                )
                found = [await reader.next_msg(30)]
                while found[-1].metadata.num_pending:
                    found.append(await reader.next_msg(30))
                await reader.unsubscribe()
                return found

            everything = await replayed(deliver_policy=DeliverPolicy.ALL)
            assert [m.subject.rpartition(".")[2] for m in everything] == ["a", "b", "c"]
            first, second = everything[0].metadata, everything[1].metadata
            between = first.timestamp + (second.timestamp - first.timestamp) / 2
            for where in (
                {"deliver_policy": DeliverPolicy.BY_START_SEQUENCE, "opt_start_seq": second.sequence.stream},
                {"deliver_policy": DeliverPolicy.BY_START_TIME, "opt_start_time": between},
            ):
                again = await replayed(**where)
                assert [m.headers["ce-id"] for m in again] == [m.headers["ce-id"] for m in everything[1:]]

    asyncio.run(run())
