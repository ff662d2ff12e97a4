"""The signals of a foreground run: they are noted, and met where the run waits; nothing is thrown into its midst."""

from __future__ import annotations

import contextlib
import select
import signal
import socket
import time
from types import FrameType

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(BaseException):
    """The operator ended the run."""


class Signals:
    """Takes the signals of this process; use it on the main thread.

    A signal wakes `wait`, which raises `Stopped` for those that end a run. So does the end of a child wake it, that its
    keeper may look at once.
    """

    def __init__(self) -> None:
        self._asked = False
        self._ours, self._kernels = socket.socketpair()
        for end in (self._ours, self._kernels):
            end.setblocking(False)

    def take(self) -> None:
        """Take the signals from now on."""
        signal.set_wakeup_fd(self._kernels.fileno(), warn_on_full_buffer=False)
        for number in ENDING:
            signal.signal(number, self._note)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        self._asked = True

    @property
    def asked(self) -> bool:
        """Whether the run is to end."""
        return self._asked

    def wait(self, seconds: float) -> None:
        """Wait so long, or until a child ended.

        Raises
        ------
        Stopped
            The run is to end.
        """
        deadline = time.monotonic() + seconds
        if not self._asked:
            select.select([self._ours], [], [], max(0.0, deadline - time.monotonic()))
            with contextlib.suppress(BlockingIOError):
                while self._ours.recv(256):
                    pass
        if self._asked:
            raise Stopped
