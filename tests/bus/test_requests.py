import asyncio
from types import SimpleNamespace

import orjson
import pytest
from fixtures_nats import ClientDouble, bridge_over, peer_of, stored_in, until

from bus.reader import HERE_BYTES
from bus.requests import read_headers
from bus.streams import EVENTS
from contracts.errors import InvalidInput, UnknownSymbol
from contracts.operations import OPERATIONS, by_subject
from contracts.work import Priority

SUBJECT = "risk.factor_request.factor_exposures"
APPEND = "toraniko.model_request.append"
BODY = orjson.dumps({"portfolio_weights": {"A": 1.0}})


async def ask(nc, subject=SUBJECT, body=BODY, headers=None):
    reply = await nc.request(subject, body, timeout=30, headers=headers)
    return SimpleNamespace(headers=reply.headers, **orjson.loads(reply.data))


def with_bridge(server, client, test, **changes):
    async def run():
        async with bridge_over(server, client, **changes) as bridge, peer_of(server) as nc:
            await test(bridge, nc)

    asyncio.run(run())


def body_for(operation):
    """The row's own example, of a model that is named."""
    named = {"model_id": "m"} if "model_id" in operation.request.model_fields else {}
    return orjson.dumps({**operation.example, **named})


def test_every_request_subject_is_answered_and_its_result_published(own_server):
    async def test(bridge, nc):
        for subject, operation in by_subject().items():
            got = await ask(nc, subject, body_for(operation))
            assert got.headers is None, subject
            assert got.success, subject
            assert bridge.desk.endpoints[subject].requests == 1
        expected = sum(len(operation.events) for operation in by_subject().values())
        await until(lambda: bridge.drainer.acknowledged == expected, "all events are in the stream")
        events = await stored_in(nc, EVENTS)
        assert len(events) == expected
        assert all(e.headers["ce-subject"] == e.subject and e.headers["ce-id"] for e in events)
        # Each subject has a line of its own: its events stand in the order in which they were made.
        numbers = [int(e.headers["ce-sequence"]) for e in events]
        assert sorted(numbers) == list(range(1, expected + 1))
        for subject in {e.subject for e in events}:
            of_it = [number for e, number in zip(events, numbers, strict=True) if e.subject == subject]
            assert of_it == sorted(of_it), subject

    client = ClientDouble()
    with_bridge(own_server, client, test)
    assert [call.operation for call in client.calls] == [operation.name for operation in by_subject().values()]


def test_the_subject_may_name_the_portfolio(nats_server):
    client = ClientDouble()

    async def test(bridge, nc):
        await ask(nc, "portfolio.factor_exposure.BRK=2EB")
        await ask(
            nc,
            "portfolio.factor_exposure.other",
            orjson.dumps({"portfolio_weights": {"A": 1.0}, "portfolio_id": "mine"}),
        )

    with_bridge(nats_server, client, test)
    assert [call.request.portfolio_id for call in client.calls] == ["BRK.B", "mine"]


def test_a_null_in_the_body_does_not_take_the_name_from_the_subject(nats_server):
    client = ClientDouble()

    async def test(bridge, nc):
        await ask(nc, "toraniko.model_request.mine", orjson.dumps({"model_id": None}))
        await ask(nc, "portfolio.factor_exposure.book", orjson.dumps({"portfolio_id": None, "model_id": None}))

    with_bridge(nats_server, client, test)
    assert client.calls[0].request.model_id == "mine"
    assert client.calls[1].request.portfolio_id == "book"


@pytest.mark.parametrize(
    ("subject", "body", "status", "code", "field"),
    [
        (SUBJECT, b"{", 400, "malformed_body", "body"),
        (SUBJECT, b"[1]", 400, "malformed_body", "body"),
        (SUBJECT, b"\xff\xfe", 400, "malformed_body", "body"),
        (SUBJECT, b"", 422, "invalid_input", "portfolio_weights"),
        (SUBJECT, b'{"portfolio_weights": {"A": "x"}}', 422, "invalid_input", "portfolio_weights.A"),
        (SUBJECT, b'{"portfolio_weights": {"A": NaN}}', 422, "invalid_input", "portfolio_weights.A"),
        (SUBJECT, b"[" * 100_000, 400, "malformed_body", "body"),
        ("risk.factor_request.nope", BODY, 404, "unknown_operation", "subject"),
        (APPEND, b'{"model_id": "m", "feature_data": []}', 422, "invalid_input", "feature_data"),
    ],
)
def test_bad_input_gets_a_problem_document(nats_server, subject, body, status, code, field):
    client = ClientDouble()

    async def test(bridge, nc):
        got = await ask(nc, subject, body)
        assert (got.status, got.code, got.field) == (status, code, field)
        assert got.headers["Nats-Service-Error-Code"] == got.headers["status"] == str(status)
        assert got.headers["Content-Type"] == "application/problem+json"
        assert bridge.desk.problems == 1

    with_bridge(nats_server, client, test)
    assert not client.calls


def test_a_bad_header_is_named(nats_server):
    async def test(bridge, nc):
        got = await ask(nc, headers={"factor-timeout-ms": "soon"})
        assert (got.status, got.field) == (422, "factor-timeout-ms")
        got = await ask(nc, headers={"factor-timeout-ms": "100000000"})
        assert "below 86,400,000" in got.detail
        got = await ask(nc, headers={"factor-priority": "asap"})
        assert (got.status, got.field) == (422, "factor-priority")

    with_bridge(nats_server, ClientDouble(), test)


def test_headers_give_priority_deadline_and_request_id():
    headers = {"factor-priority": "critical", "factor-timeout-ms": "250", "factor-request-id": "r"}
    assert read_headers(headers) == (Priority.CRITICAL, 0.25, "r")
    assert read_headers({"other": "x"}) == (None, None, None)
    for bad in ("0", "-1", "nan", "inf", "1e99"):
        with pytest.raises(InvalidInput):
            read_headers({"factor-timeout-ms": bad})
    with pytest.raises(InvalidInput):
        read_headers({"factor-request-id": "x" * 129})


def test_a_problem_of_the_actor_reaches_the_requester_whole(nats_server):
    def refuse(operation, request):
        raise UnknownSymbol("no symbol ZZZ", field="portfolio_weights", rows=["ZZZ"])

    async def test(bridge, nc):
        got = await ask(nc)
        assert (got.status, got.code, got.rows) == (422, "unknown_symbol", ["ZZZ"])

    with_bridge(nats_server, ClientDouble(refuse), test)


def test_a_defect_of_ours_shows_no_traceback(nats_server, caplog):
    def fail(operation, request):
        return {}["secret detail"]

    async def test(bridge, nc):
        got = await ask(nc)
        assert (got.status, got.code) == (500, "internal")
        assert "secret" not in got.detail
        assert got.detail.split()[2].rstrip(";") in caplog.text
        assert "secret detail" in caplog.text

    with_bridge(nats_server, ClientDouble(fail), test)


def test_requests_run_at_the_same_time_on_one_subject(nats_server):
    at_once = 20
    meeting = {}

    async def meet(operation, request):
        # Nobody leaves before all are here: one after another they would wait for ever.
        barrier = meeting.setdefault("barrier", asyncio.Barrier(at_once))
        async with asyncio.timeout(15):
            await barrier.wait()
        return {"market": 1.0}

    async def test(bridge, nc):
        answers = await asyncio.gather(*(ask(nc) for _ in range(at_once)))
        assert all(got.success for got in answers)
        assert len({got.calculation_result["calculation_id"] for got in answers}) == at_once

    with_bridge(nats_server, ClientDouble(meet), test)


def test_one_request_too_many_is_refused_at_once_and_the_others_are_answered(nats_server):
    async def run():
        go = asyncio.Event()

        async def wait(operation, request):
            await go.wait()
            return {}

        subjects = OPERATIONS["factor_exposures"].subjects
        assert len({subject.partition(".")[0] for subject in subjects}) == 2
        async with bridge_over(nats_server, ClientDouble(wait), bridge_limit=2) as bridge, peer_of(nats_server) as nc:
            held = [asyncio.create_task(ask(nc, subject=subject)) for subject in subjects]
            await until(lambda: bridge.desk.in_work == 2, "two are in work")
            got = await ask(nc)
            assert (got.status, got.code, got.retryable) == (429, "queue_full", True)
            assert got.retry_after_s > 0
            assert bridge.desk.refused == 1
            go.set()
            assert all(answer.success for answer in await asyncio.gather(*held))

    asyncio.run(run())


def test_a_flood_of_one_peer_leaves_the_others_their_places(nats_server):
    async def run():
        go = asyncio.Event()

        async def wait(operation, request):
            await go.wait()
            return {}

        async with bridge_over(nats_server, ClientDouble(wait), bridge_limit=8) as bridge, peer_of(nats_server) as nc:
            flood = [asyncio.create_task(ask(nc)) for _ in range(20)]
            await until(lambda: bridge.desk.refused == 16, "what is over its half is refused")
            others = [asyncio.create_task(ask(nc, subject="portfolio.factor_exposure.exposure")) for _ in range(4)]
            await until(lambda: bridge.desk.in_work == 8, "the others are in work")
            go.set()
            assert all(answer.success for answer in await asyncio.gather(*others))
            got = await asyncio.gather(*flood)
            assert sum(answer.get("success", False) for answer in map(vars, got)) == 4
            assert {answer.code for answer in got if not hasattr(answer, "success")} == {"queue_full"}
            flood = [asyncio.create_task(ask(nc)) for _ in range(4)]
            assert all(answer.success for answer in await asyncio.gather(*flood)), "its places are free again"

    asyncio.run(run())


def test_a_bridge_that_leaves_answers_what_was_sent_to_it_and_nothing_is_dropped(nats_server):
    """Another bridge stays: of a queue group's last member the server itself may drop what comes as it leaves."""

    async def run():
        async with (
            bridge_over(nats_server, ClientDouble(), bridge_limit=4000) as leaving,
            bridge_over(nats_server, ClientDouble(), bridge_limit=4000) as staying,
            peer_of(nats_server) as nc,
        ):
            first = [asyncio.create_task(ask(nc)) for _ in range(1000)]
            while not leaving.desk.requests:  # noqa: ASYNC110  no pause: the others wait or are on their way
                await asyncio.sleep(0)
            left = asyncio.create_task(leaving.desk.leave(30.0))
            later = [asyncio.create_task(ask(nc)) for _ in range(1000)]
            await left
            assert all(got.success for got in await asyncio.gather(*first, *later))
            before = leaving.desk.requests
            assert before + staying.desk.requests == 2000
            assert (await ask(nc)).success
            assert (leaving.desk.requests, staying.desk.requests) == (before, 2001 - before)

    asyncio.run(run())


def test_a_request_without_a_reply_inbox_is_computed_once_published_and_counted(own_server):
    client = ClientDouble()

    async def test(bridge, nc):
        await nc.publish(SUBJECT, BODY)
        await nc.publish(SUBJECT, b"{")
        await until(lambda: bridge.drainer.acknowledged == 1 and bridge.desk.problems == 1, "both are done")
        assert bridge.stats()["without_reply"] == 2
        assert len(await stored_in(nc, EVENTS)) == 1

    with_bridge(own_server, client, test)
    assert len(client.calls) == 1


def test_a_large_body_is_read_off_the_event_loop(nats_server):
    client = ClientDouble()
    rows = HERE_BYTES // 10
    frame = {"date": ["2024-01-02"] * rows, "symbol": [f"S{i}" for i in range(rows)], "x": [1.0] * rows}

    async def test(bridge, nc):
        got = await ask(nc, APPEND, orjson.dumps({"model_id": "m", "feature_data": frame}))
        assert got.success
        frame["x"][3] = True
        got = await ask(nc, APPEND, orjson.dumps({"model_id": "m", "feature_data": frame}))
        assert (got.status, got.field, got.rows) == (422, "feature_data.x", [3])

    with_bridge(nats_server, client, test)
    assert len(client.calls) == 1


def test_an_answer_that_nats_cannot_carry_says_so(nats_server):
    async def test(bridge, nc):
        got = await ask(nc)
        assert (got.status, got.code) == (413, "body_too_large")

    with_bridge(nats_server, ClientDouble(lambda o, p: {"big": "x" * 9 * 2**20}), test)


def test_only_the_engines_in_the_settings_are_answered(nats_server):
    async def test(bridge, nc):
        assert (await ask(nc)).success
        await until(lambda: bridge.desk.requests == 1, "the request was counted")
        sub = await nc.subscribe("ml.factor_features.features", cb=answer_as_other)
        got = await nc.request("ml.factor_features.features", BODY, timeout=30)
        assert got.data == b"other"
        await sub.unsubscribe()
        assert bridge.desk.requests == 1

    async def answer_as_other(msg):
        await msg.respond(b"other")

    with_bridge(nats_server, ClientDouble(), test, subscribe_to_engines=("risk",))


def test_two_bridges_share_the_requests(own_server, tmp_path):
    first, second = ClientDouble(), ClientDouble()

    async def run():
        async with (
            bridge_over(own_server, first),
            bridge_over(own_server, second),
            peer_of(own_server) as nc,
        ):
            for _ in range(60):
                await ask(nc)

    asyncio.run(run())
    assert len(first.calls) + len(second.calls) == 60
    assert first.calls
    assert second.calls


def test_the_table_has_an_operation_for_each_group_that_the_design_promises():
    promised = {"factor_exposures", "style_factors", "signals", "features", "exposure", "status"}
    assert promised <= {subject.rpartition(".")[2] for subject in by_subject()}
    assert set(OPERATIONS) >= {operation.name for operation in by_subject().values()}
