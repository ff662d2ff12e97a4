"""An operation that is added to the table is there over HTTP, NATS, in both documents, for peers and in the client."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

import httpx
import orjson
import pytest
from adding import ROW, NetWeight, Weighing
from fixtures_nats import ClientDouble, bridge_over, peer_of, stored_in, until

from bus import subjects
from bus.document import asyncapi, subjects_page
from bus.face import Face
from bus.streams import EVENTS
from clients.generate import source
from clients.http import HttpEngine
from clients.nats import NatsEngine
from contracts.errors import InvalidInput
from contracts.operations import OPERATIONS
from contracts.settings import Settings
from contracts.work import WorkResult, work_item
from router.packing import pack_items, pack_results, unpack_items, unpack_results
from web.app import make_app
from web.document import page
from web.openapi import document
from web.service import ROUTES
from web.services import Services

WEIGHTS = {"A": 0.5, "B": 0.75}
ASKED = NetWeight(portfolio_weights=WEIGHTS, portfolio_id="fund")
TYPO = NetWeight(portfolio_weights={"A": 50.0}, portfolio_id="fund")


@pytest.fixture(autouse=True)
def added(monkeypatch):
    """The table with one more row, as long as a test runs."""
    monkeypatch.setitem(OPERATIONS, ROW.name, ROW)
    for cached in (subjects.groups, subjects._table):
        cached.cache_clear()
    yield
    for cached in (subjects.groups, subjects._table):
        cached.cache_clear()


class ActorHere(ClientDouble):
    """The actor in this process; requests and answers travel as bytes, as they do to another."""

    def __init__(self) -> None:
        super().__init__()
        self.actor = Weighing()

    async def call(
        self, operation, request, *, priority, timeout_s=None, request_id=None, turn=None, presence=None
    ) -> WorkResult:
        packed = pack_items([work_item(operation, request, priority=priority, timeout_s=20.0, request_id=request_id)])
        results = await asyncio.to_thread(self.actor.call_light, unpack_items(packed))
        return unpack_results(pack_results(results))[0]


def methods_of_the_new_table() -> Any:
    """The client's methods as `python -m clients.generate` would write them now."""
    namespace: dict[str, Any] = {}
    exec(compile(source(OPERATIONS.values()), "methods.py", "exec"), namespace)
    return namespace["Surface"]


async def ask(engine: HttpEngine | NatsEngine) -> None:
    method = methods_of_the_new_table().net_weight
    assert inspect.signature(method).parameters["request"].annotation == "NetWeight"
    answer = await method(engine, ASKED)
    assert answer.calculation_result.factor_values == {"net": 1.25}
    with pytest.raises(InvalidInput, match="typing error"):
        await method(engine, TYPO)


def test_it_is_answered_over_http_and_by_the_client(tmp_path):
    client = ActorHere()
    app = make_app(Services(Settings(run_dir=tmp_path), face=Face(client, None), client=client))

    async def run():
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
            answer = await http.post("/net-weight/fund", json={"portfolio_weights": WEIGHTS})
            assert answer.json()["calculation_result"]["factor_values"] == {"net": 1.25}
            assert (await http.post("/net-weight/fund", json={})).json()["field"] == "portfolio_weights"
            served = (await http.get("/openapi.json")).json()
            assert "/net-weight/{portfolio_id}" in served["paths"]
        async with HttpEngine("http://127.0.0.1", transport=transport) as engine:
            await ask(engine)

    asyncio.run(run())


def test_it_is_answered_over_nats_and_by_the_client_and_its_event_is_published(own_server):
    async def run():
        async with bridge_over(own_server, ActorHere()) as bridge, peer_of(own_server) as nc:
            reply = await nc.request(ROW.subjects[0], orjson.dumps({"portfolio_weights": WEIGHTS}), timeout=20.0)
            assert orjson.loads(reply.data)["calculation_result"]["factor_values"] == {"net": 1.25}
            async with NatsEngine.of_run(own_server.run_dir) as engine:
                await ask(engine)
            await until(lambda: bridge.drainer.acknowledged == 2, "both events are in the stream")
            return [event.subject for event in await stored_in(nc, EVENTS)]

    assert asyncio.run(run()) == ["factor.portfolio_exposures.default", "factor.portfolio_exposures.fund"]


def test_it_is_in_both_documents_and_on_both_pages():
    posted = document(ROUTES, ["X", "Y", "Z"])["paths"]["/net-weight/{portfolio_id}"]["post"]
    body = posted["requestBody"]["content"]["application/json"]
    assert posted["summary"] == "The sum of a portfolio's weights."
    assert body["example"] == {"portfolio_weights": {"X": 0.5, "Y": 0.3, "Z": 0.2}}
    assert posted["parameters"][0]["example"] == "example"
    channel = asyncapi()["channels"][ROW.subjects[0]]
    assert list(channel["messages"]) == ["net_weight.request"]
    assert "/net-weight/{portfolio_id}" in page()
    assert ROW.subjects[0] in subjects_page()
