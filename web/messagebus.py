"""Routes about the message bus: its mode, dead letters, and events from a place on."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from bus.audit import Audit
from bus.read_request import read_payload
from bus.reader import HERE_BYTES
from contracts.bus_requests import DeadLettersPage, EventsPage, LetterNumber, SetBusMode
from contracts.errors import EngineError, Unavailable
from contracts.tokens import Scope
from contracts.validation import validate
from web.body import read_body
from web.openapi import ServiceRoute
from web.problems import json_response
from web.services import Services, within

BUS_S = 10.0
LETTERS = "/messagebus/dead-letters"

ROUTES = (
    ServiceRoute(
        "PUT",
        "/messagebus/mode",
        "set_bus_mode",
        "Change what the bus does: off, publish or full. Models and requests over HTTP go on.",
        request=SetBusMode,
        scope=Scope.ADMIN,
        example={"mode": "full"},
    ),
    ServiceRoute(
        "GET",
        LETTERS,
        "dead_letters",
        "Durable messages that could not be computed, oldest first.",
        query=DeadLettersPage,
    ),
    ServiceRoute(
        "GET", f"{LETTERS}/{{letter_id}}", "dead_letter", "One of them whole, with its body.", query=LetterNumber
    ),
    ServiceRoute(
        "POST",
        f"{LETTERS}/{{letter_id}}/resend",
        "resend_dead_letter",
        "Send it again where it came from, and forget the letter.",
        query=LetterNumber,
        scope=Scope.ADMIN,
    ),
    ServiceRoute(
        "GET",
        "/messagebus/events",
        "bus_events",
        "Stored events behind a place of the stream: for a program that was away.",
        query=EventsPage,
    ),
)


class BusHandlers:
    """The handlers of `ROUTES`."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._audit = Audit.of(services.settings)

    async def set_bus_mode(self, request: Request) -> Response:
        """Change the mode."""
        asked = validate(SetBusMode, read_payload(await read_body(request, HERE_BYTES), {}, {}))
        return json_response(await self._write("mode", {"mode": asked.mode}, mode=asked.mode))

    async def dead_letters(self, request: Request) -> Response:
        """List dead letters."""
        asked = validate(DeadLettersPage, dict(request.query_params))
        return json_response(await self._ask("dead_letters", {"after": asked.after, "limit": asked.limit}))

    async def dead_letter(self, request: Request) -> Response:
        """Read one."""
        asked = validate(LetterNumber, dict(request.path_params))
        return json_response(await self._ask("dead_letter", {"number": asked.letter_id}))

    async def resend_dead_letter(self, request: Request) -> Response:
        """Send one again."""
        asked = validate(LetterNumber, dict(request.path_params))
        return json_response(await self._write("resend", {"number": asked.letter_id}, letter_id=asked.letter_id))

    async def bus_events(self, request: Request) -> Response:
        """Give stored events; data that is JSON stands as such."""
        asked = validate(EventsPage, dict(request.query_params))
        told = await self._ask("events", {"after": asked.after, "limit": asked.limit, "subject": asked.subject})
        return json_response({**told, "events": [_shown(row) for row in told["events"]]})

    async def _write(self, what: str, arguments: Mapping[str, Any], **named: Any) -> dict[str, Any]:
        try:
            answer = await self._ask(what, arguments)
        except EngineError as error:
            await self._audit.note_other(f"messagebus_{what}", named, outcome=error.code)
            raise
        await self._audit.note_other(f"messagebus_{what}", named, outcome="done")
        return {"success": True, **answer}

    async def _ask(self, what: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        if not self._services.settings.messagebus_enabled:
            raise Unavailable("the engine was started without a message bus (MESSAGEBUS_ENABLED)")
        bridge = self._services.bridge
        answer, away = await within(BUS_S, bridge.ask(what, dict(arguments)) if bridge is not None else None)
        if answer is None:
            raise Unavailable(f"the bridge does not answer: {away}", retry_after_s=1.0)
        if "problem" in answer:
            raise EngineError.from_problem(answer["problem"])
        return answer


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    data = row.pop("data")
    if row["headers"].get("Content-Type", "").startswith("application/json"):
        try:
            return {**row, "data": orjson.loads(data)}
        except orjson.JSONDecodeError:
            pass
    return {**row, "data_base64": base64.b64encode(data).decode()}
