"""Health by the second: small, since it says what changed; whole now and then, and in a bucket for who comes later.

The figures are those that others count: the actors are asked every few seconds, since each look is a call to all of
them; what the bridge itself knows is of this second.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import orjson
from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.api import KeyValueConfig, StorageType

from bus.wire import publication, publish_all
from contracts.events import Event, event
from contracts.pools import name_in
from contracts.work import Priority, new_id

BUCKET = "factor_health"
LATEST = "latest"
"""The bucket's one key: the newest message, whole."""
BUCKET_BYTES = 4 * 2**20
WHOLE_S = 30.0
ACTORS_S = 5.0
"""The actors and the store are looked at so often."""

Look = Callable[[], Awaitable[dict[str, Any]]]


class HealthTeller:
    """Makes and publishes the messages.

    Parameters
    ----------
    router : callable
        Gives the router's view of every actor; raises nothing.
    models : callable
        Gives the newest version of each model; called in a thread.
    """

    def __init__(self, router: Look, models: Callable[[], Mapping[str, int]]) -> None:
        self._router = router
        self._models = models
        self._seen: dict[str, Any] = {}
        self._versions: dict[str, int] = {}
        self._looked_at = float("-inf")
        self._rates: dict[str, tuple[float, float]] = {}
        self._of_actors: dict[str, Any] = {}
        self._told: dict[str, Any] | None = None
        self._whole_at = float("-inf")
        self._bucket: Client | None = None
        self.run = new_id()[:12]
        self.sequence = 0

    async def collect(
        self, status: Mapping[str, Any], stats: Mapping[str, Any], degraded: Callable[[Any], list[dict[str, Any]]]
    ) -> dict[str, Any]:
        """Put the whole together, without what is missing; `contracts.health_metrics.Metrics` describes it.

        Parameters
        ----------
        status, stats
            The bridge's.
        degraded
            Gives every part that is not as it should be, from the router's own rows.
        """
        now = time.monotonic()
        if now - self._looked_at >= ACTORS_S:
            self._looked_at = now
            self._seen = await self._router()
            with contextlib.suppress(OSError):  # a disk that is away is named elsewhere
                self._versions = dict(await asyncio.to_thread(self._models))
            self._of_actors = self._about(self._seen.get("actors", []), now)
        outbox = stats.get("outbox", {})
        about = self._of_actors
        whole = {
            "state": self._seen.get("state", "DEGRADED"),
            "degraded": degraded(self._seen.get("degraded", [])),
            "latency_ms": {
                "answers": about["latency"],
                "delivery": {name: _short(value) for name, value in stats.get("delivery_ms", {}).items()},
            },
            "throughput_per_s": {
                "answers": about["answers"],
                "requests": _short(self._since("requests", stats["requests"], now)),
                "events": _short(self._since("events", stats["acknowledged"], now)),
            },
            "success": about["success"],
            "devices": about["devices"],
            "actors": about["actors"],
            "models": self._versions,
            "bus": {
                "mode": status["mode"],
                "jetstream": status["jetstream"],
                "connections": status["connections"],
                "waiting": outbox.get("depth", 0),
                "in_flight": stats["in_flight"],
                "requests_in_work": stats["in_work"],
                "undeliverable": outbox.get("undeliverable", 0),
                "dropped": outbox.get("dropped_low", 0) + outbox.get("dropped_oldest", 0),
                "refused": stats["refused"],
                "rejected": stats["durable"]["rejected"] + stats["bars"]["rejected"],
            },
        }
        return _known(whole)

    def _about(self, actors: list[dict[str, Any]], now: float) -> dict[str, Any]:
        operations = [row for actor in actors for row in (actor.get("operations") or {}).values()]
        calls = sum(row.get("calls", 0) for row in operations)
        errors = sum(sum(row.get("errors", {}).values()) for row in operations)
        done, failed = self._since("calls", calls, now), self._since("errors", errors, now)
        devices: dict[str, int] = {}
        for row in operations:
            for device, count in row.get("devices", {}).items():
                devices[device] = devices.get(device, 0) + count
        return {
            "latency": {"p50": _most(actors, "p50_ms"), "p99": _most(actors, "p99_ms")},
            "answers": _short(done),
            "success": _short(1.0 - (failed or 0.0) / done) if done else None,
            "devices": devices,
            "actors": {name_in(row): _actor(row) for row in actors},
        }

    def _since(self, name: str, count: float, now: float) -> float | None:
        """Give how fast a counter grew since it was looked at before; None at first, or when it began anew."""
        before = self._rates.get(name)
        self._rates[name] = now, count
        if before is None or count < before[1] or now <= before[0]:
            return None
        return (count - before[1]) / (now - before[0])

    def message(self, metrics: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Give the next message, and the same as a whole."""
        now = time.monotonic()
        self.sequence += 1
        head = {
            "sequence": self.sequence,
            "run": self.run,
            "time": dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        }
        whole = {**head, "whole": True, "metrics": metrics}
        before, self._told = self._told, metrics
        if before is None or now - self._whole_at >= WHOLE_S:
            self._whole_at = now
            return whole, whole
        return {**head, "whole": False, "changes": patch(before, metrics)}, whole

    async def tell(self, nc: Client, subject: str, metrics: dict[str, Any]) -> Event:
        """Publish the next message, and keep it whole in the bucket; gives its event."""
        if self._bucket is not nc:
            await _make_bucket(nc.jetstream())
            self._bucket = nc
        message, whole = self.message(metrics)
        made = event(subject, "HEALTH_METRICS", message, priority=Priority.LOW)
        kept = publication(f"$KV.{BUCKET}.{LATEST}", {"Content-Type": "application/json"}, orjson.dumps(whole))
        await publish_all(nc, [publication(subject, made.headers(), made.data), kept])
        return made


async def _make_bucket(js: JetStreamContext) -> None:
    config = KeyValueConfig(
        bucket=BUCKET,
        description="The engine's health as it was told last",
        history=1,
        max_bytes=BUCKET_BYTES,
        storage=StorageType.FILE,
    )
    with contextlib.suppress(NatsError):  # it is there, made otherwise: it is used as it is
        await js.create_key_value(config)


def patch(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """Give what makes `after` of `before` as a JSON merge patch (RFC 7396): what is gone is null."""
    out: dict[str, Any] = dict.fromkeys(before.keys() - after.keys())
    for name, value in after.items():
        old = before.get(name)
        if isinstance(value, Mapping) and isinstance(old, Mapping):
            inner = patch(old, value)
            if inner:
                out[name] = inner
        elif name not in before or value != old:
            out[name] = value
    return out


def _known(values: dict[str, Any]) -> dict[str, Any]:
    """Leave out what is missing: in a merge patch null means that a key is gone."""
    return {
        name: _known(value) if isinstance(value, dict) else value for name, value in values.items() if value is not None
    }


def _actor(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "state": row["state"],
        "device": row.get("device"),
        "queue_length": row.get("queue_length"),
        "p50_ms": _short(row.get("p50_ms")),
        "p99_ms": _short(row.get("p99_ms")),
    }


def _most(actors: list[dict[str, Any]], name: str) -> float | None:
    return _short(max((row[name] for row in actors if row.get(name) is not None and row.get("calls")), default=None))


def _short(value: float | None) -> float | None:
    """Give three digits: noise below them would be a change each second."""
    return None if value is None else float(f"{value:.3g}")
