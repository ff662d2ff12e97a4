"""One workload actor as the router sees it, and what to do with it.

What to do is a pure function of what was seen (`decide`), so that it can be tested without Ray.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from contracts.operations import OPERATIONS, Workload
from contracts.pools import actor_name
from contracts.settings import FROZEN_AFTER_S
from contracts.work import Device, State

PREPARING_FACTOR = 6.0
"""A process that lives may prepare this many times longer than a process may take to appear."""


class Action(enum.Enum):
    """What reconciling does with one actor."""

    LEAVE = "leave"
    CREATE = "create"
    MOVE = "move"


@dataclass
class Member:
    """One actor of a workload: what is wanted, what was asked for, and what was last seen."""

    workload: Workload
    wanted: tuple[Device, ...]
    number: int = 1
    """Which of the workload's actors; see `contracts.pools`."""
    spread: bool = False
    """It is one of several, which are to lie on different nodes."""
    home: str | None = None
    """The node that it is wanted on, where each node has one."""
    home_at: float = 0.0
    """When it may be moved to that node, if it is on another; monotonic seconds."""
    handle: Any = None
    devices: tuple[Device, ...] = ()
    state: State = State.STARTING
    reason: str = "not created yet"
    generation: int = 0
    restarts: int = 0
    """Times that this router saw it in a new process, or moved it."""
    asked_at: float = 0.0
    """When it was created, restarted or last answered; monotonic seconds."""
    retry_at: float = 0.0
    failures: int = 0
    ping: dict[str, Any] = field(default_factory=dict)
    pending: Future[dict[str, Any]] | None = None
    alive: bool = False
    """The process answered its last ping."""
    gone: bool = False
    """Ray says that the actor is dead for good."""
    restarting: bool = False
    """Its process ended, and the next one has not answered yet."""
    waits: int = 0
    """It was asked for, and its process is not there after so many times `WAITS_S`."""
    pinged_at: float = 0.0
    """When the ping that is under way was sent; monotonic seconds."""
    worked_at: float = 0.0
    """When a thread of the silent process was last seen at work; monotonic seconds."""
    stopped: bool = False
    """The process was seen stopped: it computes nothing, however long one waits."""
    failed_on: frozenset[str] = frozenset()
    """Nodes whose devices did not serve this actor; they are tried again when the nodes change, or a while passed."""
    forgiven_at: float = 0.0
    """When these nodes are tried again; monotonic seconds."""
    refusals: int = 0
    """Times that nodes failed this actor since the nodes changed."""

    @property
    def name(self) -> str:
        """The actor's name."""
        return actor_name(self.workload, self.number)


def frozen_limit_s(member: Member, frozen_after_s: float) -> float:
    """Give how long an actor may be silent before it is replaced: `frozen_after_s` beyond its longest deadline.

    A process that holds the interpreter for a long computation answers no ping either; a stopped one computes nothing.
    """
    if member.stopped:
        return frozen_after_s
    return frozen_after_s + max(row.timeout_s for row in OPERATIONS.values() if row.workload is member.workload)


def decide(
    member: Member,
    offer: tuple[Device, ...],
    now: float,
    *,
    timeout_s: float,
    settled: bool,
    astray: bool = False,
    frozen_after_s: float = FROZEN_AFTER_S,
) -> tuple[Action, str]:
    """Decide what to do with an actor, and say why.

    Parameters
    ----------
    member
        What is known of it.
    offer
        The devices that the cluster offers it now, those that failed it left out.
    now
        Monotonic seconds.
    timeout_s
        How long an actor on a device may take to appear.
    settled
        Whether the nodes have been the same for a while.
    astray
        Whether the node that it is wanted on lives, and it is on another.
    frozen_after_s
        Silence beyond the longest deadline before a living process is replaced.
    """
    if member.handle is None or member.gone:
        return (Action.CREATE, member.reason) if now >= member.retry_at else (Action.LEAVE, member.reason)
    silent_s = now - member.asked_at
    lost = [device.value for device in member.devices if device not in offer]
    if member.state is State.FAULTED:
        return (Action.MOVE, member.reason) if now >= member.retry_at else (Action.LEAVE, member.reason)
    if not member.alive:
        if lost and member.devices:
            return Action.MOVE, f"no living node offers {', '.join(lost)}"
        patience_s = PREPARING_FACTOR * timeout_s if member.ping else timeout_s
        if member.devices and silent_s > patience_s:
            return Action.MOVE, f"not up on {names(member.devices)} within {patience_s:g} s"
        if silent_s > frozen_limit_s(member, frozen_after_s):
            return Action.MOVE, f"frozen: no sign of life for {silent_s:.0f} s"
        return Action.LEAVE, member.reason
    if member.state is State.STARTING and member.devices and silent_s > PREPARING_FACTOR * timeout_s:
        return Action.MOVE, f"not READY on {names(member.devices)} within {PREPARING_FACTOR * timeout_s:g} s"
    if settled and member.state is State.READY and member.ping.get("idle", False):
        if astray and now >= member.home_at:
            return Action.MOVE, "it is not on its node, which Ray did not know yet"
        if len(offer) > len(member.devices):
            return Action.MOVE, f"{names(offer)} came"
    return Action.LEAVE, member.reason


def names(devices: Sequence[Device]) -> str:
    """Name the devices that an actor sits on, or asks for."""
    return " and ".join(device.value for device in devices) or "cpu"
