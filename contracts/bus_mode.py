"""What the message bus does, which can be changed while the engine runs: a small file that every process looks at."""

from __future__ import annotations

import time
from enum import StrEnum
from pathlib import Path

from contracts.files import replacing
from contracts.settings import Settings

LOOK_S = 0.1
"""A change is seen so soon."""


class BusMode(StrEnum):
    """How much of the bus there is.

    ``full``: requests, durable requests and market data are taken, events published. ``publish``: events only.
    ``off``: neither; the bridge is not connected, and events of what is computed are not made.
    """

    OFF = "off"
    PUBLISH = "publish"
    FULL = "full"


class ModeFile:
    """The mode of one engine, kept over restarts; without a file it is ``full``.

    Parameters
    ----------
    path : Path
        The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen = BusMode.FULL
        self._stamp: tuple[int, int] | None = None
        self._looked_at = float("-inf")

    @staticmethod
    def of(current: Settings) -> ModeFile:
        """Give the run's file."""
        return ModeFile(current.run_dir.resolve() / "bus_mode")

    @property
    def now(self) -> BusMode:
        """The mode, as old as `LOOK_S` at most."""
        at = time.monotonic()
        if at - self._looked_at > LOOK_S:
            self._looked_at = at
            self._look()
        return self._seen

    def change(self, mode: BusMode) -> BusMode:
        """Set the mode; gives the one before."""
        self._look()
        before = self._seen
        with replacing(self.path, durable=True) as out:
            out.write(mode.value.encode())
        self._look()
        return before

    def _look(self) -> None:
        try:
            stat = self.path.stat()
            if (stat.st_ino, stat.st_mtime_ns) != self._stamp:
                self._seen = BusMode(self.path.read_text().strip())
                self._stamp = stat.st_ino, stat.st_mtime_ns
        except FileNotFoundError:
            self._seen, self._stamp = BusMode.FULL, None
        except (OSError, ValueError):
            # What cannot be read changes nothing.
            return
