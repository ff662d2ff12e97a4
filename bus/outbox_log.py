"""The outbox's write-ahead log: when it is moved into the database, and that it is short again after it.

SQLite writes a log that was moved as a whole from its beginning again, in the same file: without a limit the file stays
as long as it ever was, and its size says nothing of what is yet to be moved.
"""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

KEPT_BYTES = 2**20
"""What a log that begins anew is cut to."""
LIMIT_LENGTH = f"PRAGMA journal_size_limit = {KEPT_BYTES}"
"""For every connection that writes: the one that begins the log anew cuts it."""


class OutboxLog:
    """The log of one database.

    Parameters
    ----------
    database
        The database's file.
    wait_s
        How long a database that another process has locked is waited for.
    """

    def __init__(self, database: Path, wait_s: float) -> None:
        self._database = database
        self._path = database.with_name(database.name + "-wal")
        self._wait_s = wait_s
        self._moved: tuple[int, int] | None = None

    def n_bytes(self) -> int:
        """Size of the file."""
        return self._state()[0]

    def due(self, at_bytes: int) -> bool:
        """Say whether there are so many bytes to move; none while nothing was written since all of them were moved."""
        state = self._state()
        return state[0] > at_bytes and state != self._moved

    def move(self) -> bool:
        """Move it into the database, and say whether that was all; calls fsync, so do it off the event loop."""
        with contextlib.closing(sqlite3.connect(self._database, isolation_level=None, timeout=self._wait_s)) as db:
            before = self._state()
            busy, written, moved = db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        whole = not busy and written == moved
        # As it was before: what is written meanwhile is told by another time of writing.
        self._moved = before if whole else None
        return whole

    def _state(self) -> tuple[int, int]:
        """Give the file's size and when it was written."""
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return 0, 0
        return found.st_size, found.st_mtime_ns
