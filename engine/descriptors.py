"""Open files that the machine allows each process: raised as far as may be, and HAProxy told to ask for no more."""

from __future__ import annotations

import os
import resource

from engine.errors import StartError

WANTED = 65_536
NEEDED = 512
"""With fewer, Ray's own processes run out before anybody asks for anything."""
HAPROXY_CONNECTIONS = 4096
"""What Serve gives HAProxy."""
HAPROXY_EACH = 2.5
"""Descriptors of a connection: one to each side, and a quarter of a pipe, which HAProxy reckons with too."""
HAPROXY_OWN = 128
"""Descriptors of HAProxy for itself: listeners, threads, health checks, logs."""


def prepare() -> str | None:
    """Raise this process's limit, which its children inherit, and fit HAProxy's connections into it.

    Returns
    -------
    str or None
        What is less than usual, for the operator.

    Raises
    ------
    StartError
        The limit is too low to run at all.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = hard == resource.RLIM_INFINITY
    most = WANTED if unlimited else min(hard, WANTED)
    if most < NEEDED:
        wanted = int(HAPROXY_EACH * HAPROXY_CONNECTIONS) + HAPROXY_OWN
        raise StartError(
            f"this process may open {most} files; each of the engine's needs {NEEDED}, and HAProxy wants {wanted}: "
            "raise the hard limit (ulimit -Hn, or LimitNOFILE of the service)"
        )
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    connections = int((most - HAPROXY_OWN) / HAPROXY_EACH)
    if connections >= HAPROXY_CONNECTIONS or "RAY_SERVE_HAPROXY_MAXCONN" in os.environ:
        return None
    os.environ["RAY_SERVE_HAPROXY_MAXCONN"] = str(connections)
    return (
        f"this process may open {most} files: the HTTP face takes {connections} connections at once instead of "
        f"{HAPROXY_CONNECTIONS}; a higher hard limit (ulimit -Hn) allows more"
    )
