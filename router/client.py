"""How everything reaches the workload actors: straight, or through the router, which has what fails on its way.

One client per process and event loop. It survives the death of any actor and of the router: a call ends in an answer or
in an error before its deadline.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable
from dataclasses import replace
from typing import Any, TypeVar

import ray
from ray.exceptions import RayError, RayTaskError

from contracts import tracing
from contracts.answers import Calculation
from contracts.backoff import backoff_s
from contracts.errors import CallerGone, DeadlineExceeded, QueueFull, Unavailable, UnknownOperation, first_line
from contracts.handed_tables import take
from contracts.operations import OPERATIONS, Operation, Workload
from contracts.requests import Request
from contracts.settings import NAMESPACE, Settings, settings
from contracts.unexpected import unexpected
from contracts.work import Presence, Priority, State, WorkItem, WorkResult, work_item
from router.choice import Choice, writer_of
from router.link import ActorGone, Links
from router.order import Order, Turn
from router.packing import pack_items, unpack_foreseen, unpack_table
from router.table import RouteTable

ROUTER = "router"
POLL_S = 30.0
BACKOFF_S = (0.05, 0.1, 0.2, 0.5)
CONTROL_S = 5.0
LIVE_S = 30.0
"""For market data to be taken in and values made; a bar's step may go before."""

T = TypeVar("T")

_log = logging.getLogger(__name__)


class RouterClient:
    """Calls operations by name.

    Parameters
    ----------
    current : Settings, optional
        Queue and batch limits; default: the process's settings.

    Attributes
    ----------
    order : Order
        The order of the writes that come in at this process.
    """

    def __init__(self, current: Settings | None = None) -> None:
        self._current = current or settings()
        self._links = Links(self._current)
        self._choice = Choice(self._links)
        self._router: Any = None
        self._table: RouteTable | None = None
        self._watcher: asyncio.Task[None] | None = None
        self.order = Order(self._current.queue_limit)
        self._dispatching = 0
        self._reported: dict[str, Any] = {}

    @property
    def table(self) -> RouteTable:
        """The newest route table that this process knows."""
        if self._table is None:
            raise Unavailable("the router client is not started")
        return self._table

    async def start(self, timeout_s: float = 30.0) -> RouterClient:
        """Find the router, take its table, and follow its changes.

        Raises
        ------
        Unavailable
            There is no router within `timeout_s`.
        """
        deadline = time.monotonic() + timeout_s
        attempt = 0
        while self._table is None:
            try:
                self._router = await asyncio.to_thread(ray.get_actor, ROUTER, NAMESPACE)
                async with asyncio.timeout(deadline - time.monotonic()):
                    packed = await self._router.table.remote(0, 0.0)
                self._table = await asyncio.to_thread(unpack_table, packed)
            except (ValueError, RayError, TimeoutError) as error:
                if time.monotonic() > deadline:
                    raise Unavailable(f"the router cannot be reached: {first_line(error)}") from None
                await _pause(attempt)
                attempt += 1
        self._watcher = asyncio.create_task(self._watch(), name="route table")
        return self

    async def close(self) -> None:
        """Stop following the table."""
        if self._watcher is not None:
            self._watcher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watcher

    async def call(
        self,
        operation: str,
        request: Request,
        *,
        priority: Priority = Priority.NORMAL,
        timeout_s: float | None = None,
        request_id: str | None = None,
        turn: Turn | None = None,
        presence: Presence | None = None,
    ) -> WorkResult:
        """Run one operation.

        Parameters
        ----------
        operation
            Its name in the operation table.
        request
            The request, validated.
        priority
            Overtakes lower ones in queues.
        timeout_s
            Deadline from now; default: the operation's.
        request_id
            Repeat a write's id to repeat it without making a second version.
        turn
            A write's turn, if the caller holds it already.
        presence
            Who waits for a write, if he can go away; then the write ends, unless it is too late. A read is cancelled.

        Returns
        -------
        WorkResult
            An answer, or the problem that the computation met (`unwrap` raises it).

        Raises
        ------
        UnknownOperation, QueueFull, DeadlineExceeded, Unavailable
            The call did not come to a computation, or no answer came in time.
        """
        row = OPERATIONS.get(operation)
        if row is None:
            raise UnknownOperation(f"there is no operation {operation!r}")
        if not tracing.on():
            return await self._call(row, request, priority, timeout_s, request_id, turn, presence)
        with tracing.span(f"call {operation}", tracing.CLIENT, workload=row.workload.value):
            return await self._call(row, request, priority, timeout_s, request_id, turn, presence)

    async def _call(
        self,
        row: Operation,
        request: Request,
        priority: Priority,
        timeout_s: float | None,
        request_id: str | None,
        turn: Turn | None,
        presence: Presence | None,
    ) -> WorkResult:
        limit = row.timeout_s if timeout_s is None else timeout_s
        item = work_item(row.name, request, priority=priority, timeout_s=limit, request_id=request_id)
        now = item.sent_at
        if not row.writes:
            route = self.table.routes.get(row.workload.value)
            lost = ""
            if route is not None and route.direct:
                name, handle = route.workload, route.handle
                if route.copies and (copy := self._choice.best(route.copies)) is not None:
                    name, handle = copy.name, copy.handle
                link = self._links.to(name, row.lane_of(request), handle)
                try:
                    return _timed(await link.submit(item), now)
                except ActorGone:  # the router knows better, or waits until the actor is back
                    if route.copies:
                        lost = name
                        self._choice.lost(name)
                except asyncio.CancelledError:
                    link.leave(item.key)
                    raise
            try:
                return _timed(await self._dispatch(item, lost), now)
            except asyncio.CancelledError:
                self._leave(item)
                raise
        # The store makes the write idempotent by this id. Ray may start the calls of an asyncio actor in another order
        # than they were sent in, so the next write of a model leaves when the one before it is answered.
        if request.request_id != item.request_id:
            item = item._replace(request=request.model_copy(update={"request_id": item.request_id}))
        line = row.line(getattr(request, row.written))
        if turn is not None and turn.line == line:
            return _timed(await self._write(item, presence), now)
        async with self.order.turn(line, item.remaining_s()):
            return _timed(await self._write(item, presence), now)

    async def _write(self, item: WorkItem, presence: Presence | None) -> WorkResult:
        """Have a write done; one whose caller goes is waited for all the same, as it may have been committed.

        One that nobody can go away from, such as a bar, goes straight to the actor while that is there: the router
        would pass it on. One that comes to no answer is sent again by the router, and known by its id.
        """
        if presence is not None:
            if presence.gone:
                raise CallerGone("the caller went away before the write began")
            presence.when_gone(lambda: self._leave(item))
            return await self._dispatch(item)
        row = OPERATIONS[item.operation]
        route = self.table.routes.get(row.workload.value)
        if route is not None and route.copies:
            writer = writer_of(route.copies, row.line(getattr(item.request, row.written)))
            if writer.direct:
                with contextlib.suppress(ActorGone):
                    return await self._links.to(writer.name, row.lane_of(item.request), writer.handle).submit(item)
        elif route is not None and route.direct:
            with contextlib.suppress(ActorGone):
                return await self._links.to(route.workload, row.lane_of(item.request), route.handle).submit(item)
        return await self._dispatch(item)

    def _leave(self, item: WorkItem) -> None:
        """Tell the router that nobody waits for an item that it has."""
        with contextlib.suppress(RayError):
            self._router.leave.remote(item.key)

    async def live(self, packed: bytes, timeout_s: float = LIVE_S) -> bytes:
        """Hand market data to the actor that holds the running days: one hop, beside both lanes.

        Raises
        ------
        Unavailable
            The actor is away; what was sent may have been taken.
        """
        route = self.table.routes.get(Workload.FACTOR_LIBRARY.value)
        if route is None or not route.direct:
            raise Unavailable("the actor of the running days is not there", retry_after_s=0.1)
        try:
            async with asyncio.timeout(timeout_s):
                answer: bytes = await route.handle.call_live.remote(packed)
        except RayTaskError as error:
            raise Unavailable(f"the running days: {first_line(error.cause)}", retry_after_s=0.5) from None
        except (RayError, TimeoutError) as error:
            raise Unavailable(f"the actor of the running days went: {first_line(error)}", retry_after_s=0.1) from None
        return answer

    async def foresee(self, operation: str, request: Request) -> Calculation | None:
        """Let the factor library compute a day while its model's writer makes it durable.

        Returns
        -------
        Calculation or None
            What the library will tell of the day if it is stored as it came; its `day` says which day that is. None
            where the library cannot say it, or is away.
        """
        route = self.table.routes.get(Workload.FACTOR_LIBRARY.value)
        if route is None or not route.direct:
            return None
        item = work_item(operation, request, timeout_s=CONTROL_S)
        with contextlib.suppress(RayError, TimeoutError, OSError):
            async with asyncio.timeout(CONTROL_S):
                (made,) = unpack_foreseen(await route.handle.foresee.remote(pack_items([item])))
                return None if made is None else replace(made, tables=await asyncio.to_thread(take, made.tables))
        return None

    async def _dispatch(self, item: WorkItem, lost: str = "") -> WorkResult:
        """Let the router do it; if the router dies meanwhile, ask its next life, within the deadline.

        `lost` names the one of several actors that went while it had the item.
        """
        if self._dispatching >= self._current.queue_limit:
            raise QueueFull(f"{self._dispatching} requests wait for the router", retry_after_s=1.0)
        self._dispatching += 1
        attempt = 0
        try:
            while True:
                try:
                    result: WorkResult = await self._from_router(
                        "dispatch", pack_items([item]), *((lost,) if lost else ()), timeout_s=item.remaining_s()
                    )
                except RayTaskError as error:
                    # The router stands and has a defect, which asking again would only meet again.
                    raise unexpected(error.cause, _log) from None
                except RayError as error:
                    if item.remaining_s() <= 0:
                        raise Unavailable(f"the router is down: {first_line(error)}", retry_after_s=1.0) from None
                else:
                    return result
                await _pause(attempt, item.remaining_s())
                attempt += 1
        except TimeoutError:
            raise DeadlineExceeded(f"no answer to {item.operation} within its deadline") from None
        finally:
            self._dispatching -= 1

    async def _from_router(self, method: str, *args: Any, timeout_s: float) -> Any:
        """Call a method of the router; raises `TimeoutError` and Ray's errors."""
        remote = getattr(self._router, method)
        # Not `wait_for`: before Python 3.12 it loses a cancellation that comes with the answer, and `close` would wait.
        async with asyncio.timeout(max(0.0, timeout_s)):
            return await remote.remote(*args)

    async def _watch(self) -> None:
        """Follow the route table for ever; a router that comes back is told again what was reported to it."""
        attempt = 0
        while True:
            known = self.table
            try:
                packed = await self._from_router("table", known.version, POLL_S, timeout_s=POLL_S + CONTROL_S)
                # The first handle of a kind imports its class and asks Ray for it, which would hold up every answer.
                self._table = await asyncio.to_thread(unpack_table, packed)
                attempt = 0
                if self._table.epoch != known.epoch:
                    for method, value in list(self._reported.items()):
                        await self._from_router(method, value, timeout_s=CONTROL_S)
            except (RayError, TimeoutError):
                await self._find_again()
                await _pause(attempt)
                attempt += 1
            except Exception:  # noqa: BLE001  a table that cannot be read, for one: the next one may be readable
                _log.exception("following the route table failed; it is tried again")
                await _pause(attempt)
                attempt += 1

    async def _find_again(self) -> None:
        """Look whether another router actor took the name."""
        with contextlib.suppress(ValueError, RayError):
            self._router = await asyncio.to_thread(ray.get_actor, ROUTER, NAMESPACE)

    async def health(self) -> dict[str, Any]:
        """Give the state of every actor and what is degraded; raises `Unavailable` when the router is down."""
        return await self._control(self._from_router("health", timeout_s=CONTROL_S))

    async def routing(self) -> dict[str, Any]:
        """Give the route table with its reasons, JSON-able; raises `Unavailable` when the router is down."""
        return await self._control(self._from_router("routing", timeout_s=CONTROL_S))

    async def report_bus(self, connected: bool) -> None:
        """Tell everybody whether the bus is connected; a router that restarts is told again."""
        await self._report("report_bus", connected)

    async def set_default_model(self, model_id: str | None) -> None:
        """Set the model that a request without one means; a router that restarts is told again."""
        await self._report("set_default_model", model_id)

    async def release(self) -> None:
        """Let the actors start that were held back at the start."""
        await self._control(self._from_router("release", timeout_s=CONTROL_S))

    async def _report(self, method: str, value: Any) -> None:
        self._reported[method] = value
        await self._control(self._from_router(method, value, timeout_s=CONTROL_S))

    async def wait_ready(self, workloads: set[str], timeout_s: float, *, every: bool = False) -> None:
        """Wait until these workloads' actors are READY; of several one, or `every` one.

        Raises
        ------
        Unavailable
            Some are not within `timeout_s`; names them with their reasons.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            missing = [why for workload in sorted(workloads) for why in self._missing(workload, every=every)]
            if not missing:
                return
            if time.monotonic() > deadline:
                raise Unavailable(f"not READY within {timeout_s:g} s: {'; '.join(missing)}")
            await asyncio.sleep(0.05)

    def _missing(self, workload: str, *, every: bool) -> list[str]:
        """Name the workload's actors that are not READY, with their reasons; none where one is, unless `every` must."""
        route = self.table.routes.get(workload)
        if route is None:
            return [workload]
        if route.state == State.READY.value and not every:
            return []
        away = [one for one in route.actors if one.state != State.READY.value]
        return [f"{one.name} is {one.state} ({one.reason})" for one in away]

    @staticmethod
    async def _control(answer: Awaitable[T]) -> T:
        try:
            return await answer
        except (RayError, TimeoutError) as error:
            raise Unavailable(f"the router is down: {first_line(error)}", retry_after_s=1.0) from None


def _timed(result: WorkResult, sent_at: float) -> WorkResult:
    """Add the stage `dispatch`: all of the way that was no stage in the actor."""
    stages = result.timings_ms
    total = (time.time() - sent_at) * 1e3
    stages["dispatch"] = max(0.0, total - sum(stages.values()))
    return result


async def _pause(attempt: int, at_most_s: float = BACKOFF_S[-1]) -> None:
    await asyncio.sleep(max(0.0, min(backoff_s(BACKOFF_S, attempt), at_most_s)))
