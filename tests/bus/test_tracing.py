"""Traces over NATS: a request's header, and a durable message's, which may be worked on more than once."""

import asyncio
import json
import secrets

import pytest
from fixtures_nats import ClientDouble, bridge_over, peer_of
from otlp_receiver import receiving

from contracts import tracing
from contracts.caller import traceparent
from contracts.settings import Settings

pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="the extra `tracing` is not installed")
SUBJECT = "risk.factor_request.factor_exposures"
BODY = json.dumps({"portfolio_weights": {"A": 1.0}}).encode()


@pytest.fixture
def receiver(own_server):
    with receiving() as found:
        tracing.begin("bridge", Settings(run_dir=own_server.run_dir, traces=found.url))
        try:
            yield found
        finally:
            tracing.end()


def header():
    trace, span = secrets.token_hex(16), secrets.token_hex(8)
    return trace, span, {"traceparent": f"00-{trace}-{span}-01"}


def of_the_face(spans):
    """Whether the last span to end, the face's, is there."""
    return spans and spans[-1].name == SUBJECT


def test_a_request_and_a_durable_one_hand_their_trace_on(own_server, receiver):
    handed = []
    client = ClientDouble(lambda *_: handed.append(traceparent.get()) or {"market": 1.0})
    (asked, above, headers), (durable, sender, more) = header(), header()

    async def run():
        async with bridge_over(own_server, client), peer_of(own_server) as nc:
            await nc.request(SUBJECT, BODY, timeout=30, headers={**headers, "factor-request-id": "mine"})
            await nc.jetstream().publish(f"factor.in.{SUBJECT}", BODY, headers=more)
            face = (await asyncio.to_thread(receiver.of, asked, of_the_face))[-1]
            stored = (await asyncio.to_thread(receiver.of, durable, of_the_face))[-1]
            return face, stored

    face, stored = asyncio.run(run())
    assert (face.parent, face.process) == (above, "bridge")
    assert face.attributes["factor_engine.request_id"] == "mine"
    assert stored.parent == sender
    assert stored.attributes["factor_engine.delivery"] == 1
    assert handed == [f"00-{asked}-{face.id}-01", f"00-{durable}-{stored.id}-01"]
