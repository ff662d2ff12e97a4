"""``python -m engine.ray_head JSON``: Ray's own processes for a run on this machine, below one process.

It is what ``ray start --head --block`` is, without what a single machine does not need (the autoscaler's monitor, the
client server on a fixed port), and with what `ray.init` does not let one choose: a free port for the job agent,
which has one fixed number per machine otherwise. It ends all of Ray when one part ends, or when it is told.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import psutil

from engine.node import device_resources

ADDRESS_FILE = "ray_current_cluster"
"""In Ray's temporary folder, where Ray itself looks for it: the address of the control store, once Ray is up."""
LOOK_S = 0.5
CORE = frozenset({"gcs_server", "raylet"})
SHARED_MEMORY = Path("/dev/shm" if sys.platform == "linux" else "/")  # noqa: S108
"""A container may have none; Ray's objects are files of the temporary folder then."""


@contextlib.contextmanager
def dying_with(names: frozenset[str]) -> Iterator[None]:
    """End this process when a child of one of these names ends within the block.

    While Ray starts, it waits a minute and more for a part of it that has ended.
    """
    over = threading.Event()

    def look() -> None:
        seen: dict[int, str] = {}
        while not over.wait(LOOK_S):
            alive = {}
            for child in psutil.Process().children():
                with contextlib.suppress(psutil.NoSuchProcess):
                    if child.name() in names and child.status() != psutil.STATUS_ZOMBIE:
                        alive[child.pid] = child.name()
            ended = [name for pid, name in seen.items() if pid not in alive]
            if ended and not over.is_set():
                print(f"Ray ended by itself: {', '.join(ended)}", file=sys.stderr, flush=True)  # noqa: T201  # its log
                os._exit(1)
            seen |= alive

    thread = threading.Thread(target=look, name="watch the start", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def command(options: dict[str, Any]) -> list[str]:
    """Give the command that starts Ray.

    Parameters
    ----------
    options
        ``temp_dir``; ``dashboard_port``; ``object_store_bytes``; ``num_cpus`` or None.
    """
    return [sys.executable, "-m", "engine.ray_head", json.dumps(options)]


def main(options: dict[str, Any]) -> int:
    """Start Ray and stay until a part of it ends (1) or a signal comes (0)."""
    asked: list[int] = []

    def end(number: int, _frame: FrameType | None) -> None:
        asked.append(number)

    from ray._private.node import Node
    from ray._private.parameter import RayParams

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    params = RayParams(
        node_manager_port=0,
        min_worker_port=0,
        max_worker_port=0,
        num_cpus=options["num_cpus"],
        # The devices are the custom resources; Ray would offer an Apple GPU a second time under its own name.
        num_gpus=0,
        resources=device_resources(),
        object_store_memory=options["object_store_bytes"],
        include_dashboard=True,
        dashboard_host="127.0.0.1",
        dashboard_port=options["dashboard_port"],
        dashboard_agent_listen_port=0,
        temp_dir=options["temp_dir"],
        plasma_directory=None if SHARED_MEMORY.is_dir() else options["temp_dir"],
        no_monitor=True,
    )
    with dying_with(CORE):
        node = Node(params, head=True, shutdown_at_exit=False, spawn_reaper=True)
    try:
        address = Path(options["temp_dir"], ADDRESS_FILE)
        part = address.with_suffix(".part")
        part.write_text(node.address)
        part.replace(address)
        while not asked:
            time.sleep(LOOK_S)
            dead = node.dead_processes()  # type: ignore[no-untyped-call]
            if dead:
                names = ", ".join(f"{kind} ({process.returncode})" for kind, process in dead)
                print(f"Ray ended by itself: {names}", file=sys.stderr, flush=True)  # noqa: T201  # its log
                return 1
        return 0
    finally:
        node.kill_all_processes(check_alive=False, allow_graceful=False)


if __name__ == "__main__":
    code = main(json.loads(sys.argv[1]))
    sys.stderr.flush()
    # What Ray's libraries do while they are unloaded is nobody's business any more.
    os._exit(code)
