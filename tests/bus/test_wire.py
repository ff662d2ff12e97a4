import asyncio

import pytest
from fixtures_nats import peer_of
from nats.errors import ConnectionClosedError

from bus.wire import DIRECT_BYTES, hpub, publish_all, publish_now, unpublishable
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


@pytest.mark.parametrize("name", ["e1", "e\r\n1"])
def test_more_headers_are_beside_those_of_the_event(nats_server, name):
    made = event("wire.m", "T", b"1", event_id=name)
    more = {"Nats-Expected-Last-Msg-Id": f"before {name}"}

    async def run():
        async with peer_of(nats_server) as nc:
            heard = await nc.subscribe("wire.m")
            await publish_all(nc, [hpub(made, 7, "", more)])
            return await heard.next_msg(30)

    told = " ".join(name.split())
    own = {key: told if value == name else value for key, value in made.headers(7).items()}
    assert asyncio.run(run()).headers == {**own, "Nats-Expected-Last-Msg-Id": f"before {told}"}


def test_a_publication_goes_to_the_socket_behind_what_was_sent_before(nats_server):
    first, second, third = (hpub(event("wire.now", "T", b"%d" % i), i, "") for i in range(3))

    async def run():
        async with peer_of(nats_server) as nc:
            heard = await nc.subscribe("wire.now")
            await nc.flush()
            assert publish_now(nc, first)
            await publish_all(nc, [second])
            assert not publish_now(nc, third)  # something waits in nats-py's own buffer
            await publish_all(nc, [third])
            return [(await heard.next_msg(30)).data for _ in range(3)]

    assert asyncio.run(run()) == [b"0", b"1", b"2"]


def test_nothing_goes_to_a_socket_where_much_waits_or_that_is_closed(nats_server):
    made = hpub(event("wire.now", "T", b"x" * 500_000), 1, "")

    async def run():
        async with peer_of(nats_server) as nc:
            await nc.flush()
            taken = 0
            while publish_now(nc, made):  # the loop has no turn to send in, so the buffer fills
                taken += 1
                assert taken < 1000
            assert nc._transport._io_writer.transport.get_write_buffer_size() > DIRECT_BYTES
            await nc.flush(30)
            assert publish_now(nc, made)
        assert not publish_now(nc, made)

    asyncio.run(run())


def test_nothing_is_sent_over_a_closed_connection(nats_server):
    async def run():
        async with peer_of(nats_server) as nc:
            pass
        with pytest.raises(ConnectionClosedError):
            await publish_all(nc, [b""])

    asyncio.run(run())


def test_an_event_whose_subject_no_server_takes_is_set_aside():
    assert unpublishable(event("wire." + "ü" * 1000, "T", {})) is None
    assert unpublishable(event("wire." + "ü" * 1024, "T", {})) == "its subject has more than 2048 bytes"
