"""Puts nats-server, the router with its actors, and the bridge together: the one place, for `make run` and `serve run`.

Everything is looked up before it is made, so starting, joining and starting again after a crash are the same code.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from bus.actor import bridge_names, start_bridge
from bus.audit import Audit
from bus.face import Face
from bus.outbox import Outbox, outbox_for_face
from bus.outposts import outposts
from contracts.access import keep_external
from contracts.bus_mode import ModeFile
from contracts.caller import caller
from contracts.errors import EngineError, UnknownModel, WrongEngine
from contracts.identity import engine_id
from contracts.operations import OPERATIONS, PLACEMENTS
from contracts.pools import actor_name
from contracts.settings import NAMESPACE, Settings
from contracts.work import Priority
from engine.market import Market
from engine.nats_server import NatsServer
from engine.run_dir import is_held, starting
from router.client import ROUTER, RouterClient
from router.placement import existing
from router.router import start_router

FIRST = {workload.value for workload, placement in PLACEMENTS.items() if placement.first}
"""The actors that HTTP needs to answer for a model."""
ALL = {workload.value for workload in PLACEMENTS}
STOP_S = 3.0
LOAD_S = 300.0
LEADER_S = 2.0
"""So often it is asked which of several bridges publishes."""

T = TypeVar("T")


def start_nats(current: Settings) -> NatsServer | None:
    """Start or adopt the run directory's nats-server; None when the operator has one, or wants no message bus.

    Raises
    ------
    NatsServerError
        It cannot be had; says why.
    """
    if current.nats_url is not None or not current.messagebus_enabled:
        return None
    with starting(current.run_dir):
        server = NatsServer(current.run_dir, current.nats_port)
        server.start()
    return server


def start_engine(current: Settings, *, hold_rest: bool = False, with_nats: bool = True) -> None:
    """Get or create what the engine consists of, on the Ray cluster that this process is connected to.

    The actors are named, detached and restarted by Ray; the router creates the workload actors. No caller owns any of
    them: whoever calls first makes them, whoever calls later finds them.

    Parameters
    ----------
    current
        The settings.
    hold_rest
        Leave the bridge and the actors that HTTP does not need at once to `start_rest`: on two cores they would delay
        the first answer.
    with_nats
        False when the caller started nats-server himself, and ends it.

    Raises
    ------
    NatsServerError
        The embedded nats-server cannot be had.
    """
    # Behind a foreground run the server is that run's: started here too, it would be left over when the run ends.
    keep_external(current)
    if with_nats and not is_held(current.run_dir):
        start_nats(current)
    start_router(current, hold_rest=hold_rest)
    if not hold_rest:
        start_bridge(current)


def is_started() -> bool:
    """Say whether somebody started the engine on this cluster."""
    import ray

    try:
        ray.get_actor(ROUTER, namespace=NAMESPACE)
    except ValueError:
        return False
    return True


async def start_rest(current: Settings, connection: Connection) -> None:
    """Start what `start_engine` held back."""
    await asyncio.to_thread(start_bridge, current)
    await connection.client.release()


def stop_engine(current: Settings, timeout_s: float = STOP_S) -> None:
    """End what `start_engine` made: the bridge, the router with its actors, and the embedded nats-server."""
    import ray

    deadline = time.monotonic() + timeout_s
    for name in (*outposts(), *bridge_names(current), ROUTER):
        with contextlib.suppress(ValueError):
            handle = ray.get_actor(name, namespace=NAMESPACE)
            with contextlib.suppress(ray.exceptions.RayError):
                ray.get(handle.stop.remote(), timeout=max(0.1, deadline - time.monotonic()))
            ray.kill(handle, no_restart=True)
    # The router stops its actors itself; this is for one that could not.
    for workload, number in existing():
        with contextlib.suppress(ValueError):
            ray.kill(ray.get_actor(actor_name(workload, number), namespace=NAMESPACE), no_restart=True)
    if current.nats_url is None:
        NatsServer(current.run_dir, current.nats_port).stop()


class BridgeView:
    """The bridge actor as a face sees it: found by name, and found again when it was replaced.

    Of several it is the one that publishes; another is looked for when that one has died or does so no longer.

    Parameters
    ----------
    names
        Of the bridges.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        self._handle: Any = None
        self._look_at = 0.0

    async def _found(self) -> Any:
        import ray

        now = time.monotonic()
        if self._handle is None or (len(self._names) > 1 and now > self._look_at):
            self._look_at = now + LEADER_S
            self._handle = await self._leader() if len(self._names) > 1 else None
        if self._handle is None:
            self._handle = await asyncio.to_thread(ray.get_actor, self._names[0], NAMESPACE)
        return self._handle

    async def _leader(self) -> Any:
        """Give the bridge that publishes; None while none says so."""
        import ray

        for name in self._names:
            with contextlib.suppress(ValueError, ray.exceptions.RayError, TimeoutError):
                found = await asyncio.to_thread(ray.get_actor, name, NAMESPACE)
                async with asyncio.timeout(LEADER_S):
                    if (await found.status.remote()).get("leads"):
                        return found
        return None

    async def _call(self, method: str, *args: Any) -> dict[str, Any]:
        import ray

        handle = await self._found()
        try:
            answer: dict[str, Any] = await getattr(handle, method).remote(*args)
        except ray.exceptions.RayActorError:
            self._handle = None
            raise
        return answer

    async def status(self) -> dict[str, Any]:
        """Say whether and where the bridge is connected, what waits, and what went through."""
        status, stats = await asyncio.gather(self._call("status"), self._call("stats"))
        outposts = {} if "outposts" in status else {"outposts": await self._outposts()}
        return {**stats, **status, **outposts}

    async def _outposts(self) -> dict[str, Any]:
        """Give what the first bridge tells of outposts, which it alone looks after, whoever publishes."""
        import ray

        with contextlib.suppress(ValueError, ray.exceptions.RayError, TimeoutError):
            first = await asyncio.to_thread(ray.get_actor, self._names[0], NAMESPACE)
            async with asyncio.timeout(LEADER_S):
                return dict((await first.status.remote()).get("outposts", {}))
        return {}

    async def tell(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """Tell what the HTTP face names as degraded."""
        return await self._call("tell", rows)

    async def feed(self, after: int | None, timeout_s: float) -> dict[str, Any]:
        """Give the events after a sequence number, or wait for one."""
        return await self._call("feed", after, timeout_s)

    async def ask(self, what: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """Do what an operator asks of the bus; see `bus.operator`."""
        return await self._call("ask", what, arguments)

    async def watch_value(self, watch_id: str, after: int, timeout_s: float) -> dict[str, Any]:
        """Give the newest value of a watch behind number `after`, or wait for one."""
        return await self._call("watch_value", watch_id, after, timeout_s)


@dataclass
class Connection:
    """A process's way to the engine.

    Parameters
    ----------
    client
        Calls operations.
    face
        Checks requests, calls, shapes answers, publishes.
    bridge
        None when the message bus is switched off.
    outbox
        The node's outbox; None likewise.
    """

    client: RouterClient
    face: Face
    bridge: BridgeView | None
    outbox: Outbox | None

    async def close(self) -> None:
        """Let go of it."""
        await self.client.close()
        if self.outbox is not None:
            self.outbox.close()


async def connect(current: Settings, timeout_s: float = 30.0) -> Connection:
    """Connect to the engine that `start_engine` started.

    Raises
    ------
    Unavailable
        There is no router within `timeout_s`.
    WrongEngine
        The cluster's actors are those of another run directory: its models would be taken for ours.
    """
    client = await RouterClient(current).start(timeout_s)
    found, own = (await client.routing())["engine"], engine_id(current.run_dir)
    if found != own:
        await client.close()
        raise WrongEngine(
            f"this Ray cluster runs engine {found}, of another run directory, and this one is {own}; a cluster has one "
            "engine: name its run directory (FACTOR_ENGINE_RUN_DIR), or use another cluster"
        )
    outbox = outbox_for_face(current)
    face = Face(client, outbox, audit=Audit.of(current), mode=ModeFile.of(current))
    return Connection(client, face, BridgeView(bridge_names(current)) if outbox is not None else None, outbox)


async def load_market(connection: Connection, market: Market) -> dict[str, Any]:
    """Make the market a model, unless a version made of this very market is there; it becomes the default model.

    Returns
    -------
    dict
        The model's status: model_id, model_version, n_dates, n_assets, first_date, last_date, factors.
    """
    face = connection.face
    caller.set("start")
    if market.already_loaded():
        with contextlib.suppress(UnknownModel):
            status = await model_status(connection, market.model_id)
            await connection.client.set_default_model(market.model_id)
            return status
    await face.answer(OPERATIONS["create_model"], market.request(), priority=Priority.HIGH, timeout_s=LOAD_S)
    market.note_loaded()
    await connection.client.set_default_model(market.model_id)
    return await model_status(connection, market.model_id)


async def warm_library(connection: Connection, model_id: str) -> None:
    """Let the factor library of a model be warmed in the background, so that the first request need not wait for it."""
    asked = {"model_id": model_id, "wait": False}
    with contextlib.suppress(EngineError):  # the first request warms it then
        await connection.face.answer(OPERATIONS["update_factors"], asked, priority=Priority.LOW)


async def model_status(connection: Connection, model_id: str) -> dict[str, Any]:
    """Give the status of a model at its newest version."""
    return await connection.face.answer(OPERATIONS["model_status"], {"model_id": model_id}, priority=Priority.HIGH)


class LoopThread:
    """An event loop on a thread of its own, for a foreground that is not asynchronous."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="engine client", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T], timeout_s: float | None = None) -> T:
        """Run a coroutine there and wait for it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout_s)

    def stop(self, timeout_s: float = 1.0) -> None:
        """Cancel what runs there and stop."""

        async def cancel() -> None:
            tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        with contextlib.suppress(TimeoutError):
            self.run(cancel(), timeout_s)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout_s)
