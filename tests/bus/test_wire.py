import asyncio

import pytest
from fixtures_nats import peer_of
from nats.errors import ConnectionClosedError

from bus.wire import hpub, publish_all
from contracts.events import Event, event
from contracts.work import Priority


def carried(server, events):
    async def run():
        async with peer_of(server) as nc:
            done = asyncio.get_running_loop().create_future()
            got = []

            async def take(msg):
                got.append(msg)
                if len(got) == len(events):
                    done.set_result(None)

            await nc.subscribe("wire.*", cb=take)
            await nc.flush()
            await publish_all(nc, [hpub(made, i, f"inbox.{i}") for i, made in enumerate(events)])
            await asyncio.wait_for(done, 30)
            return got

    return asyncio.run(run())


def test_what_arrives_is_what_nats_py_would_have_sent(nats_server):
    events = [event(f"wire.{i}", "TÿPE", {"x": "y" * i * 500}, priority=Priority.HIGH) for i in range(20)]
    for i, (made, msg) in enumerate(zip(events, carried(nats_server, events), strict=True)):
        assert msg.subject == made.subject
        assert msg.reply == f"inbox.{i}"
        assert msg.data == made.data
        assert msg.headers == made.headers(i)


def test_a_line_break_in_a_value_begins_no_header(nats_server):
    (msg,) = carried(nats_server, [Event("a\r\nevil: 1", "wire.x", "T\nx", "now", 1, b"")])
    assert "evil" not in msg.headers
    assert msg.headers["ce-id"] == "a evil: 1"
    assert msg.headers["ce-type"] == "T x"


def test_nothing_is_sent_over_a_closed_connection(nats_server):
    async def run():
        async with peer_of(nats_server) as nc:
            pass
        with pytest.raises(ConnectionClosedError):
            await publish_all(nc, [b""])

    asyncio.run(run())
