"""A durable consumer's messages as they come, also those that come between two looks."""

import asyncio
import contextlib

import pytest
from fixtures_nats import peer_of, until
from nats.errors import Error as NatsError
from nats.js.api import AckPolicy, ConsumerConfig

from bus import pulled

STREAM, DURABLE, SUBJECT = "PULLED", "mine", "pulled.here"


@contextlib.asynccontextmanager
async def consumer(server, most):
    """A stream with one durable consumer, and its messages."""
    async with peer_of(server) as nc:
        js = nc.jetstream()
        await js.add_stream(name=STREAM, subjects=[SUBJECT])
        await js.add_consumer(STREAM, ConsumerConfig(durable_name=DURABLE, ack_policy=AckPolicy.EXPLICIT))
        async with contextlib.aclosing(pulled.batches(nc, STREAM, DURABLE, most)) as found:
            yield nc, js, found


async def take(found, count):
    """Give so many messages; each is acknowledged."""
    out = []
    while len(out) < count:
        async with asyncio.timeout(30):
            for message in await anext(found):
                await message.ack()
                out.append(message.data)
    return out


def test_messages_that_wait_and_those_that_come_later_are_given_while_the_request_stands(own_server, monkeypatch):
    """No request is full and none ends within the test: what waited for either would not come."""
    monkeypatch.setattr(pulled, "STANDS_S", 600.0)

    async def run():
        async with consumer(own_server, 64) as (_, js, found):
            for number in range(3):
                await js.publish(SUBJECT, b"%d" % number)
            assert await take(found, 3) == [b"0", b"1", b"2"]
            for number in range(3, 6):
                await js.publish(SUBJECT, b"%d" % number)
                assert await take(found, 1) == [b"%d" % number]
            assert (await js.consumer_info(STREAM, DURABLE)).num_waiting == 1

    asyncio.run(run())


def test_a_full_request_is_followed_by_another(own_server, monkeypatch):
    monkeypatch.setattr(pulled, "STANDS_S", 600.0)

    async def run():
        async with consumer(own_server, 4) as (_, js, found):
            for number in range(11):
                await js.publish(SUBJECT, b"%d" % number)
            assert await take(found, 11) == [b"%d" % number for number in range(11)]

    asyncio.run(run())


def test_a_request_that_ended_is_made_again(own_server, monkeypatch):
    monkeypatch.setattr(pulled, "STANDS_S", 0.1)

    async def run():
        async with consumer(own_server, 64) as (nc, js, found):
            waiting = asyncio.create_task(anext(found))
            asked = 0

            async def count(_):
                nonlocal asked
                asked += 1

            await nc.subscribe(f"{pulled.NEXT}.{STREAM}.{DURABLE}", cb=count)
            await until(lambda: asked >= 3, "it was asked again")
            await js.publish(SUBJECT, b"late")
            async with asyncio.timeout(30):
                (message,) = await waiting
            assert message.data == b"late"

    asyncio.run(run())


def test_a_consumer_that_is_gone_is_an_error(own_server):
    async def run():
        async with consumer(own_server, 64) as (_, js, found):
            waiting = asyncio.create_task(anext(found))

            async def stands():
                return (await js.consumer_info(STREAM, DURABLE)).num_waiting == 1

            await until(stands, "the request stands")
            await js.delete_consumer(STREAM, DURABLE)
            with pytest.raises(NatsError, match=r"mine of PULLED: 409"):
                async with asyncio.timeout(30):
                    await waiting

    asyncio.run(run())
