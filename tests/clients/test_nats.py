import asyncio

import pytest
from fixtures_nats import ClientDouble, bridge_over, until

from clients.nats import NatsEngine
from clients.surface import How
from contracts.access import NatsAccess
from contracts.errors import DeadlineExceeded, InvalidInput, Unavailable, UnknownOperation, UnknownSymbol, WrongEngine
from contracts.identity import engine_id
from contracts.learning_requests import DeleteEstimator
from contracts.requests import AppendDay, FactorExposures, ReduceUniverse
from contracts.work import Priority

WEIGHTS = FactorExposures(portfolio_weights={"A": 1.0}, portfolio_id="p")


def with_engine(server, client, test):
    async def run():
        async with bridge_over(server, client) as bridge, NatsEngine.of_run(server.run_dir) as engine:
            await test(bridge, engine)

    asyncio.run(run())


def test_a_typed_request_gets_a_typed_answer(nats_server):
    client = ClientDouble()

    async def test(bridge, engine):
        got = await engine.factor_exposures(WEIGHTS, How(timeout_s=3.0, request_id="r", priority="critical"))
        assert got.calculation_result.factor_exposures == {"market": 1.0}
        day = AppendDay(model_id="m", feature_data={"date": ["2024-01-02"], "symbol": ["A"], "x": [1.0]})
        assert (await engine.append_day(day)).model_version == 3

    with_engine(nats_server, client, test)
    call = client.calls[0]
    assert (call.request_id, call.priority) == ("r", Priority.CRITICAL)
    assert 0.0 < call.timeout_s <= 3.0  # reading the request counts


def test_the_engines_problem_is_raised_as_the_error_it_was(nats_server):
    def refuse(operation, request):
        raise UnknownSymbol("no symbol ZZZ", field="portfolio_weights", rows=["ZZZ"])

    async def test(bridge, engine):
        with pytest.raises(UnknownSymbol) as caught:
            await engine.factor_exposures(WEIGHTS)
        assert caught.value.rows == ["ZZZ"]

    with_engine(nats_server, ClientDouble(refuse), test)


def test_silence_absence_and_http_only_operations_are_told_apart(nats_server):
    async def hang(operation, request):
        await asyncio.Event().wait()

    async def test(bridge, engine):
        with pytest.raises(DeadlineExceeded):
            await engine.factor_exposures(WEIGHTS, How(timeout_s=0.05))
        with pytest.raises(UnknownOperation, match="HTTP only"):
            await engine.delete_estimator(DeleteEstimator(estimator_id="mine"))
        with pytest.raises(InvalidInput):
            await engine.factor_exposures(WEIGHTS, How(timeout_s=-1))

    async def nobody():
        async with NatsEngine.of_run(nats_server.run_dir) as engine:
            with pytest.raises(Unavailable, match="no factor engine answers"):
                await engine.factor_exposures(WEIGHTS)

    asyncio.run(nobody())
    with_engine(nats_server, ClientDouble(hang), test)


def test_a_server_that_is_not_there_is_told_without_its_password(tmp_path):
    async def connect():
        async def quiet(error):
            pass

        access = NatsAccess("nats://127.0.0.1:1", "me", "secret")
        with pytest.raises(Unavailable) as caught:
            async with NatsEngine(access, max_reconnect_attempts=1, error_cb=quiet, reconnect_time_wait=0.01):
                pass
        assert "secret" not in str(caught.value)

    asyncio.run(connect())
    with pytest.raises(Unavailable, match="no NATS server"):
        NatsEngine.of_run(tmp_path)


def test_a_durable_request_is_done_once_however_often_it_is_sent(own_server):
    client = ClientDouble()

    async def test(bridge, engine):
        for _ in range(3):
            assert await engine.send_durably("factor_exposures", WEIGHTS, How(request_id="same")) == "same"
        other = await engine.send_durably("factor_exposures", WEIGHTS)
        await until(lambda: bridge.durable.done == 2, "two were done")
        assert {call.request_id for call in client.calls} == {"same", other}

    with_engine(own_server, client, test)
    assert len(client.calls) == 2


def test_events_are_followed_as_they_come(own_server):
    async def test(bridge, engine):
        async with engine.events() as events:
            got = await engine.factor_exposures(WEIGHTS)
            async with asyncio.timeout(30):
                event = await anext(events)
                while event.subject == "factor.health_metrics":  # told each second
                    event = await anext(events)
            assert event.subject == "factor.portfolio_exposures.p"
            assert event.type == "FACTOR_EXPOSURE"
            assert event.sequence == 1
            assert event.data["calculation_id"] == got.calculation_result.calculation_id

    with_engine(own_server, ClientDouble(), test)


def test_on_a_server_that_engines_share_a_request_is_done_by_the_one_that_it_is_for(nats_server):
    async def run():
        client = ClientDouble()
        async with bridge_over(nats_server, client):
            async with NatsEngine(nats_server.access, "0" * 32) as other:
                with pytest.raises(WrongEngine, match="0" * 32):
                    await other.reduce_universe(ReduceUniverse(model_id="m", top_n=7))
            assert client.calls == []
            async with NatsEngine.of_run(nats_server.run_dir) as ours:
                assert ours.engine_id == engine_id(nats_server.run_dir)
                await ours.reduce_universe(ReduceUniverse(model_id="m", top_n=7))
        assert len(client.calls) == 1

    asyncio.run(run())


def test_a_watch_that_is_left_behind_ends_quietly_when_the_connection_is_gone(nats_server):
    async def run():
        async with NatsEngine.of_run(nats_server.run_dir) as engine:
            values = engine.watch("left")
            first = asyncio.ensure_future(anext(values))
            while not first.done():  # until the watch listens
                await engine.connection.publish("factor.live.left", b"{}", headers={"factor-sequence": "7"})
                await asyncio.wait([first], timeout=0.05)
            assert first.result().sequence == 7
        await values.aclose()  # what the loop does for a loop of values that was broken off

    asyncio.run(run())
