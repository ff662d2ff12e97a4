"""The route table: where each workload's actor is, published by the router and cached by every client."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, NamedTuple

from contracts.work import State

READY = State.READY.value
FAULTED = State.FAULTED.value


class Bus(NamedTuple):
    """Whether the bridge is connected to NATS, and since when (seconds since the epoch)."""

    connected: bool
    since: float


class Copy(NamedTuple):
    """One of several actors of a workload, under its name, and the node where it was last seen."""

    name: str
    handle: Any
    state: str
    generation: int
    reason: str
    node_id: str | None

    @property
    def direct(self) -> bool:
        """Whether a read may go straight to it."""
        return self.state == READY and self.handle is not None


class ActorRoute(NamedTuple):
    """One workload's actor. `handle` is None until it was created.

    Where the workload has several, it is the first that is READY, and `copies` has all of them, by number.
    """

    workload: str
    handle: Any
    state: str
    generation: int
    reason: str
    copies: tuple[Copy, ...] = ()

    @property
    def actors(self) -> tuple[Copy, ...]:
        """All of the workload's actors, also where it has but one."""
        return self.copies or (Copy(self.workload, self.handle, self.state, self.generation, self.reason, None),)

    @property
    def direct(self) -> bool:
        """Whether a read may go straight to the actor."""
        return self.state == READY and self.handle is not None


class RouteTable(NamedTuple):
    """All routes. `version` grows with every change, over router restarts too; `epoch` names one life of the router."""

    version: int
    epoch: str
    routes: dict[str, ActorRoute]
    bus: Bus
    default_model: str | None


class Published:
    """The one table that holds now. It changes on the fleet's thread and on the router's loop, one change at a time.

    Parameters
    ----------
    first
        What holds until the first change.
    """

    def __init__(self, first: RouteTable) -> None:
        self._lock = threading.Lock()
        self._table = first

    @property
    def table(self) -> RouteTable:
        """The table that holds now."""
        return self._table

    def change(self, make: Callable[[RouteTable], RouteTable]) -> None:
        """Put what `make` gives in place of the table, under a version that no table had before.

        `make` reads the state that the table tells of while no other change runs, so that of two changes the one with
        the higher version knows both. Two tables of one version would hide the second from who has the first.
        """
        with self._lock:
            version = self._table.version + 1
            self._table = make(self._table)._replace(version=version)
