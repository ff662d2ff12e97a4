"""Who of several bridges does what only one may do: a lock on a file, which the kernel frees when its holder dies."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
from collections.abc import AsyncIterator
from pathlib import Path

LOOK_S = 0.1


class Lease:
    """A lease on what one process of a run directory does at a time.

    Parameters
    ----------
    path : Path
        The file; its folder is made when missing. Machines that share it share the lease.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.held = False

    @contextlib.asynccontextmanager
    async def hold(self) -> AsyncIterator[None]:
        """Wait until nobody else has it, and have it over the block."""
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            while not _taken(descriptor):  # noqa: ASYNC110  another process has it
                await asyncio.sleep(LOOK_S)
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
            self.held = True
            yield
        finally:
            self.held = False
            os.close(descriptor)


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
