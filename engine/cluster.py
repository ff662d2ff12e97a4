"""Ray for a run: its environment, its start in this process or the cluster it joins, and Serve's HTTP face on it."""

from __future__ import annotations

import importlib
import logging
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contracts.errors import first_line
from contracts.identity import ENGINE_HEADER
from contracts.settings import NAMESPACE, Settings
from engine import haproxy, ray_environment
from engine.errors import StartError
from engine.ray_environment import LOOPBACK_ONLY
from engine.ray_head import ADDRESS_FILE
from engine.run_dir import RunDir

MAX_ONGOING_REQUESTS = 4096
"""Requests inside the HTTP replica; the engine's own queues refuse (429) long before, with a reason."""
SERVE_ATTEMPTS = 5
RAY_S = 120.0
"""How long Ray may take to come up."""
_QUIET: dict[str, Any] = {"namespace": NAMESPACE, "log_to_driver": False, "logging_level": "ERROR"}


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
        Whether it belongs to this run, and ends with it.
    temp
        Where its sockets and logs are; None when it is not ours.
    no_jobs
        Why it takes no submitted jobs; None when it does.
    """

    address: str
    dashboard: str | None
    local: bool
    temp: Path | None
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
    ray_environment.prepare()
    if "RAY_ADDRESS" in os.environ:
        # Serve runs on that cluster with what was set where its head was started; nothing that is set here reaches it.
        return {}
    if sys.platform == "linux":
        # A Ray of one machine then listens on loopback. Every process that connects to it needs the same; a cluster of
        # several machines must not have it.
        set_default(LOOPBACK_ONLY, "0")
    if not uses_haproxy(current):
        os.environ["RAY_SERVE_ENABLE_HA_PROXY"] = "0"
        return {}
    os.environ["RAY_SERVE_ENABLE_HA_PROXY"] = "1"
    return haproxy.prepare(run_dir.path, run_dir.short_temp())


def connect(temp: Path, dashboard: str | None, look: Callable[[], None]) -> Cluster:
    """Connect to the Ray that `engine.ray_head` starts or has started on this machine.

    Parameters
    ----------
    temp
        Ray's temporary folder.
    dashboard
        The URL of its dashboard.
    look
        Called while Ray is on its way; what it raises ends the wait.

    Raises
    ------
    StartError
        It is not up within `RAY_S`.
    """
    import ray

    deadline = time.monotonic() + RAY_S
    path = temp / ADDRESS_FILE
    while not path.exists():
        look()
        if time.monotonic() > deadline:
            raise StartError(f"Ray is not up after {RAY_S:g} s; its logs are in {temp}/session_latest/logs")
        time.sleep(0.02)
    address = path.read_text()
    ray.init(address=address, **_QUIET)
    return Cluster(address, dashboard, local=True, temp=temp)


def join(address: str) -> Cluster:
    """Join the cluster at an address, as ``RAY_ADDRESS`` gives it.

    Raises
    ------
    StartError
        It does not answer.
    """
    import ray

    try:
        context = ray.init(address=address, **_QUIET)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise StartError(f"RAY_ADDRESS: no Ray cluster at {address}: {first_line(error)}") from None
    url = f"http://{context.dashboard_url}" if context.dashboard_url else None
    no_jobs = None if url else "the cluster has no dashboard, which takes jobs"
    return Cluster(address, url, local=False, temp=None, no_jobs=no_jobs)


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


def keep_replica_on_loopback() -> None:
    """Have Serve's replica in this process take other replicas' calls from this machine only, on a Ray of one machine.

    Serve opens that port on all interfaces, asks nobody who he is, and unpickles what comes; no setting closes it.
    """
    if os.environ.get(LOOPBACK_ONLY) != "0":
        return
    replica: Any = importlib.import_module("ray.serve._private.replica")
    add = replica.add_port_to_grpc_server

    def add_on_loopback(server: Any, address: str) -> Any:
        return add(server, address.replace("[::]:", "127.0.0.1:"))

    replica.add_port_to_grpc_server = add_on_loopback


def ray_socket() -> Path | None:
    """Give the socket by which processes of this node reach Ray; None where this process is not connected to it."""
    worker: Any = importlib.import_module("ray._private.worker")
    node = worker._global_node  # noqa: SLF001  # Ray tells it nowhere else
    return Path(node.raylet_socket_name) if node is not None else None


def until_http_answers(url: str, own: str, timeout_s: float) -> None:
    """Wait until the HTTP face takes requests: Serve calls an application ready before its proxy listens.

    Parameters
    ----------
    url
        Where it is to listen.
    own
        The engine's id, which must be on the answer.
    timeout_s
        How long to wait.

    Raises
    ------
    StartError
        It does not answer within `timeout_s`, or another does.
    """
    import httpx

    deadline = time.monotonic() + timeout_s
    while True:
        try:
            # Not by the environment's proxy: it is on this machine.
            answer = httpx.get(f"{url}/openapi.json", timeout=2.0, trust_env=False).raise_for_status()
        except httpx.HTTPError as error:
            if time.monotonic() > deadline:
                raise StartError(
                    f"nothing answers at {url} after {timeout_s:g} s ({first_line(error)}); the proxy's log is in the "
                    "logs' folder, serve/proxy_*.log; FACTOR_ENGINE_HTTP=uvicorn does without HAProxy"
                ) from None
            time.sleep(0.1)
            continue
        by = answer.headers.get(ENGINE_HEADER)
        if by != own:
            raise StartError(f"{url} is answered by {f'engine {by}' if by else 'something else'}; choose another port")
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
