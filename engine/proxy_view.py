"""HAProxy as its own socket shows it: whether it answers, has this replica, and uses the fallback."""

from __future__ import annotations

import csv
import os
import socket
import time
from pathlib import Path

ANSWER_S = 1.0
SETTLE_S = 5.0
"""A new replica is in HAProxy's configuration some seconds after it is up."""
RECENT_S = 10.0
"""Traffic over the fallback is told of for so long after the last of it."""


class ProxyView:
    """Looks at the HAProxy of this node.

    Parameters
    ----------
    folder
        Where its sockets are, each in a folder named by a node's id.
    replica
        The id of the replica that looks, which is part of its server's name.
    """

    def __init__(self, folder: Path, replica: str) -> None:
        self._folder = folder
        self._replica = replica
        self._began = time.monotonic()
        self._fallback_total: int | None = None
        self._fallback_at: float | None = None

    @staticmethod
    def of_environment(replica: str) -> ProxyView | None:
        """Give the view of the HAProxy that Serve was told of; None where Serve does without HAProxy."""
        path = os.environ.get("RAY_SERVE_HAPROXY_SOCKET_PATH")
        if os.environ.get("RAY_SERVE_ENABLE_HA_PROXY") != "1" or not path:
            return None
        return ProxyView(Path(path).parent, replica)

    @property
    def fallback_requests(self) -> int | None:
        """Requests that went over the fallback; None as long as HAProxy did not say."""
        return self._fallback_total

    def look(self) -> dict[str, str]:
        """Give what is not as it should be: component: reason."""
        try:
            rows = self._statistics()
        except OSError as error:
            return {"haproxy": f"HAProxy does not answer on its socket: {error}"}
        found = {}
        now = time.monotonic()
        ours = [row for row in rows if self._replica in row["svname"]]
        if not any(row["status"].startswith("UP") for row in ours) and now - self._began > SETTLE_S:
            what = f"has it as {ours[0]['status']}" if ours else "does not know it: its configuration was not reloaded"
            found["haproxy_reload"] = f"HAProxy passes nothing on to this replica; it {what}"
        total = sum(int(row["stot"] or 0) for row in rows if "fallback" in row["svname"])
        if self._fallback_total is not None and total > self._fallback_total:
            self._fallback_at = now
        self._fallback_total = total
        if self._fallback_at is not None and now - self._fallback_at < RECENT_S:
            found["http_fallback"] = f"requests go over Serve's fallback proxy, which is slower; {total} so far"
        return found

    def _statistics(self) -> list[dict[str, str]]:
        sockets = sorted(self._folder.glob("*/admin.sock"), key=lambda path: path.stat().st_mtime)
        if not sockets:
            raise FileNotFoundError(f"there is none in {self._folder}")
        with socket.socket(socket.AF_UNIX) as peer:
            peer.settimeout(ANSWER_S)
            peer.connect(str(sockets[-1]))
            peer.sendall(b"show stat\n")
            parts = []
            while part := peer.recv(65536):
                parts.append(part)
        text = b"".join(parts).decode(errors="replace").removeprefix("# ")
        return list(csv.DictReader(text.splitlines()))
