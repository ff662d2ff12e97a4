"""What systemd does with the shipped units, on hosts of namespaces: a command is started, and again when it ended.

How long it waits and whether it starts a command again is read from the files of `deploy/systemd`. What systemd would
kill of a unit whose command ended is left alone here: it has to end by itself.
"""

from __future__ import annotations

import re
import signal
import threading
from collections.abc import Callable

import psutil
from hosts import with_signal
from running_cluster import Started
from running_engine import ROOT, until

STOP_S = 60.0


class Unit:
    """A unit on a host; it is up from the start until `stop`.

    Parameters
    ----------
    file
        Its name in `deploy/systemd`.
    start
        Starts the words behind the program of ``ExecStart`` on the host.

    Attributes
    ----------
    lives
        What was started, the newest last.
    """

    def __init__(self, file: str, start: Callable[[list[str]], Started]) -> None:
        text = (ROOT / "deploy" / "systemd" / file).read_text()
        said = dict(re.findall(r"^(\w+)=(.+)$", text, re.MULTILINE))
        self.words = said["ExecStart"].split()[1:]
        self._always = {"always": True, "on-failure": False}[said["Restart"]]
        self._signal = signal.Signals[said["KillSignal"]]
        self._pause_s = float(said["RestartSec"])
        self._start = start
        self._stopped = threading.Event()
        self.lives: list[Started] = []
        self._thread = threading.Thread(target=self._keep, name=file, daemon=True)
        self._thread.start()

    def _keep(self) -> None:
        while not self._stopped.is_set():
            self.lives.append(self._start(self.words))
            if self.lives[-1].process.wait() == 0 and not self._always:
                return
            self._stopped.wait(self._pause_s)

    @property
    def now(self) -> Started:
        """What was started last."""
        until(lambda: self.lives, "the unit is started", STOP_S)
        return self.lives[-1]

    def stop(self) -> int:
        """Stop it as ``systemctl stop`` does; gives the exit code of its command."""
        self._stopped.set()
        for process in psutil.Process(self.now.process.pid).children():  # nsenter's, which takes no signals for it
            with_signal(process, self._signal)
        code = self.now.process.wait(STOP_S)
        self._thread.join(STOP_S)
        return code

    def leave(self) -> None:
        """Start it no more."""
        self._stopped.set()
