"""Free ports, and who holds one that is not."""

from __future__ import annotations

import contextlib
import random
import socket
from pathlib import Path

import psutil

from engine.errors import StartError

LOWEST_PORT = 10240
SERVE_REPLICAS = 30000
"""From here on Serve's replicas listen."""


class PortInUseError(StartError):
    """A port that was asked for is taken; says by whom, where that can be seen."""


def free_port(host: str = "127.0.0.1") -> int:
    """Give a port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def service_port() -> int:
    """Give a free port for a service that starts later and cannot be told to take any.

    It is below those that the kernel gives to outgoing connections, which would take it meanwhile, and apart from those
    where Serve's replicas listen.
    """
    high = min(_first_ephemeral(), SERVE_REPLICAS)
    for _ in range(100):
        port = random.randrange(LOWEST_PORT, high)  # noqa: S311  # not a secret
        if is_free("0.0.0.0", port):  # noqa: S104  # free on every interface
            return port
    return free_port("0.0.0.0")  # noqa: S104


def _first_ephemeral() -> int:
    try:
        first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except (OSError, ValueError):
        return 32768
    return first if first > LOWEST_PORT + 1000 else 32768


def is_free(host: str, port: int) -> bool:
    """Say whether one may listen on the port now."""
    with socket.socket() as probe:
        # As the servers do it: a connection that is still closing does not hold the port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def holders(port: int) -> list[psutil.Process]:
    """List the processes that listen on the port, as far as they may be seen (not other users', not on macOS)."""
    try:
        found = psutil.net_connections("tcp")
    except psutil.AccessDenied:
        return []
    pids = {c.pid for c in found if c.status == psutil.CONN_LISTEN and c.laddr.port == port and c.pid}
    listening = []
    for pid in sorted(pids):
        with contextlib.suppress(psutil.NoSuchProcess):
            listening.append(psutil.Process(pid))
    return listening


def holder(port: int) -> str | None:
    """Name the process that listens on the port; None when that may not be seen."""
    for process in holders(port):
        with contextlib.suppress(psutil.NoSuchProcess):
            return f"{process.name()} (pid {process.pid})"
    return None


def require_free(host: str, port: int, setting: str) -> None:
    """Check that a port may be listened on.

    Raises
    ------
    PortInUseError
        Names the port, its holder and the setting that chooses another.
    """
    if not is_free(host, port):
        by = holder(port)
        raise PortInUseError(
            f"port {port} on {host} is in use{f' by {by}' if by else ''}; set {setting} to another port"
        )
