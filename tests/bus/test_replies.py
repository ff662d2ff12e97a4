import asyncio

from fixtures_nats import peer_of

from bus import replies
from bus.replies import MUCH_BYTES, Replies
from bus.requests import problem_headers
from contracts.errors import InvalidInput


def replied(server, given):
    """What a requester gets of replies that were given in one turn of the loop."""

    async def run():
        async with peer_of(server) as nc:
            desk = Replies()
            desk.nc = nc
            got = {}
            all_there = asyncio.Event()

            async def take(msg):
                got[msg.subject] = msg
                if len(got) == len(given):
                    all_there.set()

            await nc.subscribe("_INBOX.test.*", cb=take)
            await nc.flush()
            for subject, (body, headers) in given.items():
                await desk.give(subject, body, headers)
            await asyncio.wait_for(all_there.wait(), 30)
            return got, desk.lost

    return asyncio.run(run())


def test_what_arrives_is_what_was_given(nats_server):
    problem = InvalidInput("no", field="x")
    given = {
        "_INBOX.test.a": (b"", None),
        "_INBOX.test.b": (b'{"x": 1}\r\nPUB y 1\r\n', None),
        "_INBOX.test.c": (b"z" * 500_000, None),
        "_INBOX.test.d": (b"{}", problem_headers(problem)),
    }
    got, lost = replied(nats_server, given)
    assert {subject: (msg.data, msg.headers) for subject, msg in got.items()} == given
    assert lost == 0


def test_those_of_one_turn_leave_in_one_write(nats_server, monkeypatch):
    written = []
    send = replies.publish_all

    async def publish_all(nc, commands):
        written.append(len(commands))
        await send(nc, commands)

    monkeypatch.setattr(replies, "publish_all", publish_all)
    replied(nats_server, {f"_INBOX.test.{i}": (b"x", None) for i in range(20)})
    assert written == [20]


def test_a_lone_reply_is_with_the_socket_at_once_and_overtakes_none(nats_server):
    async def run():
        async with peer_of(nats_server) as nc:
            desk = Replies()
            desk.nc = nc
            heard = await nc.subscribe("_INBOX.test.order")
            await nc.flush()
            sent = nc.stats["out_msgs"]
            await desk.give("_INBOX.test.order", b"alone", alone=True)
            assert (desk._sending, nc.pending_data_size, nc.stats["out_msgs"]) == (None, 0, sent + 1)
            await desk.give("_INBOX.test.order", b"with others")
            await desk.give("_INBOX.test.order", b"behind them", alone=True)
            assert [(await heard.next_msg(30)).data for _ in range(3)] == [b"alone", b"with others", b"behind them"]

    asyncio.run(run())


def test_whoever_replies_with_much_waits_until_it_has_left(nats_server):
    async def run():
        async with peer_of(nats_server) as nc:
            desk = Replies()
            desk.nc = nc
            for _ in range(8):
                await desk.give("_INBOX.test.a", b"x" * (MUCH_BYTES // 2))
                assert desk._bytes <= MUCH_BYTES
            await desk.out()
            assert (desk._waiting, desk.lost) == ([], 0)

    asyncio.run(run())


def test_a_reply_that_cannot_be_sent_is_counted_and_the_connection_stays(nats_server):
    async def run():
        desk = Replies()
        await desk.give("_INBOX.test.a", b"without a connection")
        async with peer_of(nats_server) as nc:
            desk.nc = nc
            await desk.give("_INBOX.test.a", b"x" * (nc.max_payload + 1))
            await nc.flush()
            assert (desk.lost, nc.is_connected) == (2, True)
        await desk.give("_INBOX.test.a", b"the connection is closed")
        await desk.out()
        assert desk.lost == 3

    asyncio.run(run())


def test_answers_of_one_turn_all_leave_however_large_they_are_together(nats_server, monkeypatch):
    monkeypatch.setattr(replies, "MOST_BYTES", 10_000)

    async def run():
        async with peer_of(nats_server) as nc:
            desk = Replies()
            desk.nc = nc
            got = []
            all_there = asyncio.Event()

            async def take(msg):
                got.append(len(msg.data))
                if len(got) == 30:
                    all_there.set()

            await nc.subscribe("_INBOX.test.large", cb=take)
            await nc.flush()
            await asyncio.gather(*[desk.give("_INBOX.test.large", b"x" * 5000) for _ in range(30)])
            await asyncio.wait_for(all_there.wait(), 30)
            assert (got, desk.lost) == ([5000] * 30, 0)

    asyncio.run(run())


def test_who_cannot_wait_replies_no_more_while_too_much_waits(nats_server, monkeypatch):
    async def run():
        async with peer_of(nats_server) as nc:
            desk = Replies()
            desk.nc = nc
            monkeypatch.setattr(replies, "MOST_BYTES", 10_000)
            for _ in range(30):
                desk.refuse("_INBOX.test.a", b"x" * 1000)
            assert 0 < desk.lost < 30
            lost = desk.lost
            await desk.out()
            desk.refuse("_INBOX.test.a", b"x" * 1000)
            await desk.out()
            assert desk.lost == lost

    asyncio.run(run())
