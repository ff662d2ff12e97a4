"""The router actor: it owns the fleet and the route table, and does whatever a direct read cannot."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError

from contracts import logs, tracing
from contracts.backoff import backoff_s
from contracts.bus_mode import BusMode, ModeFile
from contracts.caller import traceparent
from contracts.errors import CallerGone, DeadlineExceeded, EngineError, Unavailable, UnknownOperation
from contracts.files import replacing
from contracts.identity import engine_id
from contracts.operations import OPERATIONS, Operation
from contracts.settings import Settings, settings
from contracts.work import Device, Key, State, WorkItem, WorkResult, new_id
from router import health as report
from router.choice import Choice, writer_of
from router.client import ROUTER
from router.fleet import Fleet
from router.link import ActorGone, ActorLink, Links
from router.member import Member
from router.packing import pack_table, unpack_items
from router.placement import CLASS_PATHS, service
from router.pool import route_of
from router.table import Bus, Copy, Published, RouteTable

RETRY_S = (0.02, 0.05, 0.1, 0.25)
ANSWER_MARGIN_S = 0.05
"""The router gives up this long before the caller's deadline, so that its reason arrives in time."""
STATS_S = 1.0
MAX_CALLS = 8192
"""Calls that the router holds at once, long polls included."""

_log = logging.getLogger(__name__)


class _Work:
    """An item that the router has: where it is, and whether its caller went away."""

    __slots__ = ("gone", "link")

    def __init__(self) -> None:
        self.link: ActorLink | None = None
        self.gone = False


class Router:
    """An asyncio actor; its fleet is reconciled by a thread.

    Parameters
    ----------
    paths
        Workload name: class path.
    extra
        Environment variables for every actor, on top of the settings.
    hold_rest
        Whether the actors that HTTP does not need at once wait for `release`.
    """

    def __init__(self, paths: Mapping[str, str], extra: Mapping[str, str], hold_rest: bool = False) -> None:
        self._settings = settings()
        logs.begin("router", self._settings)
        tracing.begin("router", self._settings)
        self._epoch = new_id()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._change: asyncio.Event | None = None
        self._links: tuple[Links, Choice] | None = None
        self._started = time.time()
        self._working: dict[Key, _Work] = {}
        self._memory = self._settings.run_dir / "router.json"
        self._mode = ModeFile.of(self._settings)
        self._bus = Bus(False, self._started)
        self._default_model = _remembered(self._memory)
        # Versions grow over restarts too, since time does.
        first = RouteTable(int(self._started * 1e3), self._epoch, {}, self._bus, self._default_model)
        self._published = Published(first)
        self._remembering = asyncio.Lock()
        self._fleet = Fleet(self._settings, paths, extra, self._publish, hold_rest=hold_rest)
        self._fleet.start()

    @property
    def _table(self) -> RouteTable:
        return self._published.table

    def _publish(self) -> None:
        """Make a new table of what is true now; on any thread."""
        self._published.change(self._current)
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._announce)

    def _current(self, former: RouteTable) -> RouteTable:
        by_workload: dict[str, list[Member]] = {}
        for member in self._fleet.members.values():
            by_workload.setdefault(member.workload.value, []).append(member)
        routes = {workload: route_of(members) for workload, members in by_workload.items()}
        return former._replace(routes=routes, bus=self._bus, default_model=self._default_model)

    def _announce(self) -> None:
        if self._change is not None:
            self._change.set()
        self._change = asyncio.Event()

    def _here(self) -> tuple[Links, Choice]:
        """Bind to the actor's event loop at the first call on it."""
        if self._links is None:
            self._loop = asyncio.get_running_loop()
            links = Links(self._settings)
            self._links = links, Choice(links)
            self._announce()
        return self._links

    async def table(self, known_version: int, timeout_s: float) -> bytes:
        """Give the packed table as soon as its version is not `known_version`, or after `timeout_s`."""
        self._here()
        deadline = time.monotonic() + timeout_s
        while self._table.version == known_version and time.monotonic() < deadline:
            await self._until_change(deadline - time.monotonic())
        return pack_table(self._table)

    async def _until_change(self, timeout_s: float) -> None:
        assert self._change is not None
        try:
            async with asyncio.timeout(timeout_s):
                await self._change.wait()
        except TimeoutError:
            return

    async def dispatch(self, packed: bytes, lost: str = "") -> WorkResult:
        """Run one packed item whatever happens to its actor, within its deadline.

        An item whose actor died is sent again: a read changes nothing, and a write carries its request id, by which the
        store knows it. The order of writes is kept where they come in; see `router.order`.

        Parameters
        ----------
        packed
            The item.
        lost
            The one of several actors of its workload that went while it had the item.
        """
        self._here()
        (item,) = unpack_items(packed)
        row = OPERATIONS.get(item.operation)
        if row is None:
            return _refusal(item, UnknownOperation(f"there is no operation {item.operation!r}"))
        work = self._working[item.key] = _Work()
        try:
            with tracing.span(f"dispatch {row.name}", parent=item.trace):
                traced = item._replace(trace=traceparent.get() or item.trace)
                return await self._insist(row, traced, work, [lost] if lost else [])
        except EngineError as error:
            return _refusal(item, error)
        finally:
            self._working.pop(item.key, None)

    async def leave(self, key: Key) -> None:
        """End an item whose caller went away; its call is answered with what came of it."""
        work = self._working.get(key)
        if work is None:
            return
        work.gone = True
        if work.link is not None:
            work.link.leave(key)
        self._announce()

    async def _insist(self, row: Operation, item: WorkItem, work: _Work, lost: list[str]) -> WorkResult:
        """Send the item until an actor answers or its time is up; `lost` are the copies that went with it."""
        links, choice = self._here()
        workload = row.workload.value
        attempt = 0
        timed = item._replace(deadline=item.deadline - min(ANSWER_MARGIN_S, item.remaining_s() / 10))
        while True:
            route = self._table.routes.get(workload)
            actor: Copy | None = None
            if route is not None and route.copies and row.writes:
                actor = writer_of(route.copies, row.line(getattr(item.request, row.written)))
            elif route is not None:
                actor = choice.again(route.actors, lost)
            if actor is not None and actor.handle is not None:
                try:
                    work.link = links.to(actor.name, row.lane_of(item.request), actor.handle)
                    return await work.link.submit(timed)
                except ActorGone:
                    work.link = None
                    lost.append(actor.name)
                    choice.lost(actor.name)
                    self._fleet.nudge()
                except DeadlineExceeded:
                    raise self._too_late(workload, actor) from None
            if work.gone:
                raise CallerGone(f"the caller went away while {workload} was not there")
            if timed.remaining_s() <= 0:
                raise self._too_late(workload, actor)
            await self._until_change(min(backoff_s(RETRY_S, attempt), timed.remaining_s()))
            attempt += 1

    def _too_late(self, workload: str, asked: Copy | None) -> EngineError:
        """Say why an item was not answered: its actor is not there, or was too slow."""
        route = self._table.routes.get(workload)
        if route is None or asked is None:
            return Unavailable(f"{workload} is {State.STARTING}: not created yet", retry_after_s=1.0)
        now = next((one for one in route.actors if one.name == asked.name), asked)
        if not now.direct:
            return Unavailable(f"{now.name} is {now.state}: {now.reason}", retry_after_s=1.0)
        return DeadlineExceeded(f"{now.name} did not answer within the deadline")

    @property
    def _bus_wanted(self) -> bool:
        return self._settings.messagebus_enabled and self._mode.now is not BusMode.OFF

    async def report_bus(self, connected: bool) -> None:
        """Take in whether the bridge is connected to NATS."""
        self._here()
        if connected != self._bus.connected:
            self._bus = Bus(bool(connected), time.time())
            self._publish()

    async def set_default_model(self, model_id: str | None) -> None:
        """Set the model that a request without one means; kept over restarts."""
        self._here()
        if model_id != self._default_model:
            self._default_model = model_id
            self._publish()
            async with self._remembering:  # the file ends with the last of several, too
                await asyncio.to_thread(_remember, self._memory, self._default_model)

    async def health(self) -> dict[str, Any]:
        """Describe every actor and name what is degraded."""
        self._here()
        members = list(self._fleet.members.values())
        said = await asyncio.gather(*(_stats(member.handle if member.alive else None) for member in members))
        faults = report.degraded(members, self._table, bus_wanted=self._bus_wanted)
        faults += [*self._fleet.nodes.degraded(), *report.overdue(members, said)]
        starting = [member.name for member in members if member.state is State.STARTING]
        return {
            "state": (State.DEGRADED if faults else State.STARTING if starting else State.READY).value,
            "degraded": faults,
            "starting": starting,
            "starting_because": {m.name: m.reason for m in members if m.state is State.STARTING},
            "actors": [report.describe(member, stats) for member, stats in zip(members, said, strict=True)],
            "nodes": self._fleet.nodes.listed(),
            "bus": {**self._table.bus._asdict(), "mode": self._mode.now.value},
            "default_model": self._default_model,
            "router": {
                "pid": os.getpid(),
                "started": self._started,
                "table_version": self._table.version,
                "node_id": ray.get_runtime_context().get_node_id(),
            },
        }

    async def routing(self) -> dict[str, Any]:
        """Give the route table as plain values, with the reasons, and what each actor learned of its devices."""
        self._here()
        learned = await asyncio.to_thread(report.learned, self._settings.run_dir.resolve() / "devices")
        return {"engine": engine_id(self._settings.run_dir), **report.routing(self._table), "devices": learned}

    async def release(self) -> None:
        """Let the actors start that were held back."""
        self._fleet.release()

    async def stop(self) -> None:
        """Stop reconciling and kill all workload actors."""
        await asyncio.to_thread(self._fleet.stop)


def start_router(
    current: Settings,
    *,
    paths: Mapping[str, str] | None = None,
    extra: Mapping[str, str] | None = None,
    hold_rest: bool = False,
) -> Any:
    """Get or create the router, which creates the workload actors.

    Parameters
    ----------
    current
        The settings; they travel to the router and its actors by the environment.
    paths
        Workload name: class path; default: the twelve workloads of the placement table.
    extra
        Environment variables on top of the settings.
    hold_rest
        Hold back the actors that HTTP does not need at once, until `release`.
    """
    actor = service(Router, ROUTER, current, max_calls=MAX_CALLS, extra=extra)
    return actor.remote(dict(paths if paths is not None else CLASS_PATHS), dict(extra or {}), hold_rest)


async def _stats(handle: Any) -> dict[str, Any] | None:
    if handle is None:
        return None
    try:
        async with asyncio.timeout(STATS_S):
            stats: dict[str, Any] = await handle.stats.remote()
    except (RayError, TimeoutError):
        return None
    return stats


def _refusal(item: WorkItem, error: EngineError) -> WorkResult:
    """Answer an item with a problem; limits and transport are told so that the client can raise them."""
    return WorkResult(item.request_id, None, error.to_problem(item.request_id), Device.CPU.value, {})


def _remembered(path: Path) -> str | None:
    try:
        value = json.loads(path.read_text()).get("default_model")
    except (OSError, ValueError):
        return None
    return value if isinstance(value, str) else None


def _remember(path: Path, model_id: str | None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as out:
        out.write(json.dumps({"default_model": model_id}).encode())
