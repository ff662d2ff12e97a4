"""What every process of Ray reads from its environment, on one machine and on each node of a cluster."""

from __future__ import annotations

import os

LOOPBACK_ONLY = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
"""0: a Ray of one machine, which listens on loopback, on Linux too. 1: a cluster, of Macs too."""
LOOPBACK = ("127.0.0.1", "localhost", "::1")
DEFAULTS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # Without them Ray lets the log of a process grow for as long as the process lives.
    "RAY_ROTATION_MAX_BYTES": str(64 << 20),
    "RAY_ROTATION_BACKUP_COUNT": "3",
    # Ray warns on the terminal when more processes start at once than four times this (default: the CPUs).
    "RAY_worker_maximum_startup_concurrency": "8",
    # Each of a process's dozens of threads would keep a heap of its own: a third more memory over the whole tree.
    "MALLOC_ARENA_MAX": "2",
    # Arrays of up to a few MB come from the heap, which keeps them between answers: mapped anew, their pages
    # took longer than the arithmetic. What is larger still goes back at once.
    "MALLOC_MMAP_THRESHOLD_": str(4 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(8 << 20),
    # A bar of 500 names is a quarter of a megabyte and passes the router. As an object in shared memory, where Ray puts
    # what has more than 100 KB, that took 5.0 ms; in the call it takes 3.0.
    "RAY_max_direct_call_object_size": str(2**19),
    # Ray remembers its last calls for the dashboard, 100,000 of them: 150 MB more in the first ten minutes of a busy
    # engine, for calls of a millisecond.
    "RAY_task_events_max_num_task_in_gcs": "10000",
    # HAProxy passes requests to the replicas by itself, so that only they know how many they have in work.
    "RAY_SERVE_COLLECT_AUTOSCALING_METRICS_ON_HANDLE": "0",
    # A proxy that is slow to start on a busy machine is not a dead one.
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60",
    "RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S": "30",
}


def prepare() -> None:
    """Set what is not set, for the processes that this one starts or becomes."""
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
    _spare_loopback_the_proxy()


def _spare_loopback_the_proxy() -> None:
    """Have what this machine asks of itself not sent to the proxy that ``HTTP_PROXY`` names; gRPC would do so too."""
    for name in ("NO_PROXY", "no_proxy"):
        known = [part.strip() for part in os.environ.get(name, "").split(",") if part.strip()]
        os.environ[name] = ",".join([*known, *(host for host in LOOPBACK if host not in known)])
