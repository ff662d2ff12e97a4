"""Routes about the service itself: health, measurements, configuration, the bus."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bus.read_request import read_payload
from bus.reader import HERE_BYTES
from contracts.bus_requests import TestBroadcast
from contracts.errors import Unavailable
from contracts.events import event
from contracts.operations import V1
from contracts.settings import Settings, without_login
from contracts.tokens import Scope
from contracts.validation import validate
from contracts.work import Priority
from web import messagebus
from web.body import read_body
from web.callers import CALLER, NOBODY
from web.health import Health
from web.openapi import ServiceRoute
from web.performance import performance, prometheus
from web.problems import guarded, json_response
from web.services import Services, within

TEST_SUBJECT = "factor.health_metrics.test"
TEST_TYPE = "TEST_BROADCAST"
PROBE_S = 2.0

ABOUT_THE_SERVICE = (
    ServiceRoute("GET", "/live", "live", "Whether the HTTP face answers at all; needs no token.", scope=Scope.NONE),
    ServiceRoute("GET", "/health", "health", "The state of every part, and the keys of the engine this replaces."),
    ServiceRoute("GET", f"{V1}/health", "health_v1", "As GET /health."),
    ServiceRoute("GET", f"{V1}/status", "status", "The state in short."),
    ServiceRoute("GET", f"{V1}/config", "config", "The settings in force, without secrets."),
    ServiceRoute("GET", "/performance-metrics", "performance", "Latency per operation and stage, rates, devices, bus."),
    ServiceRoute("GET", "/metrics", "metrics", "The same for Prometheus.", media="text/plain"),
    ServiceRoute("GET", "/routing", "routing", "The route table, with the reason for each placement."),
    ServiceRoute("GET", "/messagebus/status", "messagebus_status", "The bridge's connection, streams and counters."),
    ServiceRoute(
        "POST",
        "/messagebus/test-factor-broadcast",
        "test_broadcast",
        "Publish a test event and say what became of it.",
        request=TestBroadcast,
        scope=Scope.ADMIN,
        example={"message": "hello"},
    ),
)
ROUTES = (*ABOUT_THE_SERVICE, *messagebus.ROUTES)


def service_routes(services: Services) -> Iterator[Route]:
    """Give the routes of `ROUTES`, in its order."""
    handlers, bus = _Handlers(services), messagebus.BusHandlers(services)
    for row in ROUTES:
        handler = getattr(bus if row in messagebus.ROUTES else handlers, row.name.removesuffix("_v1"))
        yield Route(row.path, guarded(handler, services, row.name, row.scope), methods=[row.method], name=row.name)


class _Handlers:
    def __init__(self, services: Services) -> None:
        self._services = services
        self._health = Health(services)

    async def live(self, _request: Request) -> Response:
        return json_response({"live": True})

    async def health(self, _request: Request) -> Response:
        return json_response(await self._health.report())

    async def status(self, request: Request) -> Response:
        who = request.scope.get(CALLER, NOBODY)
        caller = {"name": who.name, "scope": who.scope.name.lower()}
        return json_response({**await self._health.brief(), "caller": caller})

    async def config(self, _request: Request) -> Response:
        return json_response({"settings": public(self._services.settings)})

    async def performance(self, _request: Request) -> Response:
        return json_response(performance(self._services, await self._health.parts()))

    async def metrics(self, _request: Request) -> Response:
        body = prometheus(self._services, await self._health.parts())
        return Response(body, media_type=CONTENT_TYPE_PLAIN_0_0_4)

    async def routing(self, _request: Request) -> Response:
        client = self._services.client
        if client is None:
            raise Unavailable(f"the engine is not connected: {self._services.starting_because}", retry_after_s=1.0)
        answer, away = await within(PROBE_S, client.routing())
        if answer is None:
            raise Unavailable(f"the router does not answer: {away}", retry_after_s=1.0)
        return json_response(answer)

    async def messagebus_status(self, _request: Request) -> Response:
        if not self._services.settings.messagebus_enabled:
            return json_response({"connected": False, "enabled": False})
        bridge = self._services.bridge
        answer, away = await within(PROBE_S, bridge.status() if bridge is not None else None)
        if answer is None:
            return json_response({"connected": False, "enabled": True, "reason": f"the bridge does not answer: {away}"})
        return json_response({"enabled": True, **answer})

    async def test_broadcast(self, request: Request) -> Response:
        asked = validate(TestBroadcast, read_payload(await read_body(request, HERE_BYTES), {}, {}))
        made = event(
            TEST_SUBJECT,
            TEST_TYPE,
            {"message": asked.message, "time": time.time()},
            priority=Priority[asked.messagebus_priority.upper()],
        )
        published, queued = await self._services.need_face().broadcast([made])
        answer: dict[str, Any] = {
            "success": published or queued,
            "message": "published" if published else "queued until NATS returns" if queued else "not kept",
            "subject": TEST_SUBJECT,
            "event_id": made.id,
            "messagebus_published": published,
        }
        if queued:
            answer["messagebus_queued"] = True
        return json_response(answer)


def public(current: Settings) -> dict[str, Any]:
    """Give the settings without the log-in that a NATS URL may hold."""
    values = current.model_dump(mode="json")
    if current.nats_url is not None:
        values["nats_url"] = without_login(current.nats_url)
    return values
