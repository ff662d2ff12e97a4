"""The nodes of the cluster as the router sees them: those that live, and those that went a while ago."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from contracts.work import Device, State

REMEMBERED_S = 600.0
"""A node that went is told of for so long, or until a node of its address is there: it may have been taken away."""


class Node(NamedTuple):
    """A node, the devices that it offers, its host's name, its address, and whether it takes an actor of each pool."""

    node_id: str
    devices: frozenset[Device]
    name: str = ""
    address: str = ""
    holds: bool = True


class _Gone(NamedTuple):
    """A node that went, and when that was seen: monotonic seconds, and seconds since the epoch."""

    node: Node
    seen: float
    since: float


class Nodes:
    """What the last look at the cluster found, beside what looks before it found."""

    def __init__(self) -> None:
        self.living: list[Node] = []
        self.since = time.monotonic()
        """When a node came or went last; monotonic seconds."""
        self._gone: dict[str, _Gone] = {}

    def look(self, found: Sequence[Node], now: float) -> bool:
        """Take in which nodes live, at a time in monotonic seconds; true when one came or went."""
        before = {node.node_id: node for node in self.living}
        self.living = list(found)
        living = {node.node_id for node in found}
        addresses = {node.address for node in found}
        for node_id in before.keys() - living:
            self._gone[node_id] = _Gone(before[node_id], now, time.time())
        self._gone = {
            node_id: gone
            for node_id, gone in self._gone.items()
            if gone.node.address not in addresses and now - gone.seen < REMEMBERED_S
        }
        changed = before.keys() != living
        if changed:
            self.since = now
        return changed

    def gone(self, node_id: str | None) -> str | None:
        """Give the name of a node that went; None when this one lives, or is not remembered."""
        gone = self._gone.get(node_id or "")
        return None if gone is None else gone.node.name or gone.node.node_id

    def name(self, node_id: str | None) -> str:
        """Give the name of a node's host; a node that is not known is named by its id."""
        return next((node.name for node in self.living if node.node_id == node_id and node.name), str(node_id))

    def degraded(self) -> list[dict[str, Any]]:
        """Name each node that went, as rows of ``/health``."""
        return [
            {
                "component": f"node:{gone.node.name or gone.node.node_id}",
                "state": State.DEGRADED.value,
                "reason": f"{gone.node.address} is not in the cluster any more; its actors start elsewhere",
                "since": gone.since,
            }
            for gone in self._gone.values()
        ]

    def listed(self) -> list[dict[str, Any]]:
        """List the living nodes."""
        return [
            {
                "node_id": node.node_id,
                "node": node.name,
                "address": node.address,
                "devices": sorted(device.value for device in node.devices),
            }
            for node in self.living
        ]
