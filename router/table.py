"""The route table: where each workload's actor is, published by the router and cached by every client."""

from __future__ import annotations

from typing import Any, NamedTuple

from contracts.work import State


class Bus(NamedTuple):
    """Whether the bridge is connected to NATS, and since when (seconds since the epoch)."""

    connected: bool
    since: float


class Route(NamedTuple):
    """One workload's actor. `handle` is None until it was created."""

    workload: str
    handle: Any
    state: str
    generation: int
    reason: str

    @property
    def direct(self) -> bool:
        """Whether a read may go straight to the actor."""
        return self.handle is not None and self.state == State.READY.value


class RouteTable(NamedTuple):
    """All routes. `version` grows with every change, over router restarts too; `epoch` names one life of the router."""

    version: int
    epoch: str
    routes: dict[str, Route]
    bus: Bus
    default_model: str | None
