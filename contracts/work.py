"""What travels between a face, the router and a workload actor: small and picklable."""

from __future__ import annotations

import enum
import os
import random
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from contracts.caller import request_id as id_asked
from contracts.caller import traceparent
from contracts.errors import EngineError, InvalidInput

if TYPE_CHECKING:
    from contracts.answers import Answer
    from contracts.requests import Request


class Priority(enum.IntEnum):
    """How urgent a request or a message is; the old engine's names."""

    LOW = 0
    NORMAL = 1
    HIGH = 2
    URGENT = 3
    CRITICAL = 4

    @classmethod
    def parse(cls, text: str | int | Priority) -> Priority:
        """Read a priority by name (any case) or number; raises `InvalidInput`."""
        try:
            return cls(text) if isinstance(text, int) else cls[text.strip().upper()]
        except (KeyError, ValueError, AttributeError):
            names = ", ".join(p.name.lower() for p in cls)
            raise InvalidInput(f"priority must be one of {names}, was {text!r}", field="messagebus_priority") from None


class Lane(enum.StrEnum):
    """Which queue of an actor a request waits in, so that a short one never waits behind a long one."""

    LIGHT = "light"
    HEAVY = "heavy"


class Device(enum.StrEnum):
    """Where a kernel ran, or where an actor wants to be."""

    CPU = "cpu"
    METAL_GPU = "metal_gpu"
    NEURAL_ENGINE = "neural_engine"


ROUNDING = {Device.CPU: 2.0**-53, Device.METAL_GPU: 2.0**-24, Device.NEURAL_ENGINE: 2.0**-11}
"""Largest relative error of one rounding of a device's numbers: float64, float32, float16."""
PREFERRED = (Device.NEURAL_ENGINE, Device.METAL_GPU)
"""Between nodes that offer an actor equally many devices, the one with the first of these is taken."""


class State(enum.StrEnum):
    """Life of an actor or component."""

    STARTING = "STARTING"
    READY = "READY"
    DEGRADED = "DEGRADED"
    FAULTED = "FAULTED"
    STOPPED = "STOPPED"


Key = tuple[str, float]
"""Request id and time of sending: a request that is sent again under its id has another key."""


class Presence:
    """Who waits for an answer and may go away before it is there.

    Attributes
    ----------
    gone : bool
        Whether he went.
    """

    __slots__ = ("_tell", "gone")

    def __init__(self) -> None:
        self.gone = False
        self._tell: Callable[[], None] | None = None

    def when_gone(self, tell: Callable[[], None]) -> None:
        """Have `tell` called when he goes, instead of what was to be called before."""
        self._tell = tell

    def leave(self) -> None:
        """He went."""
        self.gone = True
        if self._tell is not None:
            self._tell()


class WorkItem(NamedTuple):
    """One request on its way to an actor.

    `request` is the validated request model, on both sides; its frames are Arrow IPC stream bytes.
    `deadline` is wall-clock seconds since the epoch, `sent_at` likewise. `trace` is the span that it belongs to, a W3C
    `traceparent`; empty where there is none.
    """

    request_id: str
    operation: str
    request: Request
    priority: int
    deadline: float
    sent_at: float
    trace: str = ""

    @property
    def key(self) -> Key:
        """What tells this request from every other, one that repeats it included."""
        return self.request_id, self.sent_at

    def remaining_s(self) -> float:
        """Seconds left before the deadline; negative when it passed."""
        return self.deadline - time.time()


class WorkResult(NamedTuple):
    """What came of one item: an answer or a problem document, the device that ran, and milliseconds per stage."""

    request_id: str
    value: Answer | None
    problem: dict[str, Any] | None
    device: str
    timings_ms: dict[str, float]

    def unwrap(self) -> Answer:
        """Give the answer, or raise the error that the problem describes."""
        if self.problem is not None:
            raise EngineError.from_problem(self.problem)
        assert self.value is not None
        return self.value


# Seeded by the system once per process: asking the system for each id lets go of the interpreter lock, and getting it
# back was 6% of a busy bridge. Ids are unique, not secret.
_random = random.Random(os.urandom(32))  # noqa: S311
os.register_at_fork(after_in_child=lambda: _random.seed(os.urandom(32)))


def new_id() -> str:
    """A unique id for a request, an event or a calculation: 32 hexadecimal digits."""
    return _random.getrandbits(128).to_bytes(16).hex()


def work_item(
    operation: str,
    request: Request,
    *,
    priority: Priority = Priority.NORMAL,
    timeout_s: float = 5.0,
    request_id: str | None = None,
) -> WorkItem:
    """Make an item that is sent now and must be answered within `timeout_s` seconds."""
    now = time.time()
    known = request_id or id_asked() or new_id()
    return WorkItem(known, operation, request, int(priority), now + timeout_s, now, traceparent.get())
