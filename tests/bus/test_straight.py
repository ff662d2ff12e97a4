import asyncio

from fixtures_nats import peer_of, until

from bus.straight import drain, subscribe


def test_messages_are_taken_in_their_order_without_a_queue(nats_server):
    async def run():
        async with peer_of(nats_server) as nc, peer_of(nats_server) as other:
            got = []
            subscription = await subscribe(nc, "straight.*", got.append)
            await nc.flush()
            for number in range(500):
                await other.publish(f"straight.{number}", str(number).encode())
            await until(lambda: len(got) == 500, "all came")
            assert [msg.data for msg in got] == [str(number).encode() for number in range(500)]
            # Nothing passed nats-py's queue and its task: a version that has them elsewhere fails here.
            assert (subscription.pending_msgs, subscription.pending_bytes) == (0, 0)
            assert subscription.delivered == 500

    asyncio.run(run())


def test_a_message_that_breaks_its_taker_stops_neither_the_next_nor_the_connection(nats_server, caplog):
    async def run():
        async with peer_of(nats_server) as nc:
            got = []

            def take(msg):
                if msg.data == b"bad":
                    raise ValueError(msg.data)
                got.append(msg.data)

            await subscribe(nc, "straight.x", take)
            for data in (b"1", b"bad", b"2"):
                await nc.publish("straight.x", data)
            await until(lambda: len(got) == 2, "those beside it came")
            assert got == [b"1", b"2"]
            assert nc.is_connected

    asyncio.run(run())
    assert "straight.x was not taken" in caplog.text


def test_what_came_while_it_was_subscribed_is_taken_too(nats_server, monkeypatch):
    async def run():
        async with peer_of(nats_server) as nc:
            got = []
            send = nc._flush_pending

            async def late(*args, **kwargs):
                await send(*args, **kwargs)
                monkeypatch.undo()
                await nc.publish("straight.y", b"early")
                await nc.flush()

            monkeypatch.setattr(nc, "_flush_pending", late)
            await subscribe(nc, "straight.y", lambda msg: got.append(msg.data))
            await nc.publish("straight.y", b"then")
            await until(lambda: len(got) == 2, "both came")
            assert got == [b"early", b"then"]

    asyncio.run(run())


def test_a_drained_subscription_has_taken_what_was_on_its_way(nats_server):
    async def run():
        async with peer_of(nats_server) as nc:
            got = []
            subscription = await subscribe(nc, "straight.z", got.append, "group")
            for _ in range(200):
                await nc.publish("straight.z", b"x")
            await drain(nc, subscription)
            assert len(got) == 200
            await nc.publish("straight.z", b"x")
            await nc.flush()
            assert len(got) == 200

    asyncio.run(run())
