"""The bridge as a Ray actor: detached, restarted by Ray, connected by itself in each of its lives."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from bus.bridge import Bridge
from bus.face_process import settle
from bus.outposts import BRIDGE, Outposts
from contracts import logs, tracing
from contracts.errors import Unavailable, first_line
from contracts.settings import Settings, settings
from contracts.work import State
from router.client import RouterClient
from router.placement import service

log = logging.getLogger(__name__)

MAX_CALLS = 1000
RETRY_S = 1.0


class BridgeActor:
    """An asyncio actor around one `Bridge`; it answers from the start, also while the router is not there yet."""

    async def __init__(self, number: int = 1) -> None:  # type: ignore[misc]
        self._number = number
        self._settings = settings()
        process = "bridge" if number == 1 else f"bridge {number}"
        logs.begin(process, self._settings)
        tracing.begin(process, self._settings)
        self._bridge: Bridge | None = None
        self._waiting_for = "the router"
        self._starting = asyncio.create_task(self._start())
        self._outposts = Outposts(self._settings) if number == 1 else None
        self._looking = asyncio.create_task(self._outposts.run()) if self._outposts is not None else None

    async def _start(self) -> None:
        client: RouterClient | None = None
        while self._bridge is None:
            try:
                client = client or await RouterClient(self._settings).start()
                bridge = Bridge(self._settings, client, self._number)
                settle()
                await bridge.start()
                self._bridge = bridge
            except Exception as error:  # noqa: BLE001  no router yet, no disk, ...: told, and tried again
                self._waiting_for = first_line(error)
                log.warning("the bridge waits: %s", self._waiting_for)
                await asyncio.sleep(RETRY_S)

    async def ping(self) -> str:
        """Answer that the process lives."""
        return (State.STARTING if self._bridge is None else State.READY).value

    async def status(self) -> dict[str, Any]:
        """Say whether and where the bridge is connected, and what waits."""
        if self._bridge is None:
            return {"connected": False, "state": State.STARTING.value, "last_error": self._waiting_for}
        status = self._bridge.status()
        return {**status, "outposts": self._outposts.status()} if self._outposts is not None else status

    async def stats(self) -> dict[str, Any]:
        """Count what went through the bridge."""
        return {} if self._bridge is None else self._bridge.stats()

    async def tell(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """Take what the HTTP face names as degraded, for the health event; see `bus.condition.Condition`."""
        if self._bridge is not None:
            self._bridge.condition.told_by_http(rows)
        return {}

    async def feed(self, after: int | None = None, timeout_s: float = 10.0) -> dict[str, Any]:
        """Give the newest events, for websockets; see `bus.feed.Feed.read`."""
        if self._bridge is None:
            await asyncio.sleep(min(timeout_s, 0.5))
            return {"events": [], "last": after, "missed": 0}
        return await self._bridge.feed(after, timeout_s)

    async def ask(self, what: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """Do what an operator asks of the bus; see `bus.operator.Operator`."""
        if self._bridge is None:
            return {"problem": Unavailable(f"the bridge waits: {self._waiting_for}", retry_after_s=1.0).to_problem()}
        return await self._bridge.operator.ask(what, arguments)

    async def watch_value(self, watch_id: str, after: int = 0, timeout_s: float = 10.0) -> dict[str, Any]:
        """Give the newest value of a watch, for websockets; see `bus.market.Market.value`."""
        if self._bridge is None:
            await asyncio.sleep(min(timeout_s, 0.5))
            return {"number": after, "headers": None, "body": None}
        return await self._bridge.watch_value(watch_id, after, timeout_s)

    async def keep(self, packed: bytes) -> list[dict[str, Any] | None]:
        """Put what an outpost sent into the outbox; see `bus.outbox_afar.kept`."""
        if self._bridge is None:
            raise Unavailable(f"the bridge waits: {self._waiting_for}", retry_after_s=1.0)
        return await self._bridge.keep(packed)

    async def stop(self) -> None:
        """Finish what is in work and close the connection."""
        self._starting.cancel()
        if self._looking is not None:
            self._looking.cancel()
        if self._bridge is not None:
            await self._bridge.stop()
            self._bridge = None


def start_bridge(current: Settings, *, extra: Mapping[str, str] | None = None) -> Any:
    """Get or create the bridges of the head node; gives the first. None when the message bus is switched off.

    Parameters
    ----------
    current
        The settings; they travel to the actor by the environment.
    extra
        Environment variables on top of the settings.
    """
    if not current.messagebus_enabled:
        return None
    made = [
        service(BridgeActor, name, current, max_calls=MAX_CALLS, extra=extra).remote(number)
        for number, name in enumerate(bridge_names(current), 1)
    ]
    return made[0]


def bridge_names(current: Settings) -> tuple[str, ...]:
    """List the names of the bridges."""
    return (BRIDGE, *(f"{BRIDGE}_{number}" for number in range(2, current.bridges + 1)))
