"""The lock that commits of one value stand behind; the kernel frees it when its holder dies."""

from __future__ import annotations

import contextlib
import fcntl
import time
from collections.abc import Iterator
from pathlib import Path

from contracts.errors import Unavailable

LOCK_S = 30.0
"""Our own commits hold it for milliseconds; another program that holds it for good must not hold the writer so."""
_FIRST_POLL_S, _LONGEST_POLL_S = 0.001, 0.1


@contextlib.contextmanager
def locked(folder: Path, wait_s: float | None = None) -> Iterator[None]:
    """Hold the lock of a folder.

    Raises
    ------
    Unavailable
        Another process held it for all of `wait_s`, by default `LOCK_S`.
    """
    wait_s = LOCK_S if wait_s is None else wait_s
    path = folder / "lock"
    with path.open("a") as lock:
        deadline = time.monotonic() + wait_s
        pause = _FIRST_POLL_S
        while not _taken(lock.fileno()):
            if time.monotonic() >= deadline:
                raise Unavailable(f"another process has held {path} for {wait_s:g} s", retry_after_s=wait_s)
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_POLL_S)
        yield


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
