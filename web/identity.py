"""Every answer names the engine that gave it; what is meant for another engine is refused, and nothing is done."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from contracts.errors import WrongEngine
from contracts.identity import ENGINE_HEADER, ROUTED_HEADER
from web.problems import problem_response

_ENGINE, _ROUTED = ENGINE_HEADER.encode(), ROUTED_HEADER.encode()


class OwnRequestsOnly:
    """ASGI middleware: refuses (421) requests that name another engine, and puts this engine's id on the answers.

    Parameters
    ----------
    app
        What answers.
    own
        This engine's id; see `contracts.identity.engine_id`.
    """

    def __init__(self, app: ASGIApp, own: str) -> None:
        self._app = app
        self._own = own.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or serve one websocket."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return

        async def named(message: Message) -> None:
            if message["type"] in ("http.response.start", "websocket.accept", "websocket.http.response.start"):
                message["headers"] = [*message.get("headers", ()), (_ENGINE, self._own)]
            await send(message)

        for name, value in scope["headers"]:
            if name in (_ENGINE, _ROUTED) and value != self._own:
                await self._refuse(name, value, scope, receive, named)
                return
        await self._app(scope, receive, named)

    async def _refuse(self, name: bytes, value: bytes, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008, "reason": "wrong engine"})
            return
        meant = value.decode("latin-1")[:64]
        how = "was routed by" if name == _ROUTED else "is for"
        error = WrongEngine(
            f"this request {how} engine {meant}, and this is engine {self._own.decode()}; nothing of it was done",
            retry_after_s=1.0,
        )
        await problem_response(error, scope["path"])(scope, receive, send)
