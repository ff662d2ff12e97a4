"""What a face sees of the machine below it, for `/health` and gauges: disks, and HAProxy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from contracts.settings import Settings
from engine.disk_view import low, room
from engine.proxy_view import ProxyView
from store.poll import behind


class Conditions:
    """Looks at the machine.

    Parameters
    ----------
    current
        Says where the run's files lie.
    replica
        The id of Serve's replica that looks; None outside of Serve.
    ray_socket
        The socket by which Ray's processes of this node find each other.
    """

    def __init__(self, current: Settings, replica: str | None = None, ray_socket: Path | None = None) -> None:
        self._ray_socket = ray_socket
        self._store = (current.store_path, current.store_poll_s) if current.store_uri is not None else None
        self._low_mb = current.disk_low_mb
        self._places: dict[str, Path] = {"run_directory": current.run_dir.resolve(), "store": current.store_path}
        if current.nats_url is None and current.messagebus_enabled:
            self._places["nats"] = current.run_dir.resolve() / "nats"
        self._proxy = ProxyView.of_environment(replica) if replica is not None else None

    def look(self) -> dict[str, Any]:
        """Give what is not as it should be, and what there is to measure; touches disks and a socket.

        Returns
        -------
        dict
            ``degraded``: component: reason; ``disk_free_bytes``: place: bytes; ``http_fallback_requests``, None where
            nobody knows.
        """
        degraded = low(self._places, self._low_mb)
        if self._proxy is not None:
            degraded |= self._proxy.look()
        if self._store is not None and (why := behind(*self._store)) is not None:
            degraded["store"] = why
        if self._ray_socket is not None and not self._ray_socket.exists():
            degraded["ray_sockets"] = (
                f"somebody removed {self._ray_socket}: what runs goes on, but Ray can start no process; start again"
            )
        rooms = {name: room(path) for name, path in self._places.items()}
        return {
            "degraded": degraded,
            "disk_free_bytes": {name: has.free for name, has in rooms.items() if has is not None},
            "http_fallback_requests": self._proxy.fallback_requests if self._proxy is not None else 0,
        }
