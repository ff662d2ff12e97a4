"""Measurements for people and for Prometheus, from the same counters."""

from __future__ import annotations

import platform
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from actors.runtime.meter import BUCKETS_S
from contracts.bus_mode import BusMode
from contracts.pools import name_in
from contracts.version import VERSION
from contracts.work import State
from web.health import degraded_parts
from web.services import Services

ESTIMATIONS = (
    "create_model",
    "put_data",
    "append_day",
    "clean_features",
    "reduce_universe",
    "estimate_style_scores",
    "estimate_factor_returns",
    "risk_model",
)
"""Operations that make or estimate a model; their times are shown apart."""


def performance(services: Services, parts: dict[str, Any]) -> dict[str, Any]:
    """Give the body of ``GET /performance-metrics``.

    Parameters
    ----------
    services
        Its meter holds the HTTP face's own measurements.
    parts
        What `web.health.Health.parts` collected.
    """
    router: dict[str, Any] = parts["router"] or {}
    started = (router.get("router") or {}).get("started")
    uptime_s = time.time() - started if started else None
    operations = {name: _rates(row, uptime_s) for name, row in _operations(router)}
    calls = sum(row["calls"] for row in operations.values())
    errors = sum(sum(row["errors"].values()) for row in operations.values())
    devices: dict[str, int] = {}
    for row in operations.values():
        for device, count in row["devices"].items():
            devices[device] = devices.get(device, 0) + count
    return {
        "uptime_s": uptime_s,
        "calls": calls,
        "throughput_per_s": calls / uptime_s if uptime_s else 0.0,
        "success_rate": (calls - errors) / calls if calls else None,
        "device_use": devices,
        "operations": operations,
        "model_estimation_ms": {
            name: operations[name]["stages_ms"].get("compute") for name in ESTIMATIONS if name in operations
        },
        "http": services.meter.snapshot(),
        "faces": _faces(services, parts["bridge"] or {}),
        "websockets": dict(services.feed),
        "messagebus": parts["bridge"],
        "silent": parts["silent"],
    }


def _faces(services: Services, bridge: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Give the stages that only a face sees, `dispatch` and `publish`, per face and operation."""
    http = services.face.meter.snapshot() if services.face is not None else {}
    return {"http": http, "nats": bridge.get("stages", {})}


def _operations(router: dict[str, Any]) -> Iterable[tuple[str, dict[str, Any]]]:
    """Give what was measured of each operation, of all actors of its workload together."""
    found: dict[str, dict[str, Any]] = {}
    for actor in router.get("actors", []):
        for name, row in actor["operations"].items():
            found[name] = _together(found[name], row) if name in found else row
    return found.items()


def _together(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Add up what two actors measured of an operation."""
    stages = {**one["stages_ms"]}
    for stage, summary in other["stages_ms"].items():
        stages[stage] = _stage_together(stages[stage], summary) if stage in stages else summary
    return {
        "calls": one["calls"] + other["calls"],
        "errors": dict(Counter(one["errors"]) + Counter(other["errors"])),
        "devices": dict(Counter(one["devices"]) + Counter(other["devices"])),
        "stages_ms": stages,
    }


def _stage_together(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Add counts, sums and buckets; a quantile of both is not in theirs, so it is that of the slower one."""
    return {
        "count": one["count"] + other["count"],
        "sum_ms": one["sum_ms"] + other["sum_ms"],
        "p50": max(one["p50"], other["p50"]),
        "p99": max(one["p99"], other["p99"]),
        "buckets": [a + b for a, b in zip(one["buckets"], other["buckets"], strict=True)],
    }


def _rates(row: dict[str, Any], uptime_s: float | None) -> dict[str, Any]:
    failed = sum(row["errors"].values())
    return {
        **row,
        "success_rate": (row["calls"] - failed) / row["calls"] if row["calls"] else None,
        "throughput_per_s": row["calls"] / uptime_s if uptime_s else None,
    }


class _Snapshot(Collector):
    """One scrape: families made from counters that other processes keep."""

    def __init__(self, services: Services, parts: dict[str, Any]) -> None:
        self._services = services
        self._parts = parts

    def collect(self) -> Iterator[Metric]:
        router: dict[str, Any] = self._parts["router"] or {}
        yield InfoMetricFamily(
            "factor_engine_build",
            "What runs.",
            {"version": VERSION, "python": platform.python_version(), "system": platform.system()},
        )
        yield GaugeMetricFamily(
            "factor_engine_up", "Whether the router answers.", float(self._parts["router"] is not None)
        )
        yield from self._calls(router)
        yield from _actors(router)
        yield from self._http()
        yield from _face_stages(_faces(self._services, self._parts["bridge"] or {}))
        yield from _notes(router)
        sockets = GaugeMetricFamily(
            "factor_engine_websockets", "Subscribers, refusals, events missed.", labels=["name"]
        )
        for name, count in self._services.feed.items():
            sockets.add_metric([name], count)
        yield sockets
        doors = GaugeMetricFamily("factor_engine_doors", "Refused for their host, origin or token.", labels=["code"])
        for code, count in self._services.doors.items():
            doors.add_metric([code], count)
        yield doors
        enabled = self._services.settings.messagebus_enabled
        yield from _bus(router, self._parts["bridge"] or {}, enabled=enabled)
        yield from _host(self._parts)
        models = (self._parts["models"] or {}).get("models", [])
        version = GaugeMetricFamily("factor_engine_model_version", "Newest version of each model.", labels=["model_id"])
        for model in models:
            version.add_metric([model["model_id"]], model["model_version"])
        yield version

    @staticmethod
    def _calls(router: dict[str, Any]) -> Iterator[Metric]:
        calls = CounterMetricFamily("factor_engine_calls", "Operations answered.", labels=["operation"])
        errors = CounterMetricFamily("factor_engine_errors", "Problems by code.", labels=["operation", "code"])
        devices = CounterMetricFamily("factor_engine_device_calls", "By device.", labels=["operation", "device"])
        latency, quantiles = _latency("factor_engine_stage", "operation", "stage")
        for name, row in _operations(router):
            calls.add_metric([name], row["calls"])
            for code, count in row["errors"].items():
                errors.add_metric([name, code], count)
            for device, count in row["devices"].items():
                devices.add_metric([name, device], count)
            for stage, summary in row["stages_ms"].items():
                _add(latency, quantiles, [name, stage], summary)
        yield from (calls, errors, devices, latency, quantiles)

    def _http(self) -> Iterator[Metric]:
        calls = CounterMetricFamily("factor_engine_http_requests", "HTTP requests by route.", labels=["route"])
        errors = CounterMetricFamily("factor_engine_http_problems", "HTTP problems by code.", labels=["route", "code"])
        latency, quantiles = _latency("factor_engine_http", "route")
        for name, row in self._services.meter.snapshot().items():
            calls.add_metric([name], row["calls"])
            for code, count in row["errors"].items():
                errors.add_metric([name, code], count)
            for summary in row["stages_ms"].values():
                _add(latency, quantiles, [name], summary)
        yield from (calls, errors, latency, quantiles)


def _latency(prefix: str, *labels: str) -> tuple[HistogramMetricFamily, GaugeMetricFamily]:
    return (
        HistogramMetricFamily(f"{prefix}_seconds", "Time taken.", labels=list(labels)),
        GaugeMetricFamily(f"{prefix}_quantile_seconds", "Quantiles of recent times.", labels=[*labels, "q"]),
    )


def _add(
    latency: HistogramMetricFamily, quantiles: GaugeMetricFamily, labels: list[str], summary: dict[str, Any]
) -> None:
    below = accumulate(summary["buckets"])
    bounds = [*map(str, BUCKETS_S), "+Inf"]
    latency.add_metric(labels, list(zip(bounds, map(float, below), strict=True)), summary["sum_ms"] / 1e3)
    quantiles.add_metric([*labels, "0.5"], summary["p50"] / 1e3)
    quantiles.add_metric([*labels, "0.99"], summary["p99"] / 1e3)


def _actors(router: dict[str, Any]) -> Iterator[Metric]:
    ready = GaugeMetricFamily("factor_engine_actor_ready", "Whether the actor is READY.", labels=["workload"])
    queue = GaugeMetricFamily("factor_engine_actor_queue_length", "Requests waiting.", labels=["workload"])
    overdue = GaugeMetricFamily(
        "factor_engine_actor_overdue_seconds",
        "Computing beyond a deadline.",
        labels=["workload"],
    )
    restarts = CounterMetricFamily("factor_engine_actor_restarts", "Restarts and moves.", labels=["workload"])
    for actor in router.get("actors", []):
        labels = [name_in(actor)]
        ready.add_metric(labels, float(actor["state"] == State.READY.value))
        restarts.add_metric(labels, actor["restarts"])
        if actor["queue_length"] is None:  # it did not say how it is
            continue
        queue.add_metric(labels, actor["queue_length"])
        late = [time.time() - row["since"] for row in actor.get("overdue", {}).values()]
        overdue.add_metric(labels, max([0.0, *late]))
    yield from (ready, queue, restarts, overdue)


def _face_stages(faces: dict[str, dict[str, Any]]) -> Iterator[Metric]:
    latency, quantiles = _latency("factor_engine_face_stage", "face", "operation", "stage")
    for face, operations in faces.items():
        for name, row in operations.items():
            for stage, summary in row["stages_ms"].items():
                _add(latency, quantiles, [face, name, stage], summary)
    yield from (latency, quantiles)


def _notes(router: dict[str, Any]) -> Iterator[Metric]:
    """Give what the actors count of their caches, stores and limits."""
    values = GaugeMetricFamily(
        "factor_engine_actor", "Counters of an actor's caches, store and limits.", labels=["workload", "name"]
    )
    for actor in router.get("actors", []):
        for name, value in _numbers("", actor["notes"]):
            values.add_metric([name_in(actor), name], value)
    yield values


def _host(parts: dict[str, Any]) -> Iterator[Metric]:
    """Give what is degraded, and the room on the disks."""
    host: dict[str, Any] = parts.get("host") or {}
    degraded = GaugeMetricFamily("factor_engine_degraded", "1 for each degraded component.", labels=["component"])
    for row in degraded_parts(parts):
        degraded.add_metric([row["component"]], 1.0)
    free = GaugeMetricFamily("factor_engine_disk_free_bytes", "Free room by what lies there.", labels=["place"])
    for place, size in host.get("disk_free_bytes", {}).items():
        free.add_metric([place], size)
    fallback = CounterMetricFamily("factor_engine_http_fallback_requests", "Requests over Serve's fallback proxy.")
    if host.get("http_fallback_requests") is not None:
        fallback.add_metric([], host["http_fallback_requests"])
    yield from (degraded, free, fallback)


def _bus(router: dict[str, Any], bridge: dict[str, Any], *, enabled: bool) -> Iterator[Metric]:
    connected = GaugeMetricFamily("factor_engine_bus_connected", "Whether NATS is connected, where it is to be.")
    # Nothing where nobody can say, nor where the bus is off: an alert would call for what the operator switched off.
    if enabled and "bus" in router and bridge.get("mode") != BusMode.OFF.value:
        connected.add_metric([], float(router["bus"]["connected"]))
    yield connected
    values = GaugeMetricFamily("factor_engine_bus", "Counters and gauges of the bridge.", labels=["name"])
    for name, value in _numbers("", {key: part for key, part in bridge.items() if key != "stages"}):
        values.add_metric([name], value)
    yield values


def _numbers(prefix: str, tree: dict[str, Any]) -> Iterator[tuple[str, float]]:
    """Give every number in a tree under its dotted name."""
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            yield from _numbers(f"{name}.", value)
        elif isinstance(value, int | float):
            yield name, float(value)


def prometheus(services: Services, parts: dict[str, Any]) -> bytes:
    """Give the body of ``GET /metrics``: the text format that Prometheus scrapes."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Snapshot(services, parts))
    return generate_latest(registry)
