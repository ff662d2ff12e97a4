"""What is not as it should be, as the bridge knows it: of its own, and what the HTTP face told it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from contracts.work import State

STALE_S = 30.0
"""What the HTTP face told is believed for so long; it tells every few seconds."""


def troubles(status: dict[str, Any]) -> list[tuple[str, str]]:
    """Name the streams that take no writes, and what else a bridge's status says of the bus: component, reason."""
    rows = [
        (f"stream:{name}", f"the stream takes no writes: {fault['reason']}")
        for name, fault in status.get("streams_without_writes", {}).items()
    ]
    jetstream = str(status.get("jetstream", "ready"))
    if jetstream.startswith("unavailable"):
        rows.append(("jetstream", f"no streams: {jetstream}"))
    if status.get("outbox_trouble"):
        rows.append(("outbox:bridge", f"events cannot be put into the outbox: {status['outbox_trouble']}"))
    if status.get("mode") == "full":  # else they are not connected because they are not to be
        rows += [
            (f"outpost:{name}", f"it answers no requests: {row.get('last_error') or 'not connected'}")
            for name, row in status.get("outposts", {}).items()
            if not row.get("connected")
        ]
    if status.get("shedding"):
        rows.append(("live", str(status["shedding"])))
    return rows


class Condition:
    """The list of what is degraded, for the health event: as long as `GET /health` while the HTTP face is there.

    The HTTP face alone sees the disks and HAProxy; without it the router's and the bridge's own rows are told, and that
    the HTTP face is silent.
    """

    def __init__(self) -> None:
        self._http: list[dict[str, Any]] | None = None
        self._http_at = 0.0

    def told_by_http(self, rows: Sequence[dict[str, Any]]) -> None:
        """Take what the HTTP face names now."""
        self._http, self._http_at = list(rows), time.monotonic()

    def degraded(self, router: Sequence[dict[str, Any]], status: dict[str, Any]) -> list[dict[str, Any]]:
        """Give every row that is known: `component`, `state`, `reason`.

        Parameters
        ----------
        router
            The router's own rows.
        status
            The bridge's status.
        """
        known = [*router, *({"component": name, "reason": reason} for name, reason in troubles(status))]
        silent_s = time.monotonic() - self._http_at
        if self._http is not None and silent_s < STALE_S:
            known += self._http
        elif self._http is not None:
            reason = f"the HTTP face has told nothing for {silent_s:.0f} s"
            known.append({"component": "http", "reason": reason})
        rows = {row["component"]: {"state": State.DEGRADED.value, **row} for row in known}
        return list(rows.values())
