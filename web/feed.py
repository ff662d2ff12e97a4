"""``WS /ws/factors``: the events as they happen, from the bounded feed that the bridge keeps."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from typing import Any

import orjson
from starlette.websockets import WebSocket, WebSocketDisconnect

from web.services import Services, within

WAIT_S = 10.0
"""How long the bridge waits for an event before it answers that there is none."""
AWAY_S = 1.0
MAX_SUBSCRIBERS = 64
TRY_AGAIN_LATER = 1013


class FactorFeed:
    """Serves websockets. A subscriber that reads slowly skips events and is told how many it missed.

    The query parameter ``subject`` limits the events to subjects that begin with it.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self._counts = services.feed

    async def serve(self, socket: WebSocket) -> None:
        """Follow the feed for one subscriber until it goes."""
        if self._counts["subscribers"] >= MAX_SUBSCRIBERS:
            self._counts["refused"] += 1
            await socket.close(TRY_AGAIN_LATER, f"{MAX_SUBSCRIBERS} subscribers are served already")
            return
        await socket.accept()
        self._counts["subscribers"] += 1
        sender = asyncio.create_task(self._send(socket))
        try:
            while (await socket.receive())["type"] != "websocket.disconnect":
                pass
        finally:
            self._counts["subscribers"] -= 1
            sender.cancel()
            with contextlib.suppress(asyncio.CancelledError, WebSocketDisconnect, RuntimeError):
                await sender

    async def _send(self, socket: WebSocket) -> None:
        prefix = socket.query_params.get("subject", "")
        after: int | None = None
        told: str | None = None
        while True:
            bridge = self._services.bridge
            call = bridge.feed(after, WAIT_S) if bridge is not None else None
            answer, away = await within(WAIT_S + AWAY_S, call)
            if answer is None:
                if away != told:
                    await _text(socket, {"state": "DEGRADED", "reason": f"the bridge is away: {away}"})
                    told = away
                await asyncio.sleep(AWAY_S)
                continue
            told = None
            after = answer["last"]
            if answer["missed"]:
                self._counts["missed"] += answer["missed"]
                await _text(socket, {"missed": answer["missed"]})
            for row in answer["events"]:
                if row["subject"].startswith(prefix):
                    await _text(socket, _plain(row))


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    data: bytes = row["data"]
    if row["content_type"] == "application/json":
        return {**row, "data": orjson.Fragment(data)}
    return {**row, "data": base64.b64encode(data).decode(), "encoding": "base64"}


async def _text(socket: WebSocket, body: dict[str, Any]) -> None:
    await socket.send_text(orjson.dumps(body).decode())
