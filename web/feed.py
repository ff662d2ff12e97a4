"""``WS /ws/factors``: the events as they happen, from the bounded feed that the bridge keeps."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections import Counter
from typing import Any

import orjson
from starlette.websockets import WebSocket, WebSocketDisconnect

from web.callers import ANYBODY, CALLER, NOBODY, PROTOCOL
from web.services import Services, within

WAIT_S = 10.0
"""How long the bridge waits for an event before it answers that there is none."""
AWAY_S = 1.0
MAX_SUBSCRIBERS = 64
MAX_PER_TOKEN = 16
MAX_PACE_MS = 10_000
PACED_MOST = 100
"""Events that a subscriber with a pace is sent each time: the newest."""
TRY_AGAIN_LATER = 1013


class FactorFeed:
    """Serves websockets. A subscriber that reads slowly skips events and is told how many it missed.

    The query parameter ``subject`` limits the events to subjects that begin with it. With ``pace_ms`` a subscriber is
    sent the newest `PACED_MOST` at most so often, and told how many it missed: who only looks on does not cost the
    bridge a call for each event. With ``watch`` come the values of that watch instead, the newest first of all; a slow
    subscriber gets the newest when it is ready for one.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self._counts = services.feed
        self._of: Counter[str] = Counter()

    async def serve(self, socket: WebSocket) -> None:
        """Follow the feed for one subscriber until it goes."""
        if self._counts["subscribers"] >= MAX_SUBSCRIBERS:
            self._counts["refused"] += 1
            await socket.close(TRY_AGAIN_LATER, f"{MAX_SUBSCRIBERS} subscribers are served already")
            return
        who = socket.scope.get(CALLER, NOBODY)
        if who is not ANYBODY and self._of[who.name] >= MAX_PER_TOKEN:
            self._counts["refused"] += 1
            await socket.close(TRY_AGAIN_LATER, f"token {who.name} has {MAX_PER_TOKEN} subscriptions already")
            return
        await socket.accept(PROTOCOL if PROTOCOL in socket.scope.get("subprotocols", ()) else None)
        self._of[who.name] += 1
        self._counts["subscribers"] += 1
        sender = asyncio.create_task(self._send(socket))
        try:
            while (await socket.receive())["type"] != "websocket.disconnect":
                pass
        finally:
            self._counts["subscribers"] -= 1
            self._of[who.name] -= 1
            sender.cancel()
            with contextlib.suppress(asyncio.CancelledError, WebSocketDisconnect, RuntimeError):
                await sender

    async def _send(self, socket: WebSocket) -> None:
        watch_id = socket.query_params.get("watch")
        if watch_id is not None:
            await self._values(socket, watch_id)
            return
        prefix, pace_s = socket.query_params.get("subject", ""), _pace_s(socket.query_params.get("pace_ms", ""))
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
            rows = [row for row in answer["events"] if row["subject"].startswith(prefix)]
            shown = rows[-PACED_MOST:] if pace_s else rows
            if missed := answer["missed"] + len(rows) - len(shown):
                self._counts["missed"] += missed
                await _text(socket, {"missed": missed})
            for row in shown:
                await _text(socket, _plain(row))
            if pace_s:
                await asyncio.sleep(pace_s)

    async def _values(self, socket: WebSocket, watch_id: str) -> None:
        """Send the values of a watch: JSON as text, a table as bytes behind a text with what is said of it."""
        number = 0
        told: str | None = None
        while True:
            bridge = self._services.bridge
            call = bridge.watch_value(watch_id, number, WAIT_S) if bridge is not None else None
            answer, away = await within(WAIT_S + AWAY_S, call)
            if answer is None:
                if away != told:
                    await _text(socket, {"state": "DEGRADED", "reason": f"the bridge is away: {away}"})
                    told = away
                number = 0  # its next life counts anew
                await asyncio.sleep(AWAY_S)
                continue
            told = None
            number = answer["number"]
            if answer["body"] is None:
                continue
            if answer["headers"]["Content-Type"] == "application/json":
                await socket.send_text(answer["body"].decode())
            else:
                await _text(socket, answer["headers"])
                await socket.send_bytes(answer["body"])


def _pace_s(text: str) -> float:
    """Read a pace; what is no number of milliseconds is none."""
    return min(int(text), MAX_PACE_MS) / 1000.0 if text.isascii() and text.isdigit() else 0.0


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    data: bytes = row["data"]
    if row["content_type"] == "application/json":
        return {**row, "data": orjson.Fragment(data)}
    return {**row, "data": base64.b64encode(data).decode(), "encoding": "base64"}


async def _text(socket: WebSocket, body: dict[str, Any]) -> None:
    await socket.send_text(orjson.dumps(body).decode())
