"""What the engine says of itself: the old engine's health keys with true values, beside the state of every part."""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any

from bus.condition import troubles
from contracts.operations import OPERATIONS, Workload
from contracts.pools import name_in
from contracts.settings import Settings
from contracts.work import Device, Priority, State
from web.services import Services, within

PROBE_S = 1.5
"""How long one part may take to say how it is; health answers without it then."""
FRESH_S = 0.25
"""Callers that ask at the same time share one look."""
DEFINITIONS_S = 60.0
LIMITS = (
    "http_json_limit_bytes", "http_bulk_limit_bytes", "json_value_limit", "table_limit_mb", "model_grid_limit_mb",
    "posted_grid_limit_mb", "actor_memory_limit_mb", "queue_limit", "bridge_limit", "nats_rate", "outbox_limit",
    "keep_versions",
)  # fmt: skip


class Health:
    """Collects the state of the parts; every answer is made of what answered in time.

    Parameters
    ----------
    services
        What the HTTP face is connected to.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self._looked_at = 0.0
        self._look: asyncio.Task[dict[str, Any]] | None = None
        self._since: dict[str, float] = {}
        self._definitions: int | None = None
        self._definitions_at = 0.0

    async def parts(self) -> dict[str, Any]:
        """Give ``router``, ``bridge`` and ``models`` as they answered, and ``silent``: who did not, and why."""
        now = time.monotonic()
        if self._look is None or (self._look.done() and now - self._looked_at > FRESH_S):
            self._looked_at = now
            self._look = asyncio.create_task(self._collect())
        return await asyncio.shield(self._look)

    async def _collect(self) -> dict[str, Any]:
        services = self._services
        if services.client is None:
            starting = {"router": services.starting_because}
            seen, _ = await within(PROBE_S, self._host())
            return {"router": None, "bridge": None, "models": None, "host": seen, "silent": starting}
        wanted = services.settings.messagebus_enabled
        router, bridge, models, host = await asyncio.gather(
            within(PROBE_S, services.client.health()),
            within(PROBE_S, services.bridge.status() if services.bridge is not None else None),
            within(PROBE_S, self._models()),
            within(PROBE_S, self._host()),
        )
        silent = {"router": router[1], "bridge": bridge[1] if wanted else None, "models": models[1]}
        return {
            "router": router[0],
            "bridge": bridge[0],
            "models": models[0],
            "host": host[0],
            "silent": {name: reason for name, reason in silent.items() if reason is not None},
        }

    async def _host(self) -> dict[str, Any]:
        """Look at the machine, off the event loop, and at this process's own door to the outbox."""
        services = self._services
        found = await asyncio.to_thread(services.host) if services.host is not None else {"degraded": {}}
        trouble = services.face.outbox_trouble() if services.face is not None else None
        if trouble is not None:
            found["degraded"]["outbox"] = f"events cannot be put into the outbox: {trouble.reason}"
        return found

    async def _models(self) -> dict[str, Any]:
        face = self._services.need_face()
        return await face.answer(OPERATIONS["list_models"], {}, priority=Priority.HIGH, timeout_s=PROBE_S)

    async def _definitions_loaded(self, parts: dict[str, Any]) -> int | None:
        """Give how many definitions the library has, None where it never said; asked for rarely, as it seldom grows."""
        stale = self._definitions is None or time.monotonic() - self._definitions_at > DEFINITIONS_S
        if stale and _state_of(parts, Workload.FACTOR_LIBRARY) == State.READY.value:
            call = self._services.need_face().answer(OPERATIONS["definitions"], {}, timeout_s=PROBE_S)
            answer, _ = await within(PROBE_S, call)
            if answer is not None:
                self._definitions, self._definitions_at = int(answer.get("loaded", 0)), time.monotonic()
        return self._definitions

    def degraded(self, parts: dict[str, Any]) -> list[dict[str, Any]]:
        """Name every part that is not as it should be, with the reason and since when it was seen so."""
        rows = degraded_parts(parts)
        now = time.time()
        self._since = {row["component"]: self._since.get(row["component"], now) for row in rows}
        return [{"since": self._since[row["component"]], **row} for row in rows]

    async def report(self) -> dict[str, Any]:
        """Give the body of ``GET /health``."""
        parts = await self.parts()
        router: dict[str, Any] = parts["router"] or {}
        actors: list[dict[str, Any]] = router.get("actors", [])
        models: list[dict[str, Any]] = (parts["models"] or {}).get("models", [])
        degraded = self.degraded(parts)
        return {
            "status": _status(parts, degraded),
            "messagebus_connected": bool(router.get("bus", {}).get("connected", False)),
            "neural_engine_available": any(
                Device.NEURAL_ENGINE.value in actor["placement"]["device"] for actor in actors
            ),
            "toraniko_available": _ready(parts, Workload.FACTOR_MODEL_CREATION, Workload.STYLE_FACTOR_CALCULATION),
            "factor_definitions_loaded": await self._definitions_loaded(parts),
            "huge_improvements": {
                # Who could not be asked has not said that there are none.
                "factor_models_active": len(models) if parts["models"] is not None else None,
                "feature_cleaning_enabled": _ready(parts, Workload.FACTOR_MODEL_CREATION),
                "ledoit_wolf_enabled": _ready(parts, Workload.COVARIANCE_MATRIX_COMPUTATION),
            },
            "degraded": degraded,
            "starting": router.get("starting", []),
            "starting_because": router.get("starting_because", {}),
            "default_model": router.get("default_model"),
            "models": models,
            "actors": actors,
            "nodes": router.get("nodes", []),
            "router": router.get("router"),
            "messagebus": router.get("bus"),
            "http": {"pid": os.getpid(), "started": self._services.started_at, "reader": self._services.reader.stats()},
            "limits": limits(self._services.settings),
        }

    async def brief(self) -> dict[str, Any]:
        """Give the body of ``GET /api/v1/factor-engine/status``."""
        parts = await self.parts()
        router: dict[str, Any] = parts["router"] or {}
        degraded = self.degraded(parts)
        return {
            "status": _status(parts, degraded),
            "uptime_s": time.time() - self._services.started_at,
            "actors": {name_in(actor): actor["state"] for actor in router.get("actors", [])},
            "models": [
                {"model_id": model["model_id"], "model_version": model["model_version"]}
                for model in (parts["models"] or {}).get("models", [])
            ],
            "default_model": router.get("default_model"),
            "messagebus_connected": bool(router.get("bus", {}).get("connected", False)),
            "degraded": [row["component"] for row in degraded],
        }


def limits(current: Settings) -> dict[str, Any]:
    """Give what is refused beyond, by setting; docs/operations.md says with which answer."""
    return {name: getattr(current, name) for name in LIMITS}


def _status(parts: dict[str, Any], degraded: list[dict[str, Any]]) -> str:
    starting = parts["router"] is not None and parts["router"].get("starting")
    if parts["router"] is None and "starting" in parts["silent"].get("router", ""):
        return "starting"
    if degraded:
        return "degraded"
    return "starting" if starting else "healthy"


def degraded_parts(parts: dict[str, Any]) -> list[dict[str, Any]]:
    """Name every part that is not as it should be: those that the router names, and those that did not answer."""
    router: dict[str, Any] = parts["router"] or {}
    rows = list(router.get("degraded", []))
    named = {row["component"] for row in rows}
    starting = {str(name) for name in router.get("starting", [])}
    for part, reason in parts["silent"].items():
        if part == "models" and (Workload.FACTOR_EXPOSURE_ANALYSIS.value in starting or "router" in parts["silent"]):
            continue
        if part == "bridge" and "messagebus" in named:
            continue
        rows.append({"component": part, "state": State.DEGRADED.value, "reason": reason})
    rows += [
        {"component": component, "state": State.DEGRADED.value, "reason": reason}
        for component, reason in (*troubles(parts["bridge"] or {}), *_of_the_host(parts))
    ]
    return [*rows, *_damaged(parts)]


def _of_the_host(parts: dict[str, Any]) -> list[tuple[str, str]]:
    return list(((parts.get("host") or {}).get("degraded") or {}).items())


def _damaged(parts: dict[str, Any]) -> list[dict[str, Any]]:
    """Name the models that cannot be read and what an actor that is READY does without, each with its file."""
    rows = [
        {"component": f"model:{model['model_id']}", "reason": model["reason"], "file": model["file"]}
        for model in (parts["models"] or {}).get("unreadable", [])
    ]
    for actor in (parts["router"] or {}).get("actors", []):
        rows += (actor.get("notes") or {}).get("degraded", [])
    return [{"state": State.DEGRADED.value, **row} for row in rows]


def _state_of(parts: dict[str, Any], workload: Workload) -> str | None:
    """Give the state of a workload's actor; of several READY where one is, since that one answers."""
    actors = (parts["router"] or {}).get("actors", [])
    states = [str(actor["state"]) for actor in actors if actor["workload"] == workload.value]
    return State.READY.value if State.READY.value in states else states[0] if states else None


def _ready(parts: dict[str, Any], *workloads: Workload) -> bool:
    return all(_state_of(parts, workload) == State.READY.value for workload in workloads)
