"""The actor's end of the line to the bridge; see `contracts.live_line`."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path

from contracts.errors import EngineError, first_line
from contracts.live_call import Answered, MarketData, unpack_data
from contracts.live_line import FRAME_MOST, LENGTH, NEWS, answer_frame, reachable

BUFFER_BYTES = 4 * 2**20
"""What is asked of the system for a connection; it gives what it allows."""

PARTS_MOST = 512
"""Of one system call."""

_log = logging.getLogger(__name__)


class LiveLine:
    """Listens for the bridge, one at a time, and answers it on a thread of its own.

    Parameters
    ----------
    folder : Path
        Made for this user alone.
    take : callable
        Takes market data; what it raises ends the connection, and the bridge asks by Ray what is the matter.

    Attributes
    ----------
    path : str
        Where it listens.

    Raises
    ------
    OSError
        It cannot listen there.
    """

    def __init__(self, folder: Path, take: Callable[[MarketData], Answered]) -> None:
        self._take = take
        self._peer: socket.socket | None = None
        self._sending = threading.Lock()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for left in folder.glob("*.sock"):  # of a process that was killed; what is connected stays so
            left.unlink(missing_ok=True)
        path = folder / f"{os.getpid()}.sock"
        self.path = str(path)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with reachable(path) as way:
                self._listener.bind(way)
            path.chmod(0o600)
            self._listener.listen(2)
        except OSError:
            self._listener.close()
            raise
        self._thread = threading.Thread(target=self._listen, name="live line", daemon=True)
        self._thread.start()

    def news(self) -> None:
        """Let the bridge call, though no market data came."""
        with self._sending, contextlib.suppress(OSError):
            if self._peer is not None:
                self._peer.sendall(NEWS)

    def close(self) -> None:
        """End the line."""
        for end in (self._listener, self._peer):
            if end is not None:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(10.0)
        Path(self.path).unlink(missing_ok=True)

    def _listen(self) -> None:
        while True:
            try:
                peer, _ = self._listener.accept()
            except OSError:
                return
            with peer:
                self._serve(peer)

    def _serve(self, peer: socket.socket) -> None:
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            peer.setsockopt(socket.SOL_SOCKET, option, BUFFER_BYTES)
        self._peer = peer
        try:
            while (packed := _received(peer)) is not None:
                answer = self._take(unpack_data(packed))
                with self._sending:
                    _send(peer, answer_frame(answer))
        except OSError:
            pass  # the bridge went
        except EngineError as error:
            _log.info("the live line ends: %s", first_line(error))
        except Exception:  # noqa: BLE001  a defect ends the line only
            _log.exception("the live line ends")
        finally:
            with self._sending:
                self._peer = None


def _received(peer: socket.socket) -> bytearray | None:
    """Receive a frame; None when the other end closed."""
    head = _exactly(peer, LENGTH.size)
    if head is None:
        return None
    (size,) = LENGTH.unpack(head)
    if size > FRAME_MOST:
        raise OSError(f"a frame of {size} bytes")
    return _exactly(peer, size)


def _exactly(peer: socket.socket, size: int) -> bytearray | None:
    out = bytearray(size)
    view, at = memoryview(out), 0
    while at < size:
        n = peer.recv_into(view[at:])
        if not n:
            return None
        at += n
    return out


def _send(peer: socket.socket, parts: list[bytes]) -> None:
    """Send parts without putting them together."""
    for i in range(0, len(parts), PARTS_MOST):
        some = parts[i : i + PARTS_MOST]
        sent = peer.sendmsg(some)
        for part in some:
            if sent < len(part):
                peer.sendall(memoryview(part)[sent:])
            sent = max(sent - len(part), 0)
