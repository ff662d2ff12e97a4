"""A trace over real processes: from the face's, through the router where a write goes by it, to the actor's."""

import asyncio
import contextlib
import secrets
import socket

import httpx
import pytest
import uvicorn
from echo_workload import asked
from fixtures_ray import DEADLINE_S, ECHO_PATH, end_router
from otlp_receiver import receiving

from bus.face import Face
from bus.outbox import Outbox
from contracts import tracing
from contracts.operations import OPERATIONS, Workload
from contracts.settings import Settings
from contracts.work import Presence
from router.client import RouterClient
from router.placement import CLASS_PATHS
from router.router import start_router
from web.app import make_app
from web.services import Services

pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="the extra `tracing` is not installed")
HOSTED = (Workload.FACTOR_MODEL_CREATION.value, Workload.FACTOR_EXPOSURE_ANALYSIS.value)
REAL = OPERATIONS["put_portfolio"].workload.value
"""The actor that keeps portfolios, which needs no model."""


@pytest.fixture(scope="module")
def receiver(ray_cluster):
    end_router()
    with receiving() as found:
        current = Settings(run_dir=ray_cluster, traces=found.url)
        paths = {**dict.fromkeys(HOSTED, "echo_workload:Echo"), REAL: CLASS_PATHS[REAL]}
        start_router(current, paths=paths, extra={"PYTHONPATH": str(ECHO_PATH)})
        tracing.begin("here", current)
        try:
            yield found
        finally:
            tracing.end()
            end_router()


def traced(operation, request, presence=None):
    """Call an operation as a face does, in a trace of a caller's; gives the trace and the caller's span."""
    trace, above = secrets.token_hex(16), secrets.token_hex(8)

    async def run():
        client = await RouterClient(Settings()).start(DEADLINE_S)
        try:
            await client.wait_ready(set(HOSTED), DEADLINE_S)
            with tracing.span("face", tracing.SERVER, f"00-{trace}-{above}-01"):
                return await client.call(operation, request, timeout_s=DEADLINE_S, presence=presence)
        finally:
            await client.close()

    asyncio.run(run()).unwrap()
    return trace, above


def chain(receiver, trace, above, steps):
    """Check that the trace's spans, a list of (name, process), stand one below the other."""
    found = {span.name: span for span in receiver.of(trace, lambda found: len(found) >= len(steps))}
    assert {name: span.process for name, span in found.items()} == dict(steps)
    for name, _ in steps:
        assert found[name].parent == above, name
        above = found[name].id


def test_a_read_goes_from_the_face_to_the_actor(receiver):
    trace, above = traced("factor_exposures", asked(weights={"A": 1.0}))
    here, there = "here", "factor_exposure_analysis"
    steps = [("face", here), ("call factor_exposures", here), ("compute factor_exposures", there)]
    chain(receiver, trace, above, steps)


def test_a_write_that_its_caller_may_leave_goes_by_the_router(receiver, tmp_path):
    trace, above = traced("create_model", asked(model_id="m", folder=str(tmp_path)), Presence())
    steps = [("face", "here"), ("call create_model", "here"), ("dispatch create_model", "router")]
    chain(receiver, trace, above, [*steps, ("compute create_model", "factor_model_creation")])


def test_another_write_goes_from_the_face_to_the_actor(receiver, tmp_path):
    trace, above = traced("create_model", asked(model_id="m", folder=str(tmp_path)))
    there = "factor_model_creation"
    chain(receiver, trace, above, [("face", "here"), ("call create_model", "here"), ("compute create_model", there)])


@contextlib.asynccontextmanager
async def http_face(current):
    """The HTTP application on a socket of its own, over the router's client and an outbox; gives it and its client."""
    client = await RouterClient(current).start(DEADLINE_S)
    outbox = Outbox.of(current)
    application = make_app(Services(current, face=Face(client, outbox), client=client))
    listening = socket.create_server(("127.0.0.1", 0))
    serving = uvicorn.Server(uvicorn.Config(application, log_level="error", lifespan="off"))
    task = asyncio.create_task(serving.serve(sockets=[listening]))
    try:
        await client.wait_ready({REAL}, DEADLINE_S)
        port = listening.getsockname()[1]
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=DEADLINE_S) as http:
            yield http, outbox
    finally:
        serving.should_exit = True
        await task
        await client.close()
        outbox.close()


def test_a_write_over_http_is_one_trace_from_the_face_to_the_actors_commit_and_the_outbox(receiver, ray_cluster):
    trace, above = secrets.token_hex(16), secrets.token_hex(8)
    headers = {"traceparent": f"00-{trace}-{above}-01", "idempotency-key": "traced-write"}

    async def run():
        async with http_face(Settings(run_dir=ray_cluster)) as (http, outbox):
            answer = await http.put("/portfolios/traced", json={"holdings": {"always": {"A": 1.0}}}, headers=headers)
            assert answer.status_code == 200, answer.text
            return answer, [row for row in outbox.read(0, 100) if row.event.subject == "factor.portfolio.traced"]

    answer, stored = asyncio.run(run())
    assert len(stored) == 1
    steps = [
        ("put_portfolio", "here"), ("call put_portfolio", "here"), ("dispatch put_portfolio", "router"),
        ("compute put_portfolio", REAL), ("store commit", REAL),
    ]  # fmt: skip
    wanted = {name for name, _ in steps} | {"outbox put"}
    found = {span.name: span for span in receiver.of(trace, lambda spans: wanted <= {span.name for span in spans})}
    for name, process in steps:
        assert (found[name].process, found[name].parent) == (process, above), name
        above = found[name].id
    assert (found["outbox put"].process, found["outbox put"].parent) == ("here", found["put_portfolio"].id)
    identity = answer.headers["factor-request-id"]
    assert identity == "traced-write"
    for name in ("put_portfolio", "compute put_portfolio"):
        assert found[name].attributes["factor_engine.request_id"] == identity
