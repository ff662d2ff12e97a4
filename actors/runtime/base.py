"""What all workload actors share: two lanes of queued work, one map of errors, life cycle, and statistics."""

from __future__ import annotations

import contextlib
import errno
import gc
import logging
import os
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from actors.runtime.black_box import BlackBox
from actors.runtime.memory import give_back, limit
from actors.runtime.meter import Meter
from actors.runtime.queue import LaneQueue, Outcome
from contracts import logs, tracing
from contracts.answers import Calculation
from contracts.caller import Asked, asked
from contracts.errors import (
    CallerGone,
    DateOutsideModel,
    DeadlineExceeded,
    EngineError,
    InvalidInput,
    TableTooLarge,
    Unavailable,
    UnknownOperation,
    UnknownSymbol,
)
from contracts.settings import settings
from contracts.unexpected import unexpected
from contracts.work import Key, Lane, State, WorkItem, WorkResult
from factors.errors import FactorError
from factors.numeric import deadline

if TYPE_CHECKING:
    from devices.calibration import Journal
    from devices.dispatch import Dispatcher

LIGHT_THREADS = 4
HEAVY_THREADS = 16
DISK_RETRY_S = 30.0
LEFT_KEPT = 256
"""Callers that went away, remembered in case that their requests are still on the way."""
CONCURRENCY_GROUPS = {"light": LIGHT_THREADS, "heavy": HEAVY_THREADS, "control": 2, "live": 1}
"""Threads of the actor. Those of a lane bound the calls whose items are ordered by priority here; more wait in Ray.

The light lane has two for each of two faces. Ray wakes them in turn, and one that slept long has nothing in the cache:
with eight a lone call takes 4 % longer.
"""

B = TypeVar("B", bound=Callable[..., Sequence[Outcome]])

# Errors of the mathematics that mean more than "invalid input" to a caller.
_KINDS: dict[str, type[EngineError]] = {
    "unknown_symbol": UnknownSymbol,
    "unknown_date": DateOutsideModel,
}

# The disk below the store is a component like others: what failed may work when there is room again.
_DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO}

_log = logging.getLogger(__name__)


def engine_error(error: Exception) -> EngineError:
    """Turn whatever a computation raised into what the caller is told: the one place where errors are mapped.

    An error that is none of ours becomes `InternalError` with an id; its traceback goes to the log under that id.
    """
    if isinstance(error, EngineError):
        return error
    if isinstance(error, FactorError):
        rows = [list(row) for row in error.rows] or None
        return _KINDS.get(error.code, InvalidInput)(str(error), field=error.field, rows=rows)
    if isinstance(error, OSError) and error.errno in _DISK_ERRORS:
        return Unavailable(f"the store cannot be written or read: {error.strerror}", retry_after_s=DISK_RETRY_S)
    if isinstance(error, deadline.Ended):
        return CallerGone(str(error))
    if isinstance(error, deadline.DeadlinePassed):
        return DeadlineExceeded(str(error))
    if isinstance(error, MemoryError):
        return TableTooLarge("the computation takes more memory than this actor may have")
    return unexpected(error, _log)


def batched(method: B) -> B:
    """Mark an operation's method as ``(requests) -> answers``, for what is cheaper done for many at once.

    Each answer is a `Calculation`, a `Page` or an `EngineError`. When the method raises, it is called with each request
    alone, so that an exception fails only what causes it.
    """
    method.batched = True  # type: ignore[attr-defined]
    return method


class WorkloadActor:
    """An actor that answers the operations of one workload.

    A subclass has one public method per operation, named as in the operation table, ``(request) -> answer``: the
    operation's request model and a `Calculation` or a `Page`; what it raises is told to the caller. `batched` marks a
    method that takes many requests at once. The two lanes run at the same time. An actor whose kernels devices can run
    makes its `devices` in `prepare`.

    Slow loading belongs into `prepare`, which runs behind the constructor; the actor is READY after it.

    Parameters
    ----------
    name : str
        What it is called where a workload has several actors; default: as the workload.
    """

    devices: Dispatcher | None = None
    journal: Journal | None = None

    def __init__(self, name: str = "") -> None:
        self.name = name
        self.settings = settings()
        self.meter = Meter()
        self._started = time.time()
        self._state = State.STARTING
        self._reason: str | None = None
        self._ready = threading.Event()
        self._computing: dict[Key, deadline.Deadline] = {}
        self._left: deque[Key] = deque(maxlen=LEFT_KEPT)
        self._lanes = {
            Lane.LIGHT: self._lane(self.settings.batch_limit),
            # A heavy item is seconds long: one at a time, so that each is answered when it is done.
            Lane.HEAVY: self._lane(1),
        }
        threading.Thread(target=self._prepare, name="prepare", daemon=True).start()

    def _lane(self, batch_limit: int) -> LaneQueue:
        current = self.settings
        return LaneQueue(
            self._compute,
            self.meter,
            limit=current.queue_limit,
            batch_limit=batch_limit,
            batch_predicted_s=current.batch_predicted_ms / 1e3,
            ages_s=current.low_priority_ages_s,
        )

    def remember(self, name: str) -> None:
        """Prepare for the worst, in a process of the actor's own: hold it to its memory, and note what is computed.

        So no request takes the memory of the others, or ends one process of this actor after another. Log lines and
        spans are this actor's from here on.
        """
        logs.begin(name, self.settings)
        tracing.begin(name, self.settings)
        run_dir = self.settings.run_dir.resolve()
        limit(self.settings.actor_memory_limit_mb)
        try:
            for lane, queue in self._lanes.items():
                queue.box = BlackBox(run_dir / "actors", f"{name}.{lane.value}", run_dir / "refused")
        except OSError as error:
            # A disk that is full must not keep the actor from starting.
            _log.warning("what is computed is not noted: %s", error)

    def prepare(self) -> None:
        """Load what the first answer needs: compiled kernels, devices, the latest model. Overridden by workloads."""

    def _prepare(self) -> None:
        try:
            self.prepare()
            # What is loaded by now stays; a full collection would walk all of it, for tens of ms in the midst of work.
            give_back()
            gc.freeze()
            self._state = State.READY
        except Exception as error:  # noqa: BLE001  (whatever it is, it is reported in the state and to every caller)
            _log.exception("the actor could not prepare")
            self._state, self._reason = State.FAULTED, f"{type(error).__name__}: {error}"
        self._ready.set()

    def call_light(self, items: list[WorkItem]) -> list[WorkResult]:
        """Answer short items, in their order."""
        return self._lanes[Lane.LIGHT].call(items)

    def call_heavy(self, items: list[WorkItem]) -> list[WorkResult]:
        """Answer long items, in their order; short ones do not wait behind them."""
        return self._lanes[Lane.HEAVY].call(items)

    def live_call(self, packed: bytes) -> bytes:
        """Take market data and give values; only the actor that holds the running days can."""
        raise UnknownOperation(f"{type(self).__name__} holds no running day ({len(packed)} bytes came)")

    def foresee(self, items: list[WorkItem]) -> list[Calculation | None]:
        """Prepare for writes that another actor has been asked for; gives what will be told if they are done as asked.

        None where nothing can be said. A hint: whatever goes wrong here goes wrong again where it is asked for.
        """
        return [None] * len(items)

    def leave(self, keys: Sequence[Key]) -> None:
        """End what is computed, drop what waits, and refuse what is still on its way here, for callers that went away.

        A computation ends where it looks at its deadline. One that does not look goes on, and its result is dropped.
        """
        self._left.extend(keys)
        for queue in self._lanes.values():
            queue.leave(set(keys))
        for key in keys:
            running = self._computing.get(key)
            if running is not None:
                running.end()

    def ping(self) -> dict[str, Any]:
        """Say that the process lives, and in which state it is."""
        self._save_learned()
        return {
            "state": self._state.value,
            "reason": self._reason,
            "pid": os.getpid(),
            "started": self._started,
            "idle": not any(queue.busy for queue in self._lanes.values()),
        }

    def _save_learned(self) -> None:
        """Write down what the devices take, for the actor that tells it; on a thread that nobody waits for."""
        if self.devices is not None and self.journal is not None:
            try:
                self.journal.save(self.devices)
            except OSError as error:
                _log.warning("what the devices take is not written down: %s", error)

    def stats(self) -> dict[str, Any]:
        """Give the state, where the actor runs, what waits, and what it measured of each operation."""
        operations = self.meter.snapshot()
        devices: dict[str, int] = {}
        for row in operations.values():
            for device, count in row["devices"].items():
                devices[device] = devices.get(device, 0) + count
        return {
            **self.ping(),
            "node": socket.gethostname(),
            "devices_used": devices,
            "queue_length": {lane.value: len(queue) for lane, queue in self._lanes.items()},
            "calls": sum(row["calls"] for row in operations.values()),
            "errors": sum(sum(row["errors"].values()) for row in operations.values()),
            "latency_ms": self.meter.overall(),
            "operations": operations,
            "overdue": {lane.value: queue.overdue for lane, queue in self._lanes.items() if queue.overdue},
            "notes": self._notes(),
        }

    def _notes(self) -> dict[str, Any]:
        """Give the workload's notes, with what its devices did and which of them are left alone."""
        notes = self.notes()
        if self.devices is None:
            return notes
        degraded = [*notes.get("degraded", ()), *self.devices.standing.told()]
        return {**notes, "devices": self.devices.told(), **({"degraded": degraded} if degraded else {})}

    def notes(self) -> dict[str, Any]:
        """Give what a workload wants to add to its statistics, such as models in its cache. Overridden by workloads."""
        return {}

    def _compute(self, operation: str, items: list[WorkItem]) -> Sequence[Outcome]:
        """Call the operation's method with each request, or with all of them where it is `batched`."""
        if self._state is not State.READY or not self._ready.is_set():
            not_ready = self._await_ready(max(item.deadline for item in items))
            if not_ready is not None:
                return [not_ready] * len(items)
        method = self._method(operation)
        if method is None:
            unknown = UnknownOperation(f"{operation} is no operation of {type(self).__name__}")
            return [unknown] * len(items)
        if not getattr(method, "batched", False):
            return [self._alone(method, item) for item in items]
        if len(items) > 1:
            # The items that cause an exception show themselves alone.
            with contextlib.suppress(Exception), deadline.until(max([item.deadline for item in items])):
                answers: Sequence[Outcome] = method([item.request for item in items])
                return answers
        return [self._alone(lambda request: method([request])[0], item) for item in items]

    def _alone(self, method: Callable[[Any], Outcome], item: WorkItem) -> Outcome:
        """Compute one item; what takes long in it looks at its deadline, since behind that nobody waits for it."""
        key = item.key
        self._computing[key] = limit = deadline.Deadline(item.deadline)
        before = asked.set(Asked(item.request_id))
        try:
            if self._left and key in self._left:
                return CallerGone("the caller went away before the computation began")
            with deadline.until(limit):
                return method(item.request)
        except Exception as error:  # noqa: BLE001  (mapped, logged and answered)
            return engine_error(error)
        finally:
            asked.reset(before)
            self._computing.pop(key, None)

    def _method(self, operation: str) -> Callable[[Any], Any] | None:
        """Find the operation's method; what the base class has is no operation."""
        if operation.startswith("_") or hasattr(WorkloadActor, operation):
            return None
        found = getattr(self, operation, None)
        return found if callable(found) else None

    def _await_ready(self, deadline: float) -> EngineError | None:
        if not self._ready.is_set():
            self._ready.wait(max(0.0, deadline - time.time()))
        if self._state is State.READY:
            return None
        name = type(self).__name__
        if self._state is State.STARTING:
            return Unavailable(f"{name} is still starting", retry_after_s=1.0)
        return Unavailable(f"{name} could not start: {self._reason}", retry_after_s=self.settings.actor_ready_timeout_s)
