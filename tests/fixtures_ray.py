"""The Ray cluster that all integration tests of a run share."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from left_behind import MARK

ECHO_PATH = Path(__file__).parent / "actors"
DEADLINE_S = 60.0
ECHOING = ("factor_model_creation", "factor_exposure_analysis", "risk_model_construction")


@pytest.fixture(scope="session")
def ray_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Start a local Ray with two CPUs; gives the run directory that its actors share. Its token is conftest's.

    It is a cluster of one node, as that lets one choose the port of Ray's job agent: the one of `ray.init` is fixed,
    and belongs to the engine that another test process may run at the same time.
    """
    run_dir = tmp_path_factory.mktemp("ray")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FACTOR_ENGINE_RUN_DIR", str(run_dir))
        import ray
        from ray.cluster_utils import Cluster

        from contracts.settings import NAMESPACE, settings

        settings.cache_clear()
        with short_folder() as temp:
            node = {
                "num_cpus": 2,
                "include_dashboard": False,
                "object_store_memory": 256 * 2**20,
                "dashboard_agent_listen_port": 0,
                "temp_dir": str(temp),
            }
            cluster = Cluster(initialize_head=True, head_node_args=node)
            try:
                ray.init(address=cluster.address, namespace=NAMESPACE, log_to_driver=False, configure_logging=False)
                yield run_dir
            finally:
                ray.shutdown()
                cluster.shutdown()
                settings.cache_clear()


@contextlib.contextmanager
def short_folder() -> Iterator[Path]:
    """Give a folder for Ray's sessions whose sockets' paths fit into the 107 characters that a socket's may have."""
    path = Path(tempfile.mkdtemp(dir=os.environ[MARK]))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="module")
def echo_router(ray_cluster: Path) -> Iterator[Path]:
    """Run a router whose workloads only echo (see actors/echo_workload.py), for the tests of one module."""
    from contracts.operations import Workload

    yield from echoing(ray_cluster, {Workload.SIZE_FACTOR.value: "echo_workload:Stubborn"})


def echoing(run_dir: Path, paths: Mapping[str, str], **settings: Any) -> Iterator[Path]:
    """Run a router whose workloads only echo, and those of `paths` with these classes; gives the run directory."""
    from contracts.settings import Settings
    from router.router import start_router

    end_router()
    current = Settings(run_dir=run_dir, frozen_after_s=3.0, **settings)
    paths = {**dict.fromkeys(ECHOING, "echo_workload:Echo"), **paths}
    start_router(current, paths=paths, extra={"PYTHONPATH": str(ECHO_PATH)})
    yield run_dir
    end_router()


def end_router() -> None:
    """Kill the router and its actors, if there are any, and wait until their names are free."""
    import ray

    from router.client import ROUTER
    from router.placement import existing, find

    router = find(ROUTER)
    if router is not None:
        ray.get(router.stop.remote(), timeout=DEADLINE_S)
        ray.kill(router, no_restart=True)
    until(lambda: find(ROUTER) is None and not existing(), "the router or an actor still exists")


async def reached(condition: Callable[[], bool | Awaitable[bool]]) -> None:
    """Wait until a condition holds, which may itself have to be waited for."""
    end = time.monotonic() + DEADLINE_S
    while True:
        met = condition()
        if await met if isinstance(met, Awaitable) else met:
            return
        assert time.monotonic() < end, "the condition did not come"
        await asyncio.sleep(0.02)


def until(condition: Callable[[], bool], message: str, deadline_s: float = DEADLINE_S) -> None:
    """Wait for a condition."""
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, message
        time.sleep(0.02)
