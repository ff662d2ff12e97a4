"""The Ray of a cluster as a run that joined it sees it, without Ray's libraries: is it there, and has it ended."""

from __future__ import annotations

import re
import socket
from pathlib import Path

from contracts.errors import first_line
from contracts.files import replacing
from engine.errors import StartError

CONNECT_S = 2.0
_HOST_AND_PORT = re.compile(r"(?P<host>[^/\s]+):(?P<port>\d+)")


def require(address: str) -> None:
    """Look whether a cluster's control store listens, before anything is begun that waits for it.

    Parameters
    ----------
    address
        As ``RAY_ADDRESS`` gives it. What is no host and port, such as ``auto``, is left to Ray.

    Raises
    ------
    StartError
        Nobody listens there.
    """
    found = _HOST_AND_PORT.fullmatch(address)
    if found is None:
        return
    try:
        socket.create_connection((found["host"].strip("[]"), int(found["port"])), CONNECT_S).close()
    except (OSError, OverflowError) as error:
        raise StartError(f"RAY_ADDRESS: no Ray cluster at {address}: {first_line(error)}") from None


def _socket_file(run_dir: Path) -> Path:
    return run_dir / "ray" / "socket"


def note(run_dir: Path, raylet: Path | None) -> None:
    """Note for `Line.to_noted` by which socket this machine's part of the cluster is reached; None: by none."""
    path = _socket_file(run_dir)
    if raylet is None:
        path.unlink(missing_ok=True)
        return
    path.parent.mkdir(mode=0o700, exist_ok=True)
    with replacing(path, private=True) as out:
        out.write(str(raylet).encode())


class Line:
    """A connection to this machine's part of a cluster, which the kernel closes when that ends.

    Ray's own clients do likewise. Nothing is sent: Ray waits for what an unknown client wants for as long as it takes.

    Parameters
    ----------
    raylet
        The socket of the node's process of Ray.

    Raises
    ------
    StartError
        Nobody listens on it any more.
    """

    def __init__(self, raylet: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.connect(str(raylet))
        except OSError as error:
            self._socket.close()
            raise StartError(f"this machine's Ray ended: {raylet}: {first_line(error)}") from None
        self._socket.setblocking(False)

    @classmethod
    def to_noted(cls, run_dir: Path) -> Line | None:
        """Connect to what `note` noted; None where it noted nothing."""
        try:
            return cls(Path(_socket_file(run_dir).read_text()))
        except FileNotFoundError:
            return None

    def holds(self) -> bool:
        """Say whether the other end is still there; asks nobody."""
        try:
            return bool(self._socket.recv(4096))
        except BlockingIOError:
            return True
        except OSError:
            return False

    def close(self) -> None:
        """Let go of it."""
        self._socket.close()
