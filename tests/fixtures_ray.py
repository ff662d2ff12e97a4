"""The Ray cluster that all integration tests of a run share."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ECHO_PATH = Path(__file__).parent / "actors"
DEADLINE_S = 60.0
ECHOING = ("factor_model_creation", "factor_exposure_analysis", "risk_model_construction")


@pytest.fixture(scope="session")
def ray_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Start a local Ray with two CPUs; gives the run directory that its actors share. Its token is conftest's."""
    run_dir = tmp_path_factory.mktemp("ray")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FACTOR_ENGINE_RUN_DIR", str(run_dir))
        import ray

        from contracts.settings import NAMESPACE, settings

        settings.cache_clear()
        ray.init(
            address="local",
            num_cpus=2,
            include_dashboard=False,
            namespace=NAMESPACE,
            object_store_memory=256 * 2**20,
            log_to_driver=False,
            configure_logging=False,
        )
        try:
            yield run_dir
        finally:
            ray.shutdown()
            settings.cache_clear()


@pytest.fixture(scope="module")
def echo_router(ray_cluster: Path) -> Iterator[Path]:
    """Run a router whose workloads only echo (see actors/echo_workload.py), for the tests of one module."""
    from contracts.settings import Settings
    from router.operations import Workload
    from router.router import start_router

    end_router()
    paths = dict.fromkeys(ECHOING, "echo_workload:Echo")
    paths[Workload.SIZE_FACTOR.value] = "echo_workload:Stubborn"
    start_router(Settings(run_dir=ray_cluster), paths=paths, extra={"PYTHONPATH": str(ECHO_PATH)})
    yield ray_cluster
    end_router()


def end_router() -> None:
    """Kill the router and its actors, if there are any, and wait until their names are free."""
    import ray

    from router.client import ROUTER
    from router.operations import Workload
    from router.placement import find

    router = find(ROUTER)
    if router is not None:
        ray.get(router.stop.remote(), timeout=DEADLINE_S)
        ray.kill(router, no_restart=True)
    for name in (ROUTER, *(workload.value for workload in Workload)):
        until(lambda name=name: find(name) is None, f"{name} still exists")


def until(condition: Callable[[], bool], message: str, deadline_s: float = DEADLINE_S) -> None:
    """Wait for a condition."""
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, message
        time.sleep(0.02)
