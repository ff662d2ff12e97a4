import asyncio
from types import SimpleNamespace

import orjson
import pytest
from fixtures_nats import ClientDouble
from pydantic import BaseModel

from bus.face import EVENT_LIMIT_BYTES, Face
from bus.outbox import Outbox
from contracts.answers import Page
from contracts.errors import DeadlineExceeded, InvalidInput, MalformedBody, UnknownModel
from contracts.frames import decode
from contracts.operations import OPERATIONS
from contracts.work import Priority, WorkResult

EXPOSURES = OPERATIONS["factor_exposures"]
WEIGHTS = {"portfolio_weights": {"A": 0.5, "B": 0.5}}
ROWS = [{"date": "2024-01-02", "symbol": "A", "asset_returns": 0.01}]


@pytest.fixture
def outbox(tmp_path):
    made = Outbox(tmp_path / "outbox.db")
    yield made
    made.close()


def answer(face, name, payload, **options):
    return asyncio.run(face.answer(OPERATIONS[name], payload, **options))


def connected(client):
    client.table.bus = SimpleNamespace(connected=True, since=0.0)
    return client


def test_an_answer_has_the_documented_shape(outbox):
    client = connected(ClientDouble())
    got = answer(Face(client, outbox), "factor_exposures", {**WEIGHTS, "portfolio_id": "p"})
    EXPOSURES.result.model_validate(got)
    calculation = got["calculation_result"]
    assert got["success"] is True
    assert calculation["factor_exposures"] == {"market": 1.0}
    assert "factor_values" not in calculation
    assert calculation["messagebus_published"] is True
    assert "messagebus_queued" not in calculation
    assert set(calculation["timings_ms"]) >= {"queue", "compute", "publish"}
    assert orjson.loads(orjson.dumps(got)) == got


def test_a_write_tells_its_model_and_version_on_top(outbox):
    got = answer(Face(ClientDouble(), outbox), "append_day", {"model_id": "m", "feature_data": ROWS})
    OPERATIONS["append_day"].result.model_validate(got)
    assert (got["model_id"], got["model_version"]) == ("m", 3)


def test_without_a_connection_the_event_is_queued_and_the_answer_says_so(outbox):
    calculation = answer(Face(ClientDouble(), outbox), "factor_exposures", WEIGHTS)["calculation_result"]
    assert calculation["messagebus_published"] is False
    assert calculation["messagebus_queued"] is True
    assert outbox.counts().depth == 1


def test_with_the_bus_switched_off_nothing_is_published_or_queued():
    face = Face(connected(ClientDouble()), None)
    calculation = answer(face, "factor_exposures", WEIGHTS)["calculation_result"]
    assert calculation["messagebus_published"] is False
    assert "messagebus_queued" not in calculation
    assert asyncio.run(face.broadcast([])) == (False, False)


def test_an_outbox_that_cannot_be_written_does_not_cost_the_answer(outbox):
    pages = outbox._db.execute("PRAGMA page_count").fetchone()[0]
    outbox._db.execute(f"PRAGMA max_page_count = {pages}")
    weights = {"portfolio_weights": {"A": 1.0}, "portfolio_id": "x" * 100}
    face = Face(connected(ClientDouble(lambda o, p: {"big": "y" * 10_000})), outbox)
    calculation = answer(face, "factor_exposures", weights)["calculation_result"]
    assert calculation["messagebus_published"] is False
    assert "messagebus_queued" not in calculation
    assert outbox.counts().depth == 0


def test_the_event_carries_the_same_result_and_where_it_belongs(outbox):
    got = answer(Face(ClientDouble(), outbox), "factor_exposures", {**WEIGHTS, "portfolio_id": "BRK.B fund"})
    (stored,) = outbox.read(0, 10)
    assert stored.event.subject == "factor.portfolio_exposures.BRK=2EB=20fund"
    assert stored.event.type == "FACTOR_EXPOSURE"
    assert stored.event.priority == Priority.URGENT
    data = orjson.loads(stored.event.data)
    calculation = got["calculation_result"]
    assert {name: data[name] for name in ("calculation_id", "factor_exposures", "model_version")} == {
        name: calculation[name] for name in ("calculation_id", "factor_exposures", "model_version")
    }
    assert (data["model_id"], data["portfolio_id"]) == ("main", "BRK.B fund")


def test_old_subjects_are_published_beside_the_new_ones(outbox):
    answer(Face(ClientDouble(), outbox), "style_factors", {"model_id": "m"})
    stored = outbox.read(0, 10)
    assert [s.event.subject for s in stored] == list(OPERATIONS["style_factors"].events)
    assert len({s.event.id for s in stored}) == 2
    assert stored[0].event.data == stored[1].event.data


def test_the_default_model_is_meant_unless_a_frame_was_posted():
    client = ClientDouble()
    face = Face(client, None)
    answer(face, "factor_exposures", WEIGHTS)
    answer(face, "style_factors", {})
    answer(face, "momentum", {"returns_data": ROWS})
    answer(face, "momentum", {"model_id": "other"})
    assert [call.request.model_id for call in client.calls] == ["main", "main", None, "other"]
    client.table.default_model = None
    with pytest.raises(InvalidInput, match="model_id"):
        answer(face, "style_factors", {})


def test_a_model_that_must_be_named_is_not_guessed():
    with pytest.raises(InvalidInput) as caught:
        answer(Face(ClientDouble(), None), "append_day", {"feature_data": ROWS})
    assert caught.value.field == "model_id"


def test_frames_arrive_as_arrow_and_priorities_and_deadlines_are_passed_on():
    client = ClientDouble()
    face = Face(client, None)
    answer(face, "momentum", {"returns_data": ROWS, "messagebus_priority": "LOW"})
    answer(face, "factor_exposures", WEIGHTS, timeout_s=0.5, request_id="r1")
    answer(face, "factor_exposures", WEIGHTS, priority=Priority.CRITICAL)
    first, second, third = client.calls
    assert decode(first.request.returns_data).columns == ["date", "symbol", "asset_returns"]
    assert first.priority is Priority.LOW
    assert first.timeout_s == OPERATIONS["momentum"].timeout_s
    assert (second.priority, second.timeout_s, second.request_id) == (Priority.URGENT, 0.5, "r1")
    assert third.priority is Priority.CRITICAL


@pytest.mark.parametrize(
    ("payload", "kind", "field"),
    [
        ([], MalformedBody, "body"),
        ({}, InvalidInput, "portfolio_weights"),
        ({"portfolio_weights": {"A": "much"}}, InvalidInput, "portfolio_weights.A"),
        ({"portfolio_weights": {"A": float("nan")}}, InvalidInput, "portfolio_weights.A"),
        ({**WEIGHTS, "date_requested": "someday"}, InvalidInput, "date_requested"),
        ({**WEIGHTS, "messagebus_priority": "asap"}, InvalidInput, "messagebus_priority"),
    ],
)
def test_bad_input_is_refused_before_anything_is_called(payload, kind, field):
    client = ClientDouble()
    with pytest.raises(kind) as caught:
        answer(Face(client, None), "factor_exposures", payload)
    assert type(caught.value) is kind
    assert caught.value.field == field
    assert not client.calls


def test_a_deadline_in_the_past_is_not_computed():
    client = ClientDouble()
    with pytest.raises(DeadlineExceeded):
        answer(Face(client, None), "factor_exposures", WEIGHTS, timeout_s=0)
    assert not client.calls


def test_a_problem_of_the_actor_is_raised_and_publishes_nothing(outbox):
    class Refusing(ClientDouble):
        async def call(self, operation, request, **options):
            return WorkResult("r", None, UnknownModel("no model 'x'", field="model_id").to_problem(), "cpu", {})

    with pytest.raises(UnknownModel, match="no model 'x'"):
        answer(Face(Refusing(), outbox), "factor_exposures", WEIGHTS)
    assert outbox.counts().put == 0


def test_a_body_that_is_no_calculation_is_given_as_it_is(outbox):
    class Listing(ClientDouble):
        async def call(self, operation, request, **options):
            return WorkResult("r", Page({"models": [], "count": 0}), None, "cpu", {})

    assert answer(Face(Listing(), outbox), "list_models", {}) == {"models": [], "count": 0}
    assert outbox.counts().put == 0


def test_a_repeated_write_repeats_its_event_id_and_a_repeated_read_does_not(outbox):
    face = Face(ClientDouble(), outbox)
    for _ in range(2):
        answer(face, "append_day", {"model_id": "m", "feature_data": ROWS, "request_id": "same"})
        answer(face, "factor_exposures", {**WEIGHTS, "request_id": "same"})
    first, read_1, second, read_2 = [s.event.id for s in outbox.read(0, 10)]
    assert first == second
    assert read_1 != read_2


MANY = {f"x{number}": 0.5 for number in range(EVENT_LIMIT_BYTES // 10)}


@pytest.mark.parametrize("values", [{"x": "y" * EVENT_LIMIT_BYTES}, MANY], ids=["one", "many"])
@pytest.mark.parametrize("directly", [False, True])
def test_a_result_over_the_limit_is_announced_without_its_values(outbox, values, directly):
    sent = []

    async def publish(events):
        sent.extend(events)

    face = Face(ClientDouble(lambda operation, request: values), outbox)
    told = answer(face, "factor_exposures", WEIGHTS, **({"publish": publish} if directly else {}))
    assert told["calculation_result"]["factor_exposures"] == values, "the caller has them"
    (made,) = sent if directly else [stored.event for stored in outbox.read(0, 10)]
    data = orjson.loads(made.data)
    assert data["values_omitted"] is True
    assert "factor_exposures" not in data
    assert made.subject == "factor.portfolio_exposures.default"


def test_requests_hold_plain_values_so_that_their_fields_are_their_dump():
    def models_in(annotation):
        parts = getattr(annotation, "__args__", ())
        own = [annotation] if isinstance(annotation, type) and issubclass(annotation, BaseModel) else []
        return own + [found for part in parts for found in models_in(part)]

    for operation in OPERATIONS.values():
        for name, field in operation.request.model_fields.items():
            assert not models_in(field.annotation), (operation.name, name)
