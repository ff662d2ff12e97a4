"""Run as a process of its own: actors on a simulated cluster whose device nodes come and go."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray
from echo_workload import asked
from ray.cluster_utils import Cluster

from contracts.operations import Workload, devices_of
from contracts.settings import NAMESPACE, Settings
from router.client import RouterClient
from router.router import start_router

DEADLINE_S = 120.0
DEVICES = {"neural_engine": 1, "metal_gpu": 1}
WORKLOADS = (
    Workload.FACTOR_MODEL_CREATION,
    Workload.FACTOR_EXPOSURE_ANALYSIS,
    Workload.RISK_MODEL_CONSTRUCTION,
    Workload.VALUE_FACTOR,
)
ON_EACH_NODE = Workload.MOMENTUM_FACTOR
SPREAD = Workload.SIZE_FACTOR


async def settled(client: RouterClient, what: str, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Wait until /health satisfies the condition for every pinned actor; give the actors by workload."""
    end = time.monotonic() + DEADLINE_S
    while True:
        actors = {actor["actor"]: actor for actor in (await client.health())["actors"]}
        pinned = [actors[w.value] for w in WORKLOADS if devices_of(w)]
        if all(actor["state"] == "READY" for actor in actors.values()) and all(condition(actor) for actor in pinned):
            return actors
        assert time.monotonic() < end, f"{what}: {json.dumps(actors, default=str)}"
        await asyncio.sleep(0.1)


async def covered(client: RouterClient, n_nodes: int) -> dict[str, str]:
    """Wait until so many nodes have a READY actor of the pool that follows the nodes; give the nodes by its name."""
    end = time.monotonic() + DEADLINE_S
    while True:
        copies = client.table.routes[ON_EACH_NODE.value].actors
        living = {node["NodeID"] for node in ray.nodes() if node["Alive"]}
        found = {
            actor["actor"]: actor["placement"]["node_id"]
            for actor in (await client.health())["actors"]
            if actor["workload"] == ON_EACH_NODE.value
        }
        if len(found) == len(copies) == n_nodes and set(found.values()) == living and all(one.direct for one in copies):
            return found
        assert time.monotonic() < end, (found, living, copies)
        await asyncio.sleep(0.1)


def on_devices(actor: dict[str, Any]) -> bool:
    return actor["placement"]["device"] == actor["wanted_device"]


def on_cpu(actor: dict[str, Any]) -> bool:
    return actor["placement"]["device"] == ["cpu"]


async def scenario(cluster: Cluster, mac: Any, run_dir: Path, echo_path: str) -> dict[str, Any]:
    pools = (f"{ON_EACH_NODE}=node", f"{SPREAD}=2")
    current = Settings(run_dir=run_dir, actor_ready_timeout_s=60.0, messagebus_enabled=False, pools=pools)
    paths = {workload.value: "echo_workload:Echo" for workload in (*WORKLOADS, ON_EACH_NODE, SPREAD)}
    start_router(current, paths=paths, extra={"PYTHONPATH": echo_path})
    client = await RouterClient(current).start(DEADLINE_S)
    out: dict[str, Any] = {"mac": mac.node_id, "head": ray.get_runtime_context().get_node_id()}
    try:
        out["pinned"] = await settled(client, "on the devices", on_devices)
        out["covered"] = [await covered(client, 2)]
        # The node dies under load: every call still ends in time.
        calls = [
            asyncio.create_task(client.call("factor_exposures", asked(n=i, work_s=0.01), timeout_s=DEADLINE_S))
            for i in range(50)
        ]
        await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
        cluster.remove_node(mac, allow_graceful=False)
        out["answers"] = [(await call).unwrap().values["echo"]["n"] for call in calls]
        out["fallen_back"] = await settled(client, "back on the cpu", on_cpu)
        out["covered"].append(await covered(client, 1))
        cluster.add_node(num_cpus=1, resources=DEVICES)
        out["returned"] = await settled(client, "on the devices again", on_devices)
        out["covered"].append(await covered(client, 2))
    finally:
        await client.close()
    return out


def main(run_dir: Path, echo_path: str, temp: str) -> None:
    # Any port for Ray's job agent: the default is one, and another process of the tests may need it.
    head = {"num_cpus": 2, "include_dashboard": False, "dashboard_agent_listen_port": 0, "temp_dir": temp}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        mac = cluster.add_node(num_cpus=1, resources=DEVICES)
        ray.init(address=cluster.address, namespace=NAMESPACE, log_to_driver=False)
        cluster.wait_for_nodes()
        out = asyncio.run(scenario(cluster, mac, run_dir, echo_path))
        (run_dir / "outcome.json").write_text(json.dumps(out, default=str))
    finally:
        ray.shutdown()
        cluster.shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
