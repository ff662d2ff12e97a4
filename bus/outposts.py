"""Outposts on the cluster: one Ray actor or more on each node beside the head, made when the node comes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from bus.face_process import settle
from bus.outbox_afar import packed_parts
from bus.outpost import Outpost
from contracts.errors import EngineError, first_line
from contracts.events import Event
from contracts.settings import HEAD, NAMESPACE, Settings, settings
from contracts.work import State
from router.client import RouterClient
from router.placement import environment, find

log = logging.getLogger(__name__)

BRIDGE = "bridge"
"""The name of the head's first bridge."""
OUTPOST = "bridge_on_"
"""What the names of outposts begin with."""
MAX_CALLS = 100
KEEP_S = 5.0
RETRY_S = 1.0
EVERY_S = 2.0
STATUS_S = 2.0


class OutpostActor:
    """An asyncio actor around one `Outpost`; connected by itself in each of its lives."""

    async def __init__(self, node: str) -> None:  # type: ignore[misc]
        self._node = node
        self._settings = settings()
        self._outpost: Outpost | None = None
        self._waiting_for = "the router"
        self._head: Any = None
        self._starting = asyncio.create_task(self._start())

    async def _start(self) -> None:
        client: RouterClient | None = None
        while self._outpost is None:
            try:
                client = client or await RouterClient(self._settings).start()
                made = Outpost(self._settings, client, self._keep, self._node)
                settle()
                await made.start()
                self._outpost = made
            except Exception as error:  # noqa: BLE001  no router yet, no shared folder, ...: told, and tried again
                self._waiting_for = first_line(error)
                log.warning("the outpost waits: %s", self._waiting_for)
                await asyncio.sleep(RETRY_S)

    async def _keep(self, parts: Sequence[Sequence[Event]]) -> list[EngineError | None]:
        """Have the head's first bridge keep events; whatever lies between us is an `OSError`."""
        try:
            if self._head is None:
                self._head = await asyncio.to_thread(ray.get_actor, BRIDGE, NAMESPACE)
            async with asyncio.timeout(KEEP_S):
                told: list[dict[str, Any] | None] = await self._head.keep.remote(packed_parts(parts))
        except (RayError, ValueError) as error:
            self._head = None
            raise ConnectionError(f"the head's bridge is away: {first_line(error)}") from None
        return [None if problem is None else EngineError.from_problem(problem) for problem in told]

    async def status(self) -> dict[str, Any]:
        """Say whether it is connected, and what went through."""
        if self._outpost is None:
            return {"connected": False, "state": State.STARTING.value, "last_error": self._waiting_for}
        status = self._outpost.status()
        state = State.READY if status["connected"] and not status["outbox_trouble"] else State.DEGRADED
        return {"state": state.value, **status}

    async def stop(self) -> None:
        """Finish what is in work and close the connection."""
        self._starting.cancel()
        if self._outpost is not None:
            await self._outpost.stop()
            self._outpost = None


class Outposts:
    """Keeps so many outposts on each node beside the head as the settings say; the head's first bridge runs it.

    Parameters
    ----------
    current
        The settings.
    """

    def __init__(self, current: Settings) -> None:
        self._current = current
        self._wanted = current.node_bridges if current.nats_url is not None else 0
        self._made: dict[str, Any] = {}
        self._told: dict[str, dict[str, Any]] = {}

    async def run(self) -> None:
        """Look for ever which nodes there are; without a server that they reach there are no outposts."""
        if self._current.node_bridges and not self._wanted:
            log.warning("no bridges on further nodes: they need a NATS server of the operator's (NATS_URL)")
        while self._wanted:
            try:
                await asyncio.to_thread(self._look)
                await self._ask()
            except (RayError, ValueError, OSError) as error:
                log.warning("the outposts cannot be looked after: %s", first_line(error))
            await asyncio.sleep(EVERY_S)

    def _look(self) -> None:
        """Make the outposts of nodes that came, and end those of nodes that went."""
        if not self._made:  # after a restart of this process: those of nodes that went are among them
            self._made = {name: found for name in outposts() if (found := find(name)) is not None}
        wanted = {
            f"{OUTPOST}{node['NodeID'][:12]}_{number}": str(node["NodeID"])
            for node in ray.nodes()  # type: ignore[no-untyped-call]
            if node["Alive"] and HEAD not in node["Resources"]
            for number in range(1, self._wanted + 1)
        }
        for name in self._made.keys() - wanted.keys():
            ray.kill(self._made.pop(name), no_restart=True)
            self._told.pop(name, None)
        for name, node_id in wanted.items():
            if name not in self._made:
                self._made[name] = _outpost(self._current, name, node_id)

    async def _ask(self) -> None:
        async def of(name: str, handle: Any) -> None:
            try:
                async with asyncio.timeout(STATUS_S):
                    self._told[name] = await handle.status.remote()
            except (RayError, TimeoutError) as error:
                self._told[name] = {"connected": False, "last_error": first_line(error) or "no answer"}

        await asyncio.gather(*(of(name, handle) for name, handle in list(self._made.items())))

    def status(self) -> dict[str, dict[str, Any]]:
        """Give what each outpost said last."""
        return dict(self._told)


def _outpost(current: Settings, name: str, node_id: str) -> Any:
    return (
        ray.remote(OutpostActor)
        .options(
            name=name,
            namespace=NAMESPACE,
            lifetime="detached",
            get_if_exists=True,
            max_restarts=-1,
            max_concurrency=MAX_CALLS,
            num_cpus=0,
            scheduling_strategy=NodeAffinitySchedulingStrategy(node_id, soft=False),
            runtime_env={"env_vars": environment(current, 1)},
        )
        .remote(name.removeprefix(OUTPOST))
    )


def outposts() -> list[str]:
    """List the names of the outposts of the cluster."""
    named = ray.util.list_named_actors(all_namespaces=True)
    return [row["name"] for row in named if row["namespace"] == NAMESPACE and row["name"].startswith(OUTPOST)]
