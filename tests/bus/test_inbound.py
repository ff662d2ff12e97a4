import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import nats
import numpy as np
import orjson
import pytest
from fixtures_nats import ClientDouble, bridge_over, peer_of, stored_in, until
from nats.js.errors import NotFoundError

from bus import inbound
from bus.streams import EVENTS, INBOUND, MARKET_DATA
from contracts.errors import InvalidInput, Unavailable
from contracts.events import token
from contracts.frames import decode
from contracts.operations import OPERATIONS
from contracts.settings import Settings
from contracts.work import Priority
from store import ModelStore

REQUEST = "factor.in.risk.factor_request.factor_exposures"
APPEND = "factor.in.toraniko.model_request.append"
BODY = orjson.dumps({"portfolio_weights": {"A": 1.0}})

# A bridge in a process of its own, whose first computation is the death of it, after the write was done.
DYING = """
import asyncio, os, signal, sys
from pathlib import Path
from fixtures_nats import ClientDouble
from bus.bridge import Bridge
from contracts.settings import Settings

class Dying(ClientDouble):
    async def call(self, operation, request, **options):
        Path(sys.argv[2]).write_text(options["request_id"])
        os.kill(os.getpid(), signal.SIGKILL)

async def main():
    await Bridge(Settings(run_dir=Path(sys.argv[1])), Dying()).start()
    await asyncio.sleep(60)

asyncio.run(main())
"""


def day(n):
    return [{"date": f"2024-01-{n:02}", "symbol": "A", "asset_returns": 0.01}]


def bar(model, n):
    return orjson.dumps({"model_id": model, "rows": day(n)})


def appended(client):
    appends = [call.request for call in client.calls if call.operation == "append_day"]
    return [(request.model_id, decode(request.feature_data)["date"][0]) for request in appends]


def with_bridge(server, client, test, **changes):
    async def run():
        async with bridge_over(server, client, **changes) as bridge, peer_of(server) as nc:
            await test(bridge, nc, nc.jetstream())

    asyncio.run(run())


@pytest.fixture
def quick_retries(monkeypatch):
    monkeypatch.setattr(inbound, "RETRY_S", (0.05,))


def test_a_durable_request_is_computed_published_and_removed(own_server):
    client = ClientDouble()

    async def test(bridge, nc, js):
        ack = await js.publish(REQUEST, BODY)
        assert ack.stream == INBOUND
        await until(lambda: bridge.drainer.acknowledged == 1, "its result is in the event stream")
        assert [e.subject for e in await stored_in(nc, EVENTS)] == ["factor.portfolio_exposures.default"]

        async def empty():
            return (await js.stream_info(INBOUND)).state.messages == 0

        await until(empty, "the request was removed")

    with_bridge(own_server, client, test)
    assert [call.operation for call in client.calls] == ["factor_exposures"]


def test_the_sender_may_name_where_the_answer_goes(own_server):
    async def test(bridge, nc, js):
        answers = asyncio.Queue()

        async def take(msg):
            await answers.put(msg)

        await nc.subscribe("my.answers", cb=take)
        await js.publish(REQUEST, BODY, headers={"factor-reply-to": "my.answers"})
        await js.publish(REQUEST, b"{}", headers={"factor-reply-to": "my.answers"})
        got = [await asyncio.wait_for(answers.get(), 30) for _ in range(2)]
        assert sorted((m.headers or {}).get("status", "200") for m in got) == ["200", "422"]

    with_bridge(own_server, ClientDouble(), test)


def test_an_answer_that_does_not_fit_is_told_instead_of_kept(own_server):
    async def test(bridge, nc, js):
        answers = asyncio.Queue()

        async def take(msg):
            await answers.put(msg)

        await nc.subscribe("my.answers", cb=take)
        await js.publish(REQUEST, BODY, headers={"factor-reply-to": "my.answers"})
        told = await asyncio.wait_for(answers.get(), 30)
        assert told.headers["status"] == "413"
        assert bridge.durable.done == 1

    values = {f"N{i}": 1.0 for i in range(800_000)}
    with_bridge(own_server, ClientDouble(lambda *_: values), test)


def test_a_message_that_cannot_be_settled_ends_neither_the_others_nor_the_taking_of_more(own_server, monkeypatch):
    settle, at_work = inbound.Inbound._settle, asyncio.Event()

    async def sometimes(self, msg, *rest):
        if msg.headers and "poison" in msg.headers:
            await at_work.wait()
            raise KeyError("a defect of ours")
        return await settle(self, msg, *rest)

    monkeypatch.setattr(inbound.Inbound, "_settle", sometimes)

    async def slow():
        at_work.set()
        await asyncio.sleep(0.2)
        return {"market": 1.0}

    async def test(bridge, nc, js):
        await js.publish(REQUEST, BODY, headers={"poison": "yes"})
        await js.publish(REQUEST, BODY)
        await until(lambda: bridge.durable.done == 1, "the one that was computed meanwhile was answered")
        await js.publish(REQUEST, BODY)
        await until(lambda: bridge.durable.done == 2, "one that came later was, too")
        assert bridge.durable.taken == 2, "none was begun a second time"
        assert not bridge.errors

    with_bridge(own_server, ClientDouble(lambda *_: slow()), test)


def test_requests_sent_while_the_bridge_was_away_are_done_when_it_comes(own_server):
    client = ClientDouble()

    async def prepare():
        async with bridge_over(own_server, ClientDouble()):
            pass
        async with peer_of(own_server) as nc:
            for _ in range(5):
                await nc.jetstream().publish(REQUEST, BODY)

    async def test(bridge, nc, js):
        await until(lambda: bridge.durable.done == 5, "all five were done")

    asyncio.run(prepare())
    with_bridge(own_server, client, test)
    assert len(client.calls) == 5


def test_a_bridge_killed_after_the_write_repeats_it_with_the_same_request_id(own_server, tmp_path, monkeypatch):
    monkeypatch.setattr(inbound, "ACK_WAIT_S", 1.0)
    trace = tmp_path / "request_id"
    paths = os.pathsep.join([str(Path(__file__).parents[1]), str(Path(__file__).parents[2])])
    source = DYING.replace("from bus.bridge", "from bus import inbound\ninbound.ACK_WAIT_S = 1.0\nfrom bus.bridge")
    command = [sys.executable, "-c", source, str(own_server.run_dir), str(trace)]
    process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": paths})
    client = ClientDouble()

    async def run():
        async with peer_of(own_server) as nc:

            async def sent():
                try:
                    await nc.jetstream().publish(APPEND, orjson.dumps({"model_id": "m", "feature_data": day(2)}))
                except nats.js.errors.NoStreamResponseError:
                    return False
                return True

            await until(sent, "the stream took the request")
            assert await asyncio.to_thread(process.wait, 30) == -signal.SIGKILL
            async with bridge_over(own_server, client) as bridge:
                await until(lambda: bridge.durable.done == 1, "the next bridge did it")

    asyncio.run(run())
    # On a busy machine it may be handed out once more before the answer is there: again under the same id.
    assert {call.request_id for call in client.calls} == {trace.read_text()}


def test_what_can_never_be_computed_is_told_of_and_not_tried_again(own_server):
    async def test(bridge, nc, js):
        await js.publish(REQUEST, b"{", headers={"Nats-Msg-Id": "mine"})
        await js.publish("factor.in.risk.factor_request.nope", BODY)
        await until(lambda: bridge.drainer.acknowledged == 2, "both were told of")
        first, second = sorted(await stored_in(nc, EVENTS), key=lambda e: e.subject)
        told = orjson.loads(first.data)
        assert first.headers["ce-type"] == "FACTOR_REQUEST_REJECTED"
        assert told["subject"] == REQUEST
        assert told["problem"]["code"] == "malformed_body"
        assert "mine" in told["request_id"]
        assert orjson.loads(second.data)["problem"]["code"] == "unknown_operation"
        assert bridge.stats()["durable"] == {"taken": 2, "done": 0, "retried": 0, "rejected": 2}

    with_bridge(own_server, ClientDouble(), test)


def test_a_passing_fault_is_tried_again_until_it_works(own_server, quick_retries):
    failures = iter([Unavailable("starting"), Unavailable("starting")])

    def compute(operation, request):
        error = next(failures, None)
        if error is not None:
            raise error
        return {}

    async def test(bridge, nc, js):
        await js.publish(REQUEST, BODY)
        await until(lambda: bridge.durable.done == 1, "the third attempt worked")
        assert bridge.durable.retried == 2
        assert bridge.durable.rejected == 0

    client = ClientDouble(compute)
    with_bridge(own_server, client, test)
    assert len({call.request_id for call in client.calls}) == 1


def test_what_fails_for_ever_ends_as_a_rejection(own_server, quick_retries, monkeypatch):
    monkeypatch.setattr(inbound, "MAX_DELIVER", 3)

    def compute(operation, request):
        raise Unavailable("down for good")

    async def test(bridge, nc, js):
        await js.publish(REQUEST, BODY)
        await until(lambda: bridge.durable.rejected == 1, "it was given up")
        assert bridge.durable.retried == 2

    with_bridge(own_server, ClientDouble(compute), test)


def test_bars_of_a_model_are_appended_in_their_order(own_server):
    async def slow(operation, request):
        await asyncio.sleep(0)
        return {}

    client = ClientDouble(slow)

    async def test(bridge, nc, js):
        for n in range(1, 11):
            for model in ("a", "b"):
                ack = await js.publish("market_data.bar.A", bar(model, n))
                assert ack.stream == MARKET_DATA
        await until(lambda: bridge.bars.done == 20, "all bars were appended")

    with_bridge(own_server, client, test)
    for model in ("a", "b"):
        assert [d for m, d in appended(client) if m == model] == [f"2024-01-{n:02}" for n in range(1, 11)]


def test_a_bar_that_has_to_wait_keeps_the_later_ones_behind_it(own_server, quick_retries):
    failures = iter([Unavailable("starting")])

    def compute(operation, request):
        error = next(failures, None)
        if error is not None:
            raise error
        return {}

    client = ClientDouble(compute)

    async def prepare():
        async with bridge_over(own_server, ClientDouble()):
            pass
        async with peer_of(own_server) as nc:
            for n in range(1, 6):
                await nc.jetstream().publish("market_data.bar.A", bar("m", n))

    async def test(bridge, nc, js):
        await until(lambda: bridge.bars.done == 5, "all were appended")

    asyncio.run(prepare())
    with_bridge(own_server, client, test)
    assert [d for _, d in appended(client)] == [f"2024-01-{n:02}" for n in (1, 1, 2, 3, 4, 5)]


def test_writes_of_a_model_keep_their_order_and_do_not_hold_up_others(own_server):
    go = asyncio.Event()

    async def compute(operation, request):
        if request.model_id == "slow":
            await go.wait()
        return {}

    client = ClientDouble(compute)

    async def test(bridge, nc, js):
        for n in range(1, 6):
            await js.publish(APPEND, orjson.dumps({"model_id": "slow", "feature_data": day(n)}))
        await js.publish(APPEND, orjson.dumps({"model_id": "quick", "feature_data": day(1)}))
        await js.publish(REQUEST, BODY)
        await until(lambda: bridge.durable.done == 2, "the others were done")
        go.set()
        await until(lambda: bridge.durable.done == 7, "all were done")

    with_bridge(own_server, client, test)
    dates = [decode(c.request.feature_data)["date"][0] for c in client.calls if c.request.model_id == "slow"]
    assert dates == [f"2024-01-{n:02}" for n in range(1, 6)]


def test_bars_and_stored_requests_of_one_model_take_turns_also_where_the_default_one_is_meant(own_server):
    go, entered = asyncio.Event(), asyncio.Event()

    async def compute(operation, request):
        if operation == "append_day":
            entered.set()
            await go.wait()
        return {}

    client = ClientDouble(compute)

    async def test(bridge, nc, js):
        await js.publish("market_data.bar.A", orjson.dumps({"rows": day(1)}))
        await until(entered.is_set, "the first bar is being appended")
        await js.publish("market_data.bar.A", bar("main", 2))
        await js.publish(APPEND, orjson.dumps({"model_id": "main", "feature_data": day(3)}))
        await until(lambda: waiting(client, "main") == 3, "the others wait for their turns")
        assert len(appended(client)) == 1
        go.set()
        await until(lambda: bridge.bars.done == 2 and bridge.durable.done == 1, "all were done")

    with_bridge(own_server, client, test)
    assert sorted(appended(client)) == [("main", f"2024-01-{n:02}") for n in (1, 2, 3)]


def waiting(client, model):
    """How many writes of a model have or wait for their turn."""
    return client.order._users[OPERATIONS["append_day"].line(model)]


def test_a_bad_bar_is_told_of_and_the_next_goes_on(own_server):
    def compute(operation, request):
        if operation == "append_day" and decode(request.feature_data)["date"][0] == "2024-01-02":
            raise InvalidInput("the date is there already", field="date")
        return {}

    async def test(bridge, nc, js):
        await js.publish("market_data.bar.A", b"not json")
        await js.publish("market_data.bar.A", b'{"model_id": "m"}')
        await js.publish("market_data.bar.A", bar("m", 2))
        await js.publish("market_data.bar.A", bar("m", 3))
        await until(lambda: bridge.bars.done == 1 and bridge.bars.rejected == 3, "each had its end")

    with_bridge(own_server, ClientDouble(compute), test)


def test_a_bar_without_a_model_is_for_the_default_one(own_server):
    client = ClientDouble()

    async def test(bridge, nc, js):
        await js.publish("market_data.bar.A", orjson.dumps({"rows": day(1)}))
        await until(lambda: bridge.bars.done == 1, "it was appended")

    with_bridge(own_server, client, test)
    assert appended(client)[0][0] == "main"


def test_a_bar_without_a_model_is_for_the_one_that_its_subject_is_called_by(own_server):
    store = ModelStore(Settings(run_dir=own_server.run_dir).store_path)
    for name in ("tech", "a.b", "gone"):
        store.commit(name, small_state(), base=0, request_id=name, operation="create_model")
    store.delete("gone", request_id="ended")
    client = ClientDouble()

    async def test(bridge, nc, js):
        subjects = ["tech", token("a.b"), "gone", "other"]
        for n, last in enumerate(subjects, 1):
            await js.publish(f"market_data.bar.{last}", orjson.dumps({"rows": day(n)}))
        await js.publish("market_data.bar.tech", bar("m", 5))  # the body is what counts
        await until(lambda: bridge.bars.done == 5, "all were appended")

    with_bridge(own_server, client, test)
    assert sorted(appended(client)) == [
        ("a.b", "2024-01-02"), ("m", "2024-01-05"), ("main", "2024-01-03"), ("main", "2024-01-04"),
        ("tech", "2024-01-01"),
    ]  # fmt: skip


def small_state():
    """A model of one day and one name, as far as a store looks at it."""
    days = np.array(["2023-12-29"], dtype="datetime64[D]")
    return SimpleNamespace(dates=days, symbols=("A",), day_asset={"x": np.ones((1, 1))}, day={}, latest={}, meta={})


def test_behind_each_bar_the_library_of_its_model_is_updated(own_server):
    client = ClientDouble()

    async def test(bridge, nc, js):
        for n in (1, 2):
            await js.publish("market_data.bar.A", bar("m", n), headers={"factor-priority": "urgent"})
        await until(lambda: bridge.bars.done == 2, "both were appended")

    with_bridge(own_server, client, test)
    # A library that is not kept is asked twice: at once, and then in the lane of long requests.
    assert [call.operation for call in client.calls] == ["append_day", "update_factors", "update_factors"] * 2
    assert [call.request.wait for call in client.calls if call.operation == "update_factors"] == [False, True] * 2
    assert {call.request.model_id for call in client.calls} == {"m"}
    assert {call.priority for call in client.calls} == {Priority.URGENT}


def test_a_library_that_is_away_brings_the_bar_again_and_the_append_keeps_its_id(own_server, quick_retries):
    failures = iter([Unavailable("the library is starting")])

    def compute(operation, request):
        error = next(failures, None) if operation == "update_factors" else None
        if error is not None:
            raise error
        return {}

    client = ClientDouble(compute)

    async def test(bridge, nc, js):
        await js.publish("market_data.bar.A", bar("m", 1))
        await until(lambda: bridge.bars.done == 1, "the second attempt worked")

    with_bridge(own_server, client, test)
    assert [call.operation for call in client.calls] == ["append_day", "update_factors"] * 2 + ["update_factors"]
    assert len({call.request_id for call in client.calls}) == 1


def test_a_library_that_cannot_follow_is_told_of_with_the_version_that_the_bar_made(own_server):
    def compute(operation, request):
        if operation == "update_factors":
            raise InvalidInput("the day has no close", field="close")
        return {}

    async def test(bridge, nc, js):
        await js.publish("market_data.bar.A", bar("m", 1))
        await until(lambda: bridge.direct.published == 1, "the version is in the stream")
        await until(lambda: bridge.drainer.acknowledged == 1, "the rejection is in the stream")
        return [orjson.loads(e.data) for e in await stored_in(nc, EVENTS) if e.subject.startswith("factor.rejected")]

    async def run():
        async with bridge_over(own_server, ClientDouble(compute)) as bridge, peer_of(own_server) as nc:
            return await test(bridge, nc, nc.jetstream())

    (told,) = asyncio.run(run())
    assert told["problem"]["detail"].startswith("the bar is in version 3 of m, but the library did not follow")
    assert told["problem"]["field"] == "close"


def test_a_message_keeps_its_identity_over_deliveries_and_shares_it_with_no_other():
    def stored(stream, seq, when, headers=None):
        reply = f"$JS.ACK.{stream}.durable.1.{seq}.7.{when}.0"
        return nats.aio.msg.Msg(SimpleNamespace(), subject="s", reply=reply, headers=headers)

    one = stored("S", 5, 1_700_000_000_000_000_000)
    assert inbound.identity_of(one) == inbound.identity_of(stored("S", 5, 1_700_000_000_000_000_000))
    others = [stored("S", 6, 1_700_000_000_000_000_000), stored("S", 5, 1_700_000_001_000_000_000)]
    assert len({inbound.identity_of(m) for m in [one, *others]}) == 3


def test_the_consumers_live_on_without_the_bridge(own_server):
    async def run():
        async with bridge_over(own_server, ClientDouble()) as bridge, peer_of(own_server) as nc:
            await nc.jetstream().publish(REQUEST, BODY)
            await until(lambda: bridge.durable.done == 1, "it was done")
        async with peer_of(own_server) as nc:
            info = await nc.jetstream().consumer_info(INBOUND, "factor-engine-requests")
            assert info.num_pending == 0
            with pytest.raises(NotFoundError):
                await nc.jetstream().consumer_info(INBOUND, "somebody-else")

    asyncio.run(run())
