"""Answers over NATS that are tables, and answers that are larger than a message."""

import asyncio
import io

import orjson
import polars as pl
import pytest
from fixtures_nats import ClientDouble, bridge_over, peer_of, until

from bus import spool
from clients.nats import NatsEngine
from contracts.answer_table import ArrowValues
from contracts.errors import AnswerGone, BodyTooLarge, EngineError, NotAcceptable
from contracts.frames import ARROW_STREAM
from contracts.learning_requests import Dataset, FactorFeatures
from contracts.requests import EvaluateFormula, ModelRef

LARGE = {f"N{i:06d}": i + 0.5 for i in range(600_000)}
"""As JSON more than the 8 MiB of a message."""
SUBJECT = "ml.factor_features.features"


def run_with(server, compute, test):
    async def run():
        async with (
            bridge_over(server, ClientDouble(compute)) as bridge,
            peer_of(server) as nc,
            NatsEngine.of_run(server.run_dir) as engine,
        ):
            await test(bridge, nc, engine)

    asyncio.run(run())


def test_a_table_comes_as_arrow_to_who_asks_and_says_the_rest_in_a_header(nats_server):
    values = {"A": {"beta": 1.0, "size": None}, "B": {"beta": 2.0, "size": -0.5}}

    async def test(_bridge, nc, engine):
        made = await engine.table("factor_features", FactorFeatures(model_id="m"))
        frame = pl.read_ipc_stream(io.BytesIO(made.stream))
        assert frame.to_dict(as_series=False) == {"symbol": ["A", "B"], "beta": [1.0, 2.0], "size": [None, -0.5]}
        assert made.answer["calculation_result"]["factor_type"] == "factor_features"
        with pytest.raises(NotAcceptable):
            await engine.table("model_status", ModelRef(model_id="m"))
        both = {"Accept": f"application/json, {ARROW_STREAM};q=0"}
        reply = await nc.request(SUBJECT, b'{"model_id": "m"}', timeout=30, headers=both)
        assert orjson.loads(reply.data)["calculation_result"]["factor_values"] == values

    run_with(nats_server, lambda *_: values, test)


def test_an_answer_over_the_limit_is_fetched_in_parts_whole(nats_server):
    async def test(bridge, _nc, engine):
        answer = await engine.evaluate_formula(EvaluateFormula(formula="close", model_id="m"))
        assert answer.calculation_result.factor_values == LARGE
        assert bridge.spool.kept == 1
        made = await engine.table("evaluate_formula", EvaluateFormula(formula="close", model_id="m"))
        assert len(made.stream) > nats_server_limit(engine)
        frame = pl.read_ipc_stream(io.BytesIO(made.stream))
        assert dict(frame.iter_rows()) == LARGE

    run_with(nats_server, lambda *_: LARGE, test)


def nats_server_limit(engine):
    return engine.connection.max_payload


def test_who_does_not_take_parts_is_told_how_to(nats_server):
    async def test(_bridge, nc, _engine):
        reply = await nc.request("ml.factor_features.predict", b'{"estimator_id": "e", "model_id": "m"}', timeout=30)
        problem = orjson.loads(reply.data)
        assert isinstance(EngineError.from_problem(problem), BodyTooLarge)
        assert "factor-parts: yes" in problem["detail"]

    run_with(nats_server, lambda *_: LARGE, test)


def test_a_part_may_be_asked_for_again_and_an_answer_that_is_not_there_is_gone(nats_server, monkeypatch):
    async def test(_bridge, nc, _engine):
        asked = {spool.PARTS_HEADER: "yes"}
        body = b'{"formula": "close", "model_id": "m"}'
        first = await nc.request("ml.factor_features.predict", b'{"estimator_id": "e"}', timeout=30, headers=asked)
        place = {spool.ID_HEADER: first.headers[spool.ID_HEADER], spool.OFFSET_HEADER: "1000"}
        parts = [await nc.request(SUBJECT, body, timeout=30, headers=place) for _ in range(2)]
        assert parts[0].data == parts[1].data
        assert parts[0].data[:1000] == first.data[1000:2000]
        for wrong in ("0" * 32, "../../etc/passwd", "x"):
            reply = await nc.request(SUBJECT, b"", timeout=30, headers={spool.ID_HEADER: wrong})
            assert isinstance(EngineError.from_problem(orjson.loads(reply.data)), AnswerGone)
        odd = {**place, spool.OFFSET_HEADER: "-1"}
        reply = await nc.request(SUBJECT, b"", timeout=30, headers=odd)
        assert orjson.loads(reply.data)["field"] == spool.OFFSET_HEADER
        monkeypatch.setattr(spool, "KEPT_S", -1.0)  # what is there is old by now
        await nc.request("ml.factor_features.predict", b'{"estimator_id": "e"}', timeout=30, headers=asked)
        reply = await nc.request(SUBJECT, b"", timeout=30, headers=place)
        assert isinstance(EngineError.from_problem(orjson.loads(reply.data)), AnswerGone)

    run_with(nats_server, lambda *_: LARGE, test)


def test_a_table_that_an_actor_made_goes_out_as_it_is_and_its_event_without_it(own_server):
    frame = pl.DataFrame({"date": ["d"] * 3, "x": [1.0, None, 3.0]})

    async def test(bridge, nc, engine):
        heard = await nc.subscribe("factor.library.dataset")
        made = await engine.table("dataset", Dataset(model_id="m"))
        assert pl.read_ipc_stream(io.BytesIO(made.stream)).equals(frame)
        answer = await engine.dataset(Dataset(model_id="m"))
        assert answer.calculation_result.factor_values == {"date": ["d"] * 3, "x": [1.0, None, 3.0]}
        event = orjson.loads((await heard.next_msg(timeout=30)).data)
        assert event["values_omitted"] is True
        assert "factor_values" not in event
        await until(lambda: bridge.drainer.acknowledged == 2, "both events are in the stream")

    run_with(own_server, lambda *_: ArrowValues.of(frame), test)


def test_a_durable_request_is_answered_in_the_form_that_it_asks_for(own_server):
    async def test(_bridge, nc, _engine):
        inbox = nc.new_inbox()
        heard = await nc.subscribe(inbox)
        await nc.flush()
        headers = {"factor-reply-to": inbox, "Accept": ARROW_STREAM}
        body = orjson.dumps({"portfolio_weights": {"A": 1.0}, "model_id": "m"})
        await nc.jetstream().publish("factor.in.risk.factor_request.factor_exposures", body, headers=headers)
        reply = await heard.next_msg(timeout=30)
        frame = pl.read_ipc_stream(io.BytesIO(reply.data))
        assert frame.to_dict(as_series=False) == {"factor": ["market"], "value": [1.0]}

    run_with(own_server, lambda *_: {"market": 1.0}, test)
