"""Keeps the run's nats-server alive: it is back at once, and after growing pauses when it goes on ending."""

from __future__ import annotations

import time
from collections.abc import Callable

from contracts.access import restart_wanted
from contracts.backoff import backoff_s
from contracts.errors import EngineError
from engine.nats_server import NatsServer

PAUSES_S = (0.0, 1.0, 2.0, 5.0, 10.0, 30.0)
STEADY_S = 60.0
"""A server that lived so long is a good one again."""
START_S = 5.0


class NatsKeeper:
    """Looks after one server.

    Parameters
    ----------
    server
        Started.
    tell
        Shows a line to the operator.
    given_up
        Whether a start that is under way is to be given up.
    """

    def __init__(self, server: NatsServer, tell: Callable[[str], None], given_up: Callable[[], bool]) -> None:
        self.server = server
        self._tell = tell
        self._given_up = given_up
        self.failures = 0
        self.restarts = 0
        self._since = time.monotonic()
        self._retry_at: float | None = None

    def look(self) -> None:
        """Start the server again if it ended, or if the bridge asked for it because it cannot mend itself."""
        now = time.monotonic()
        if restart_wanted(self.server.run_dir, take=True):
            self._tell("nats-server takes no writes; it is started again")
            self.server.stop()
        if self.server.pid is not None:
            if now - self._since > STEADY_S:
                self.failures = 0
            return
        if self._retry_at is None:
            pause = backoff_s(PAUSES_S, self.failures)
            self._retry_at = now + pause
            self._tell(f"nats-server ended; it is started again {f'in {pause:g} s' if pause else 'now'}")
        if now >= self._retry_at:
            self._start()

    def _start(self) -> None:
        self._retry_at = None
        self.failures += 1
        try:
            self.server.start(START_S, given_up=self._given_up)
        except (EngineError, OSError) as error:
            self._tell(f"nats-server: {error}")
            return
        self.restarts += 1
        self._since = time.monotonic()
        self._tell("nats-server is back")
