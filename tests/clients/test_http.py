"""The HTTP client against the real application, with the engine behind it doubled."""

import asyncio

import httpx
import polars as pl
import pytest
from fixtures_nats import ClientDouble

from bus.face import Face
from clients.http import HttpEngine
from clients.surface import How
from contracts.answers import Page
from contracts.errors import (
    DeadlineExceeded,
    InternalError,
    InvalidInput,
    QueueFull,
    Unavailable,
    UnknownModel,
    WrongEngine,
)
from contracts.frames import decode, encode
from contracts.identity import ENGINE_HEADER, engine_id
from contracts.operations import OPERATIONS
from contracts.requests import CalculateFactors, FactorExposures, ReduceUniverse
from contracts.settings import Settings
from contracts.work import Priority, WorkResult
from web.app import make_app
from web.services import Services


def with_engine(client, tmp_path, test):
    async def run():
        services = Services(
            Settings(run_dir=tmp_path, allowed_hosts=("engine",)), face=Face(client, None), client=client
        )
        transport = httpx.ASGITransport(make_app(services))
        try:
            async with HttpEngine("http://127.0.0.1", transport=transport) as engine:
                await test(engine)
        finally:
            services.reader.close()

    asyncio.run(run())


def test_a_typed_request_gets_a_typed_answer(tmp_path):
    client = ClientDouble()

    async def test(engine):
        how = How(timeout_s=3.0, request_id="r", priority="critical")
        got = await engine.factor_exposures(FactorExposures(portfolio_weights={"A": 1.0}), how)
        assert got.calculation_result.factor_exposures == {"market": 1.0}
        await engine.calculate_factors(CalculateFactors(symbol="BRK.B"))
        await engine.reduce_universe(ReduceUniverse(model_id="m", top_n=7))
        await engine.delete_model("m")

    with_engine(client, tmp_path, test)
    exposures, library, reduced, deleted = client.calls
    assert (exposures.request_id, exposures.priority) == ("r", Priority.CRITICAL)
    assert 0.0 < exposures.timeout_s <= 3.0
    assert library.request.symbol == "BRK.B"
    assert reduced.request.top_n == 7
    assert (deleted.operation, deleted.request.model_id) == ("delete_model", "m")


def test_reads_by_get_and_bulk_writes_arrive_whole(tmp_path):
    class Listing(ClientDouble):
        async def call(self, operation, request, **options):
            await super().call(operation, request, **options)
            if operation == "list_models":
                return WorkResult("r", Page({"models": [], "count": 0}), None, "cpu", {})
            return await ClientDouble().call(operation, request, **options)

    client = Listing()
    table = pl.DataFrame({"date": ["2024-01-02"], "ticker": ["A"], "x": [1.0]})

    async def test(engine):
        assert (await engine.list_models()).count == 0
        got = await engine.put_data("m", encode(table), symbol_col="ticker")
        assert (got.model_id, got.model_version) == ("m", 3)

    with_engine(client, tmp_path, test)
    put = client.calls[-1].request
    assert put.symbol_col == "ticker"
    assert decode(put.feature_data).equals(table)


def test_the_engines_problem_is_raised_as_the_error_it_was(tmp_path):
    def refuse(operation, request):
        raise UnknownModel("no model 'x'", field="model_id")

    async def test(engine):
        with pytest.raises(UnknownModel, match="no model 'x'"):
            await engine.model_status("x")
        with pytest.raises(InvalidInput) as caught:
            await engine.send(OPERATIONS["factor_exposures"], {"portfolio_weights": {}}, How())
        assert caught.value.field == "portfolio_weights"

    with_engine(ClientDouble(refuse), tmp_path, test)


def test_what_may_help_is_tried_again_under_the_same_id_and_nothing_else_is(tmp_path):
    refusals = [QueueFull("full", retry_after_s=0.01), Unavailable("down", retry_after_s=0.01)]

    def refuse_twice(operation, request):
        if refusals:
            raise refusals.pop()
        return {"n_dates": 1}

    client = ClientDouble(refuse_twice)

    async def test(engine):
        await engine.reduce_universe(ReduceUniverse(model_id="m", top_n=7), How(attempts=3))

    with_engine(client, tmp_path, test)
    ids = {call.request_id for call in client.calls}
    assert len(client.calls) == 3
    assert len(ids) == 1
    assert None not in ids

    def refuse(operation, request):
        raise UnknownModel("no model 'x'", field="model_id")

    client = ClientDouble(refuse)

    async def give_up(engine):
        with pytest.raises(UnknownModel):
            await engine.model_status("x", How(attempts=3))

    with_engine(client, tmp_path, give_up)
    assert len(client.calls) == 1


@pytest.mark.parametrize(("status", "kind"), [(408, DeadlineExceeded), (503, Unavailable), (500, InternalError)])
def test_what_the_proxy_says_in_plain_text_is_the_error_that_it_means(status, kind):
    async def run():
        transport = httpx.MockTransport(lambda _request: httpx.Response(status, text="as the proxy says it"))
        async with HttpEngine("http://engine", transport=transport) as engine:
            with pytest.raises(kind, match="from the proxy"):
                await engine.health()

    asyncio.run(run())


def test_an_engine_that_is_not_there_is_told():
    async def run():
        async with HttpEngine("http://127.0.0.1:1") as engine:
            with pytest.raises(Unavailable, match="cannot be reached"):
                await engine.health()

    asyncio.run(run())


def test_the_client_takes_the_answers_of_one_engine_only(tmp_path):
    async def run():
        client, other = ClientDouble(), ClientDouble()
        apps = [
            make_app(
                Services(
                    Settings(run_dir=tmp_path / name, allowed_hosts=("*",)), face=Face(double, None), client=double
                )
            )
            for name, double in (("ours", client), ("other", other))
        ]

        async def switched(scope, receive, send):
            await apps[0](scope, receive, send)

        async with HttpEngine("http://127.0.0.1", transport=httpx.ASGITransport(switched)) as engine:
            await engine.delete_model("m")
            assert engine.engine_id == engine_id(tmp_path / "ours")
            apps.reverse()  # the address changed hands
            with pytest.raises(WrongEngine):
                await engine.delete_model("m")
        assert len(client.calls) == 1
        assert other.calls == []

        async def nobody(scope, receive, send):
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"{}"})

        async with HttpEngine("http://127.0.0.1", engine.engine_id, transport=httpx.ASGITransport(nobody)) as engine:
            with pytest.raises(WrongEngine, match="no factor engine"):
                await engine.health()

    asyncio.run(run())


@pytest.mark.parametrize("url", ["", "engine:8300", "nonsense", "ftp://engine", "http://", "http://h:port"])
def test_an_address_that_is_none_is_told_before_anybody_is_asked(url):
    with pytest.raises(InvalidInput, match="no address of an engine") as told:
        HttpEngine(url)
    assert told.value.field == "url"


@pytest.mark.parametrize("token", ["sec\nret", "s\u00f6cret", " secret", "secret\n"])
def test_a_token_that_no_header_carries_is_told_without_itself(token, monkeypatch):
    monkeypatch.setenv("FACTOR_ENGINE_TOKEN", token)
    with pytest.raises(InvalidInput, match="FACTOR_ENGINE_TOKEN") as told:
        HttpEngine()
    assert told.value.field == "token"
    assert "cret" not in told.value.detail


def given(response, ask):
    """What the client says to an answer; with the requests that it sent."""
    sent = []

    async def run():
        def answer(request):
            sent.append(request)
            return response

        async with HttpEngine(transport=httpx.MockTransport(answer), token="secret") as engine:
            await ask(engine)

    return sent, lambda: asyncio.run(run())


@pytest.mark.parametrize("path", ["http://elsewhere/health", "https://127.0.0.1:8300@elsewhere/", "a\x01"])
def test_a_path_of_another_host_is_not_asked_with_the_token(path):
    sent, run = given(httpx.Response(200, json={}), lambda engine: engine.get(path))
    with pytest.raises(InvalidInput) as told:
        run()
    assert told.value.field == "path"
    assert sent == []


def test_a_page_that_is_no_json_is_told_from_a_proxy_that_answers():
    ours = httpx.Response(200, text="# m", headers={"content-type": "text/markdown", ENGINE_HEADER: "e"})
    with pytest.raises(InternalError, match=r"/model.md is answered with text/markdown \(HTTP 200\), not"):
        given(ours, lambda engine: engine.get("/model.md"))[1]()
    with pytest.raises(Unavailable, match="HTTP 502 from the proxy"):
        given(httpx.Response(502, text="bad"), lambda engine: engine.get("/health"))[1]()


@pytest.mark.parametrize("name", ["", "a/b", ".", ".."])
def test_a_name_that_is_no_part_of_a_path_is_told_with_its_field(name):
    sent, run = given(httpx.Response(200, json={}), lambda engine: engine.send(
        OPERATIONS["get_portfolio"], {"portfolio_id": name}, How()))  # fmt: skip
    with pytest.raises(InvalidInput, match="a name without a slash") as told:
        run()
    assert told.value.field == "portfolio_id"
    assert sent == []
