"""Where actors go: what devices the cluster offers, the options of each actor, and the host that loads its class."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from actors.runtime.base import CONCURRENCY_GROUPS, WorkloadActor
from actors.runtime.niceness import step_behind_light
from contracts.operations import PLACEMENTS, Workload
from contracts.pools import numbered
from contracts.settings import HEAD, NAMESPACE, Settings, environment_of
from contracts.work import Device, Key
from router import packing
from router.frozen import tell_stack_on_signal
from router.nodes import Node

FRACTION = 0.1
"""Share of a device's custom resource that one actor asks for: ten actors fit one device, which they use in turns."""

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMBA_NUM_THREADS",
    "POLARS_MAX_THREADS",
)


ELSEWHERE = {Workload.JOBS: "jobs.runner:Jobs"}
"""Classes that are no actor's of `actors.workloads`: the runner of jobs knows the jobs, which stand above."""


def class_path(workload: Workload) -> str:
    """Name the module and class that answer a workload's operations."""
    if workload in ELSEWHERE:
        return ELSEWHERE[workload]
    name = workload.value
    return f"actors.workloads.{name}:{''.join(word.capitalize() for word in name.split('_'))}"


CLASS_PATHS: dict[str, str] = {workload.value: class_path(workload) for workload in PLACEMENTS}


def living_nodes() -> list[Node]:
    """List the living nodes of the cluster with the devices among their resources."""
    return [
        Node(
            str(node["NodeID"]),
            frozenset(d for d in Device if node["Resources"].get(d.value, 0) > 0),
            str(node["NodeManagerHostname"]),
            str(node["NodeManagerAddress"]),
            # Who gives Ray no processor of a node, such as a head that is only that, wants no work there.
            node["Resources"].get("CPU", 0) > 0,
        )
        for node in ray.nodes()  # type: ignore[no-untyped-call]
        if node["Alive"]
    ]


def choose(wanted: Sequence[Device], nodes: Sequence[Node], current: Settings) -> tuple[Device, ...]:
    """Choose the devices to ask for: as many of the wanted ones as a single node offers; none means CPU.

    Asking for two devices that no node has both of would wait for ever, so each node is looked at alone; between nodes
    with equally many, the order of preference decides.
    """
    allowed = [device for device in wanted if _enabled(device, current)]
    offers = [tuple(device for device in allowed if device in node.devices) for node in nodes]
    return max(offers, key=lambda offer: (len(offer), [-allowed.index(d) for d in offer]), default=())


def _enabled(device: Device, current: Settings) -> bool:
    if device is Device.NEURAL_ENGINE:
        return current.neural_engine_enabled
    return device is not Device.METAL_GPU or current.metal_gpu_enabled


def environment(current: Settings, threads: int, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Give the environment of an actor: our settings, and thread counts, which Ray would force to one."""
    return {**environment_of(current), **dict.fromkeys(THREAD_VARIABLES, str(threads)), **(extra or {})}


def service(kind: type, name: str, current: Settings, *, max_calls: int, extra: Mapping[str, str] | None = None) -> Any:
    """Give the class as a named actor on the head node that outlives its maker and is restarted by Ray.

    Calling ``remote`` on it gets the actor, or creates it. Ray gives every head the resource, and waits for it: a
    driver that has just joined may not know yet which resources there are.
    """
    return ray.remote(kind).options(
        name=name,
        namespace=NAMESPACE,
        lifetime="detached",
        get_if_exists=True,
        max_restarts=-1,
        max_concurrency=max_calls,
        num_cpus=0,
        resources={HEAD: 0.001},
        runtime_env={"env_vars": environment(current, 1, extra)},
    )


class WorkloadHost:
    """The Ray side of a workload actor.

    It loads the workload's class by its path inside the actor's own process, so that the router, which creates all
    actors, imports none of them.
    """

    def __init__(self, name: str, path: str) -> None:
        tell_stack_on_signal()
        module, _, kind = path.partition(":")
        self._name = name
        self._actor: WorkloadActor = getattr(importlib.import_module(module), kind)(name)
        self._actor.remember(name)

    def __repr__(self) -> str:
        return self._name

    @ray.method(concurrency_group="light")
    def call_light(self, packed: bytes) -> bytes:
        """Answer short items."""
        return packing.pack_results(self._actor.call_light(packing.unpack_items(packed)))

    @ray.method(concurrency_group="heavy")
    def call_heavy(self, packed: bytes) -> bytes:
        """Answer long items."""
        step_behind_light()
        return packing.pack_results(self._actor.call_heavy(packing.unpack_items(packed)))

    @ray.method(concurrency_group="light")
    def foresee(self, packed: bytes) -> bytes:
        """Prepare for writes that another actor does."""
        return packing.pack_foreseen(self._actor.foresee(packing.unpack_items(packed)))

    @ray.method(concurrency_group="live")
    def call_live(self, packed: bytes) -> bytes:
        """Take market data and give values, beside both lanes."""
        return self._actor.live_call(packed)

    @ray.method(concurrency_group="control")
    def ping(self) -> dict[str, Any]:
        """Give the actor's state, and the node and resources that Ray granted."""
        context = ray.get_runtime_context()
        resources = context.get_assigned_resources()  # type: ignore[no-untyped-call]
        return {
            **self._actor.ping(),
            "node_id": context.get_node_id(),
            "resources": dict(resources),
        }

    @ray.method(concurrency_group="control")
    def leave(self, keys: list[Key]) -> None:
        """End what is done for callers that went away."""
        self._actor.leave(keys)

    @ray.method(concurrency_group="control")
    def stats(self) -> dict[str, Any]:
        """Give what the actor measured."""
        return self._actor.stats()


class Seat(NamedTuple):
    """An actor's name; of one of several also the node where it should be, or that they should lie apart."""

    name: str
    home: str | None = None
    spread: bool = False

    def strategy(self) -> dict[str, Any]:
        """Give the option that tells Ray where to place it; none for the only actor of its workload."""
        if self.home is not None:
            # Not soft: Ray then places it anywhere every few times (2.60). When the node goes the actor ends for good,
            # and the fleet, which knows, gives it another node or lets go of it.
            return {"scheduling_strategy": NodeAffinitySchedulingStrategy(self.home, soft=False)}
        return {"scheduling_strategy": "SPREAD"} if self.spread else {}


def create(
    workload: Workload,
    path: str,
    devices: Sequence[Device],
    current: Settings,
    extra: Mapping[str, str] | None = None,
    seat: Seat | None = None,
) -> Any:
    """Create a detached actor of the workload with a share of each of `devices`.

    Raises
    ------
    ValueError
        An actor of this name still exists.
    """
    seat = seat or Seat(workload.value)
    threads = current.library_threads if workload is Workload.FACTOR_LIBRARY else current.model_threads
    hosted = ray.remote(concurrency_groups=CONCURRENCY_GROUPS)(WorkloadHost)  # type: ignore[call-overload]
    return hosted.options(
        name=seat.name,
        namespace=NAMESPACE,
        lifetime="detached",
        max_restarts=-1,
        num_cpus=0,
        resources={device.value: FRACTION for device in devices},
        runtime_env={"env_vars": environment(current, threads, extra)},
        **seat.strategy(),
    ).remote(seat.name, path)


def find(name: str) -> Any | None:
    """Find a named actor of ours; None when it does not exist (any more)."""
    try:
        return ray.get_actor(name, namespace=NAMESPACE)
    except ValueError:
        return None


def existing() -> list[tuple[Workload, int]]:
    """List the workload actors that the cluster has, as workload and number."""
    listed: list[Any] = ray.util.list_named_actors(all_namespaces=True)
    names = [one["name"] for one in listed if one["namespace"] == NAMESPACE]
    return sorted(found for name in names if (found := numbered(name)) is not None)
