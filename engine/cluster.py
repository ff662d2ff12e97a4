"""Ray for a run: its environment, its start in this process or the cluster it joins, and Serve's HTTP face on it."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from contracts.errors import first_line
from contracts.settings import NAMESPACE, Settings
from engine import haproxy
from engine.errors import StartError
from engine.node import device_resources
from engine.ports import free_port, holder, is_free
from engine.run_dir import RunDir

MAX_ONGOING_REQUESTS = 4096
"""Requests inside the HTTP replica; the engine's own queues refuse (429) long before, with a reason."""
SERVE_ATTEMPTS = 5
JOB_AGENT_PORT = 52365
"""Where Ray's job agent listens; `ray.init` does not let one choose it, so one Ray of a machine has it."""


@dataclass
class Cluster:
    """The Ray cluster that a run uses.

    Parameters
    ----------
    address
        The address of its control store.
    dashboard
        The dashboard's and the job server's URL; None when the cluster has none.
    local
        Whether this process started it, and ends it.
    temp
        Where its sockets and logs are; None when it is not ours.
    ports
        Ports that the HTTP proxy opens beside the HTTP face, by what they are.
    no_jobs
        Why it takes no submitted jobs; None when it does.
    """

    address: str
    dashboard: str | None
    local: bool
    temp: Path | None
    ports: dict[str, int] = field(default_factory=dict)
    no_jobs: str | None = None


def uses_haproxy(current: Settings) -> bool:
    """Say whether Serve's HTTP face is HAProxy: by default on Linux, where its wheel comes with Serve."""
    return sys.platform == "linux" if current.http is None else current.http == "haproxy"


def prepare_environment(current: Settings, run_dir: RunDir) -> dict[str, int]:
    """Set what Ray and Serve read from the environment, before they are imported; gives HAProxy's ports.

    Ray's token is the run directory's unless the operator set an authentication mode himself.
    """
    set_default = os.environ.setdefault
    set_default("RAY_AUTH_MODE", "token")
    if os.environ["RAY_AUTH_MODE"] == "token" and "RAY_AUTH_TOKEN" not in os.environ:
        set_default("RAY_AUTH_TOKEN_PATH", str(run_dir.token_path()))
    set_default("RAY_USAGE_STATS_ENABLED", "0")
    # Ray warns on the terminal when more processes start at once than four times this (default: the CPUs).
    set_default("RAY_worker_maximum_startup_concurrency", "8")
    # Each of a process's dozens of threads would keep a heap of its own: a third more memory over the whole tree.
    set_default("MALLOC_ARENA_MAX", "2")
    # Arrays of up to a few MB come from the heap, which keeps them between answers: mapped anew, their pages
    # took longer than the arithmetic. What is larger still goes back at once.
    set_default("MALLOC_MMAP_THRESHOLD_", str(4 << 20))
    set_default("MALLOC_TRIM_THRESHOLD_", str(8 << 20))
    # A proxy that is slow to start on a busy machine is not a dead one.
    set_default("RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S", "60")
    set_default("RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S", "30")
    if not uses_haproxy(current):
        os.environ["RAY_SERVE_ENABLE_HA_PROXY"] = "0"
        return {}
    os.environ["RAY_SERVE_ENABLE_HA_PROXY"] = "1"
    return haproxy.prepare(run_dir.path, run_dir.short_temp())


def connect(current: Settings, run_dir: RunDir, ports: dict[str, int]) -> Cluster:
    """Start Ray below this process, or join the cluster that ``RAY_ADDRESS`` names.

    Call it from the main thread: on Linux the kernel ends Ray's daemons when the thread that started them ends.

    Raises
    ------
    StartError
        The named cluster does not answer.
    """
    import ray

    common: dict[str, Any] = {"namespace": NAMESPACE, "log_to_driver": False, "logging_level": "ERROR"}
    address = os.environ.get("RAY_ADDRESS")
    if address:
        try:
            context = ray.init(address=address, **common)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise StartError(f"RAY_ADDRESS: no Ray cluster at {address}: {first_line(error)}") from None
        url = _url(context.dashboard_url)
        no_jobs = None if url else "the cluster has no dashboard, which takes jobs"
        return Cluster(address, url, local=False, temp=None, ports=ports, no_jobs=no_jobs)
    temp = run_dir.short_temp()
    group = os.getpgrp()
    no_jobs = why_no_jobs()
    # The devices are the custom resources; Ray would offer an Apple GPU a second time under its own name.
    context = ray.init(
        address="local",
        num_cpus=current.ray_num_cpus,
        num_gpus=0,
        resources=device_resources(),
        object_store_memory=current.object_store_mb * 2**20,
        include_dashboard=True,
        dashboard_host="127.0.0.1",
        dashboard_port=free_port(),
        _temp_dir=str(temp),
        **common,
    )
    if os.getpgrp() != group:
        # Where the kernel does not end children with their parent (macOS), Ray makes this process lead a group of
        # its own; the terminal would then send Ctrl-C to make, and not to us.
        os.setpgid(0, group)
    gcs = str(ray.get_runtime_context().gcs_address)
    # As `ray start` notes it: without it a job's driver is sent to any Ray that runs on the machine.
    (temp / "ray_current_cluster").write_text(gcs)
    return Cluster(gcs, _url(context.dashboard_url), local=True, temp=temp, ports=ports, no_jobs=no_jobs)


def why_no_jobs() -> str | None:
    """Say that the port of Ray's job agent is taken, and by whom; None when it is free."""
    if is_free("127.0.0.1", JOB_AGENT_PORT):
        return None
    by = holder(JOB_AGENT_PORT)
    return (
        f"this run takes no jobs: port {JOB_AGENT_PORT}, where Ray's job agent listens, is in use"
        f"{f' by {by}' if by else ''}; end that and start again"
    )


def _url(dashboard: str | None) -> str | None:
    return f"http://{dashboard}" if dashboard else None


def serve_http(application: Any, current: Settings, name: str) -> None:
    """Start Serve's HTTP face where the settings say, and the application on it; returns when it takes requests."""
    from ray import serve
    from ray.serve.config import HTTPOptions

    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    options = HTTPOptions(host=current.http_host, port=current.http_port, keep_alive_timeout_s=75)
    _insist(
        lambda: serve.start(proxy_location="HeadOnly", http_options=options, logging_config={"log_level": "WARNING"})
    )
    serve.run(application, name=name, route_prefix="/", logging_config={"log_level": "WARNING"})


def until_http_answers(url: str, timeout_s: float) -> None:
    """Wait until the HTTP face takes requests: Serve calls an application ready before its proxy listens.

    Raises
    ------
    StartError
        It does not within `timeout_s`.
    """
    import httpx

    deadline = time.monotonic() + timeout_s
    while True:
        try:
            httpx.get(f"{url}/openapi.json", timeout=2.0).raise_for_status()
        except httpx.HTTPError as error:
            if time.monotonic() > deadline:
                text = str(error) or type(error).__name__
                raise StartError(
                    f"nothing answers at {url} after {timeout_s:g} s ({text}); the proxy's log is in the logs' "
                    "folder, serve/proxy_*.log; FACTOR_ENGINE_HTTP=uvicorn does without HAProxy"
                ) from None
            time.sleep(0.1)
        else:
            return


def _insist(start: Callable[[], object]) -> None:
    """Start Serve; a proxy that died on the way is made anew by Serve, so asking again finds it."""
    from ray.exceptions import RayError

    for attempt in range(SERVE_ATTEMPTS):
        try:
            start()
        except RayError as error:
            if attempt == SERVE_ATTEMPTS - 1:
                text = first_line(error)
                raise StartError(f"Ray Serve did not start its HTTP proxy: {text}") from None
            time.sleep(1.0)
        else:
            return
