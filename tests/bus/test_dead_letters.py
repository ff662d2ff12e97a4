"""What cannot be computed is kept, can be read, and can be sent again; a poison message ends nothing."""

import asyncio

import orjson
import pytest
from fixtures_nats import ClientDouble, bridge_over, peer_of, stored_in, until

from bus import inbound
from bus.streams import DEAD, EVENTS, INBOUND, MARKET_DATA
from bus.wire import publish_all
from contracts.errors import Unavailable

REQUEST = "factor.in.risk.factor_request.factor_exposures"
BODY = orjson.dumps({"portfolio_weights": {"A": 1.0}, "portfolio_id": "p"})


def with_bridge(server, client, test):
    async def run():
        async with bridge_over(server, client) as bridge, peer_of(server) as nc:
            await test(bridge, nc, nc.jetstream())

    asyncio.run(run())


async def letters(bridge, count):
    async def there():
        return len((await bridge.operator.ask("dead_letters", {"after": 0, "limit": 50}))["dead_letters"]) == count

    await until(there, f"{count} letters are kept")
    return (await bridge.operator.ask("dead_letters", {"after": 0, "limit": 50}))["dead_letters"]


POISON = [
    (b"\xff\xfe not json", {}, "malformed_body"),
    (b'{"portfolio_weights": {"A": "much"}}', {}, "invalid_input"),
    (b"[" * 3000, {}, "malformed_body"),
    (BODY, {"factor-priority": "soon"}, "invalid_input"),
    (BODY, {"factor-timeout-ms": "-1"}, "invalid_input"),
    # Headers that would make the stream of dead letters refuse them.
    (b"{", {"Nats-Expected-Stream": "FACTOR_IN", "x-own": "kept"}, "malformed_body"),
]


def test_poison_messages_become_dead_letters_and_the_next_is_done(own_server):
    async def test(bridge, nc, js):
        for body, headers, _ in POISON:
            await js.publish(REQUEST, body, headers=headers or None)
        await js.publish("factor.in.nothing.of.ours", b"{}")
        await js.publish(REQUEST, BODY)
        await until(lambda: bridge.durable.done == 1, "the sound one was done")
        found = await letters(bridge, len(POISON) + 1)
        assert sorted(row["code"] for row in found) == sorted([*(code for *_, code in POISON), "unknown_operation"])
        assert all(row["deliveries"] == 1 and row["detail"] for row in found)
        own = next(row for row in found if row["bytes"] == 1)
        whole = await bridge.operator.ask("dead_letter", {"number": own["id"]})
        assert whole["headers"] == {"x-own": "kept"}
        assert whole["body"] == "{"
        binary = next(row for row in found if row["bytes"] == len(POISON[0][0]))
        assert "body_base64" in await bridge.operator.ask("dead_letter", {"number": binary["id"]})

        async def empty():
            return (await js.stream_info(INBOUND)).state.messages == 0

        await until(empty, "the queue is empty")

    with_bridge(own_server, ClientDouble(), test)


def test_a_letter_is_sent_again_once_and_is_gone_then(own_server, monkeypatch):
    monkeypatch.setattr(inbound, "MAX_DELIVER", 2)
    monkeypatch.setattr(inbound, "RETRY_S", (0.05,))
    down = True

    def compute(_operation, _request):
        if down:
            raise Unavailable("the actor is away")
        return {"market": 1.0}

    async def test(bridge, nc, js):
        nonlocal down
        await js.publish(REQUEST, BODY, headers={"factor-request-id": "mine", "factor-reply-to": "my.answers"})
        (row,) = await letters(bridge, 1)
        assert (row["subject"], row["code"], row["deliveries"]) == (REQUEST, "unavailable", 2)
        answers = await nc.subscribe("my.answers")
        down = False
        sent = await asyncio.gather(*(bridge.operator.ask("resend", {"number": row["id"]}) for _ in range(2)))
        assert any(one.get("stream") == INBOUND for one in sent)
        await answers.next_msg(30)
        await until(lambda: bridge.durable.done == 1, "it was done, under its own id")
        assert [call.request_id for call in client.calls][-1] == "mine"
        assert await letters(bridge, 0) == []
        again = await bridge.operator.ask("resend", {"number": row["id"]})
        assert again["problem"]["code"] == "unknown_letter"
        assert bridge.durable.done == 1

    client = ClientDouble(compute)
    with_bridge(own_server, client, test)


def test_what_a_sender_wrote_into_headers_hides_no_letter(own_server):
    # The first names a header that no client can send on; the second says of the letter what only we say.
    odd = [b"a(b: c", b"factor-dead-bytes-cut: abc", b"Factor-Dead-Subject: market_data.bar.m", "who: Jürgen".encode()]

    async def test(bridge, nc, js):
        head = b"NATS/1.0\r\n" + b"".join(line + b"\r\n" for line in odd) + b"\r\n"
        await publish_all(nc, [b"HPUB %b %d %d\r\n%b{\r\n" % (REQUEST.encode(), len(head), len(head) + 1, head)])
        (row,) = await letters(bridge, 1)
        assert (row["subject"], row["bytes"], row["code"]) == (REQUEST, 1, "malformed_body")
        whole = await bridge.operator.ask("dead_letter", {"number": row["id"]})
        assert whole["headers"] == {"who": "Jürgen"}
        sent = await bridge.operator.ask("resend", {"number": row["id"]})
        assert (sent["subject"], sent["stream"]) == (REQUEST, INBOUND)
        await until(lambda: bridge.durable.rejected == 2, "it was refused a second time")
        (again,) = await letters(bridge, 1)
        whole = await bridge.operator.ask("dead_letter", {"number": again["id"]})
        assert whole["headers"] == {"who": "Jürgen"}

    with_bridge(own_server, ClientDouble(), test)


def test_a_letter_of_before_with_its_senders_header_is_listed(own_server):
    async def test(bridge, nc, js):
        headers = {"factor-dead-subject": REQUEST, "factor-dead-bytes-cut": "abc", "factor-dead-deliveries": "1"}
        await js.publish("_factor_dead.letter", b"{", headers=headers)
        (row,) = await letters(bridge, 1)
        assert (row["subject"], row["bytes"], row["deliveries"]) == (REQUEST, 1, 1)

    with_bridge(own_server, ClientDouble(), test)


@pytest.mark.parametrize("group", ["factor.in.risk.factor_request.", "market_data.bar."])
def test_a_subject_that_is_longer_as_a_token_than_the_server_takes_ends_no_connection(own_server, group):
    subject = group + "ü" * 1900

    async def test(bridge, nc, js):
        await publish_all(nc, [b"PUB %b 1\r\n{\r\n" % subject.encode()])
        (row,) = await letters(bridge, 1)
        assert row["subject"] == subject
        await until(lambda: bridge.drainer.acknowledged == 1, "it was told of")
        (told,) = await stored_in(nc, EVENTS)
        assert told.subject.startswith("factor.rejected.")
        assert len(told.subject) < 600
        assert orjson.loads(told.data)["subject"] == subject
        refused = await bridge.operator.ask("resend", {"number": row["id"]})
        assert (refused["problem"]["code"], refused["problem"]["field"]) == ("invalid_input", "letter_id")
        assert bridge.connections == 1

    with_bridge(own_server, ClientDouble(), test)


def test_an_answer_goes_to_no_subject_that_the_server_would_not_take(own_server):
    async def test(bridge, nc, js):
        await js.publish(REQUEST, BODY, headers={"factor-reply-to": "a" * 4200})
        await js.publish(REQUEST, BODY, headers={"factor-reply-to": "my.answers"})
        await until(lambda: bridge.durable.done == 2, "both are done")

        async def empty():
            return (await js.stream_info(INBOUND)).state.messages == 0

        await until(empty, "the queue is empty")
        assert bridge.connections == 1

    with_bridge(own_server, ClientDouble(), test)


def test_a_bar_that_cannot_be_read_is_kept_too(own_server):
    async def test(bridge, nc, js):
        await js.publish("market_data.bar.main", b"no bar")
        (row,) = await letters(bridge, 1)
        assert row["subject"] == "market_data.bar.main"
        sent = await bridge.operator.ask("resend", {"number": row["id"]})
        assert sent["stream"] == MARKET_DATA

    with_bridge(own_server, ClientDouble(), test)


def test_while_the_stream_takes_no_letter_the_message_stays_in_its_queue(own_server, monkeypatch):
    monkeypatch.setattr(inbound, "RETRY_S", (0.05,))

    async def test(bridge, nc, js):
        config = (await js.stream_info(DEAD)).config
        await js.update_stream(config.evolve(max_msg_size=1))
        await js.publish(REQUEST, b"{")
        await until(lambda: bridge.durable.taken > 2, "it came again")
        assert len(await stored_in(nc, INBOUND)) == 1
        await js.update_stream(config)
        await letters(bridge, 1)
        assert bridge.durable.rejected == 1

    with_bridge(own_server, ClientDouble(), test)


def test_letters_are_listed_by_pages_and_an_unknown_one_is_told(own_server):
    async def test(bridge, nc, js):
        for _ in range(5):
            await js.publish(REQUEST, b"{")
        rows = await letters(bridge, 5)
        first = await bridge.operator.ask("dead_letters", {"after": 0, "limit": 3})
        second = await bridge.operator.ask("dead_letters", {"after": first["last"], "limit": 3})
        assert [*first["dead_letters"], *second["dead_letters"]] == rows
        assert (await bridge.operator.ask("dead_letter", {"number": 10_000}))["problem"]["code"] == "unknown_letter"

    with_bridge(own_server, ClientDouble(), test)


@pytest.mark.parametrize("after", [0, 3])
def test_a_reader_that_was_away_gets_the_stored_events_from_its_place_on(own_server, after):
    async def test(bridge, nc, js):
        for number in range(6):
            body = orjson.dumps({"portfolio_weights": {"A": 1.0}, "portfolio_id": f"p{number % 2}"})
            await nc.request("risk.factor_request.factor_exposures", body, timeout=30)
        await until(lambda: bridge.drainer.acknowledged == 6, "they are stored")
        ask = {"after": after, "limit": 2, "subject": "factor.portfolio_exposures.p1"}
        seen = []
        while page := await bridge.operator.ask("events", ask):
            seen += page["events"]
            ask["after"] = page["last"]
            if not page["events"]:
                break
        stored = await stored_in(nc, "FACTOR_EVENTS")
        wanted = [e.headers["ce-id"] for e in stored[after:] if e.subject.endswith(".p1")]
        assert [row["headers"]["ce-id"] for row in seen] == wanted
        assert not page["missed"]
        await js.purge_stream("FACTOR_EVENTS", seq=5)
        assert (await bridge.operator.ask("events", {**ask, "after": 1}))["missed"] is True

    with_bridge(own_server, ClientDouble(), test)
