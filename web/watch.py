"""Looks at the engine's health when nobody asks: tells the bus of it, and mends what only an HTTP replica can see."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

from contracts.errors import first_line
from web.health import Health
from web.services import Services, within

EVERY_S = 5.0
TELL_S = 2.0
RELOAD_AFTER_S = 10.0
"""A configuration that lacks this replica for so long is not on its way any more."""
RELOAD_EVERY_S = 15.0
RELOAD_S = 10.0

_log = logging.getLogger(__name__)


class Watch:
    """One replica's look at the engine.

    Parameters
    ----------
    services
        What the replica is connected to.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self._health = Health(services)
        self._reload_at = 0.0
        self.reloads_asked = 0

    async def run(self) -> None:
        """Look every few seconds until cancelled."""
        while True:
            await asyncio.sleep(EVERY_S)
            try:
                await self.look()
            except Exception:  # noqa: BLE001  a watch that ended would leave nobody who mends
                _log.exception("looking at the engine's health failed")

    async def look(self) -> None:
        """Look once."""
        rows = self._health.degraded(await self._health.parts())
        if self._services.bridge is not None:
            await within(TELL_S, self._services.bridge.tell(rows))
        await self._mend_proxy(rows)

    async def _mend_proxy(self, rows: list[dict[str, Any]]) -> None:
        """Have a configuration loaded again that could not be: Serve tries three times, and then no more.

        Where the disk was full it works when there is room again, and costs nothing before.
        """
        reload_proxy = self._services.reload_proxy
        since = next((row["since"] for row in rows if row["component"] == "haproxy_reload"), None)
        if reload_proxy is None or since is None or time.time() - since < RELOAD_AFTER_S:
            return
        now = time.monotonic()
        if now < self._reload_at:
            return
        self._reload_at = now + RELOAD_EVERY_S
        self.reloads_asked += 1
        _log.warning("HAProxy does not know this replica; its configuration is loaded again")
        try:
            async with asyncio.timeout(RELOAD_S):
                await reload_proxy()
        except Exception as error:  # noqa: BLE001  Serve or the proxy's keeper is away: tried again
            _log.warning("HAProxy's configuration cannot be loaded again: %s", first_line(error))
