"""What the router tells about the actors: placement beside execution, state, and latency."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from contracts.work import Device, State
from router.member import Member
from router.table import Copy, RouteTable

OVERDUE_S = 2.0
"""A computation looks at its deadline between blocks, a fraction of a second long."""


def describe(member: Member, stats: dict[str, Any] | None) -> dict[str, Any]:
    """Describe one actor.

    Parameters
    ----------
    member
        What the router knows of it.
    stats
        What it says of itself; None when it did not answer, and then what only it knows is None.
    """
    ping = member.ping
    said = stats or {}
    used: dict[str, int] = said.get("devices_used", {})
    latency: dict[str, float] = said.get("latency_ms", {})
    return {
        "actor": member.name,
        "workload": member.workload.value,
        "wanted_device": [device.value for device in member.wanted] or [Device.CPU.value],
        "placement": {
            "device": [device.value for device in member.devices] or [Device.CPU.value],
            "node": said.get("node"),
            "node_id": ping.get("node_id"),
            "resources": {name: share for name, share in ping.get("resources", {}).items() if share},
        },
        "device": max(used, key=lambda name: used[name]) if used else None,
        "devices_used": used,
        "device_shares": {name: count / sum(used.values()) for name, count in used.items() if count},
        "state": member.state.value,
        "reason": member.reason,
        "pid": ping.get("pid"),
        "generation": member.generation,
        "restarts": member.restarts,
        "overdue": said.get("overdue", {}),
        "queue_length": sum(said.get("queue_length", {}).values()) if stats else None,
        "calls": said.get("calls"),
        "errors": said.get("errors"),
        "p50_ms": latency.get("p50"),
        "p99_ms": latency.get("p99"),
        "operations": said.get("operations", {}),
        "notes": said.get("notes", {}),
    }


def degraded(members: list[Member], table: RouteTable, *, bus_wanted: bool) -> list[dict[str, str]]:
    """Name each component that is not as wanted, and why."""
    out = [
        {"component": f"actor:{m.name}", "state": m.state.value, "reason": m.reason}
        for m in members
        if m.state in (State.DEGRADED, State.FAULTED)
        or (m.state is State.STARTING and (m.ping or m.restarts or m.waits))
    ]
    if bus_wanted and not table.bus.connected:
        out.append({"component": "messagebus", "state": State.DEGRADED.value, "reason": "NATS is not connected"})
    return out


def overdue(members: list[Member], said: list[dict[str, Any] | None]) -> list[dict[str, Any]]:
    """Name each actor that computes something for which nobody waits any more: others wait behind it."""
    now = time.time()
    return [
        {
            "component": f"actor:{member.name}",
            "state": State.DEGRADED.value,
            "reason": f"its {lane} lane computes {row['operation']} {now - row['since']:.0f} s beyond its deadline",
            "since": row["since"],
        }
        for member, stats in zip(members, said, strict=True)
        for lane, row in (stats or {}).get("overdue", {}).items()
        if now - row["since"] > OVERDUE_S
    ]


def learned(folder: Path) -> dict[str, Any]:
    """Give what each actor wrote down of its devices: seconds ago, times by kernel and bucket, measured errors."""
    out: dict[str, Any] = {}
    for path in sorted(folder.glob("*.json")):
        try:
            kept = json.loads(path.read_text())
            said = {"age_s": time.time() - kept["at"], "table": kept["table"], "errors": kept["errors"]}
        except (OSError, ValueError, KeyError):  # another release's, or just being replaced
            continue
        out["calibration" if path.name.startswith("calibration-") else path.stem] = said
    return out


def routing(table: RouteTable) -> dict[str, Any]:
    """Give the route table as plain values."""
    return {
        "version": table.version,
        "epoch": table.epoch,
        "bus": table.bus._asdict(),
        "default_model": table.default_model,
        "routes": [
            {
                "workload": route.workload,
                "state": route.state,
                "direct_reads": route.direct,
                "generation": route.generation,
                "reason": route.reason,
                **({"copies": [_copy(copy) for copy in route.copies]} if route.copies else {}),
            }
            for route in table.routes.values()
        ],
    }


def _copy(copy: Copy) -> dict[str, Any]:
    return {
        "actor": copy.name,
        "state": copy.state,
        "direct_reads": copy.direct,
        "generation": copy.generation,
        "node_id": copy.node_id,
        "reason": copy.reason,
    }
