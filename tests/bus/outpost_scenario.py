"""Run as a process of its own: an engine of echoes on a cluster of two nodes, the second of which is killed."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

import nats
import orjson
import ray
from ray.cluster_utils import Cluster

from bus.actor import start_bridge
from bus.outposts import outposts
from contracts.access import keep_external
from contracts.operations import Workload
from contracts.settings import NAMESPACE, Settings
from router.client import RouterClient
from router.router import start_router

DEADLINE_S = 120.0
SUBJECT = "risk.factor_request.factor_exposures"
BODY = orjson.dumps({"portfolio_weights": {"A": 1.0}, "portfolio_id": "p"})


async def until(what: str, condition: Any) -> Any:
    end = time.monotonic() + DEADLINE_S
    while True:
        found = await condition()
        if found:
            return found
        assert time.monotonic() < end, what
        await asyncio.sleep(0.05)


async def asked(nc: nats.NATS, wait_s: float = 5.0) -> str | None:
    """Give the id of what was answered; None where nobody answered."""
    try:
        reply = await nc.request(SUBJECT, BODY, timeout=wait_s)
    except (nats.errors.TimeoutError, nats.errors.NoRespondersError):
        return None
    found = orjson.loads(reply.data).get("calculation_result")
    return found["calculation_id"] if found else None


async def scenario(cluster: Cluster, node: Any, current: Settings, told: dict[str, str]) -> dict[str, Any]:
    head = start_bridge(current, extra={"PYTHONPATH": told["echo"]})
    client = await RouterClient(current).start(DEADLINE_S)
    await client.wait_ready({Workload.FACTOR_EXPOSURE_ANALYSIS.value}, DEADLINE_S)

    async def connected() -> Any:
        found = (await head.status.remote()).get("outposts", {})
        return found if [row["connected"] for row in found.values()] == [True] else None

    await until("the outpost of the second node is connected", connected)
    (name,) = outposts()
    far = ray.get_actor(name, namespace=NAMESPACE)
    nc = await nats.connect(told["url"], user=told["user"], password=told["password"])
    answered: list[str] = []
    stop = asyncio.Event()

    async def requester() -> None:
        while not stop.is_set():
            identity = await asked(nc)
            if identity is not None:
                answered.append(identity)

    async def both() -> Any:
        counts = {
            "head": (await head.stats.remote()).get("requests", 0),
            "far": (await far.status.remote()).get("requests", 0),
        }
        return counts if min(counts.values()) > 20 else None

    requesters = [asyncio.create_task(requester()) for _ in range(4)]
    answered_by = await until("both answer", both)
    cluster.remove_node(node, allow_graceful=False)

    async def gone() -> bool:
        return not outposts()

    await until("the outpost is gone", gone)
    stop.set()
    await asyncio.gather(*requesters)
    before = (await head.stats.remote())["requests"]
    last = [await asked(nc, 30.0) for _ in range(10)]
    after = (await head.stats.remote())["requests"] - before

    async def drained() -> bool:
        return bool((await head.status.remote())["outbox"]["depth"] == 0)

    await until("all events went out", drained)
    await nc.close()
    await client.close()
    ray.get(head.stop.remote())
    return {
        "answered_by": answered_by,
        "answered": [*answered, *(one for one in last if one)],
        "outposts_gone": True,
        "after": after,
        "head": len(last),
    }


def main() -> None:
    told = json.loads(sys.stdin.read())
    run_dir = Path(told["run_dir"])
    current = Settings(
        run_dir=run_dir, nats_url=told["url"], nats_user=told["user"], nats_password=told["password"], node_bridges=1
    )
    keep_external(current)
    # Any port for Ray's job agent: the default is one, and another process of the tests may need it.
    options = {"num_cpus": 2, "include_dashboard": False, "dashboard_agent_listen_port": 0, "temp_dir": told["temp"]}
    cluster = Cluster(initialize_head=True, head_node_args=options)
    try:
        node = cluster.add_node(num_cpus=1)
        ray.init(address=cluster.address, namespace=NAMESPACE, log_to_driver=False)
        cluster.wait_for_nodes()
        paths = {Workload.FACTOR_EXPOSURE_ANALYSIS.value: "echo_workload:Echo"}
        start_router(current, paths=paths, extra={"PYTHONPATH": told["echo"]})
        out = asyncio.run(scenario(cluster, node, current, told))
        (run_dir / "outcome.json").write_text(json.dumps(out))
    finally:
        ray.shutdown()
        cluster.shutdown()


if __name__ == "__main__":
    main()
