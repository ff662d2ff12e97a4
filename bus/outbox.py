"""The durable outbox of a node: many faces put events, one bridge drains them to NATS.

A SQLite database in WAL mode. A `put` returns after its transaction is committed, which is in the kernel's page cache:
`kill -9` of any process loses nothing; a power cut can lose what the disk had not yet got. Puts of one turn of the
event loop share one transaction, so a burst costs about 10 us an event and never waits for a timer; a put that comes
some time behind another that was alone waits for no end of a turn.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from bus.fresh import Fresh
from bus.outbox_log import LIMIT_LENGTH, OutboxLog
from bus.outbox_table import DELETE, SCHEMA, Stored, drop, insert, locked, note_told, told, transaction
from contracts.errors import Unavailable, first_line
from contracts.events import Event
from contracts.settings import Settings
from contracts.work import Priority

_log = logging.getLogger(__name__)

LOCK_WAIT_S = 5.0
HELD_LIMIT = 20_000
"""Events held in memory while the database cannot be written; beyond it they are refused."""
HELD_RETRY_S = 1.0
WAL_LIMIT_BYTES = 64 * 2**20
"""Without a bridge nobody checkpoints; a face does when the log is this long."""
WAL_CHECK_EVERY = 1024
ALONE_S = 0.0005
"""A put that comes so long after the last commit, of one put, is taken for a lone one too."""
NEVER = float("inf")
TRIM_TO = 0.98
"""A full outbox is trimmed to this share of its limit, so that trimming is not done for every event."""


class OutboxCounts(NamedTuple):
    """What went through the outbox since it was made."""

    depth: int
    put: int
    delivered: int
    undeliverable: int
    dropped_low: int
    dropped_oldest: int


class OutboxError(Unavailable):
    """The event could not be kept."""


class Put(NamedTuple):
    """Events on their way into the database.

    `done` becomes true when they are committed, and false when their putter would wait no longer and they are held in
    memory until they can be.
    """

    events: Sequence[Event]
    done: asyncio.Future[bool]
    wait_s: float | None


class Trouble(NamedTuple):
    """Why the database could not be written at the last attempt, and since when (seconds since the epoch)."""

    reason: str
    since: float


Outcome = tuple[int, list[BaseException | None]]
"""Events kept after a commit, and for each part of it the error that kept it out."""


class Outbox:
    """One process's door to the node's outbox.

    Parameters
    ----------
    path : Path
        The database file; made when missing.
    limit : int
        Undelivered events kept. Beyond it the oldest of priority LOW go first, then the oldest of all, counted.
    threshold : Priority
        A put with an event of this priority or above wakes the bridge at once; the bridge finds the rest within its
        buffer interval.
    buffer_size : int
        So many events below the threshold wake the bridge too.
    """

    def __init__(
        self,
        path: Path,
        limit: int = 200_000,
        threshold: Priority = Priority.HIGH,
        buffer_size: int = 5000,
    ) -> None:
        self.path = path
        self.limit = limit
        self.threshold = threshold
        self.buffer_size = buffer_size
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # One connection never waits for the database's lock and belongs to the event loop; the other one does wait.
        self._patient = self._open(LOCK_WAIT_S)
        self._db = self._open(0.0)
        self._lock = threading.Lock()
        self.log = OutboxLog(path, LOCK_WAIT_S)
        self._slow = ThreadPoolExecutor(1, thread_name_prefix="outbox")
        self._waiting: list[Put] = []
        self._again: list[Put] = []
        self._turn_planned = False
        self._lone_at = NEVER
        """When the last turn was over, if it had one put; else never."""
        self._slow_running = False
        self._held = 0
        self._retry: asyncio.TimerHandle | None = None
        self.trouble: Trouble | None = None
        self._trimming: Future[int] | None = None
        self._commits = 0
        self._unannounced = 0
        self._wake = path.with_suffix(".wake")
        self._wake_fd: int | None = None
        self.fresh = Fresh()

    @staticmethod
    def of(current: Settings) -> Outbox:
        """Open the node's outbox as the settings say."""
        return Outbox(
            current.outbox_path,
            current.outbox_limit,
            Priority.parse(current.priority_threshold),
            current.max_buffer_size,
        )

    def _open(self, wait_s: float) -> sqlite3.Connection:
        db = sqlite3.connect(self.path, isolation_level=None, timeout=LOCK_WAIT_S, check_same_thread=False)
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")
        # A checkpoint calls fsync; the drainer does it, off every face's event loop.
        db.execute("PRAGMA wal_autocheckpoint = 0")
        db.execute(LIMIT_LENGTH)
        db.executescript(SCHEMA)
        db.execute(f"PRAGMA busy_timeout = {int(wait_s * 1000)}")
        return db

    # -- faces

    async def put(self, events: Sequence[Event], wait_s: float | None = None) -> bool:
        """Keep the events; returns when they are committed, or when `wait_s` passed.

        Parameters
        ----------
        events
            In their order.
        wait_s
            How long a database that another process has locked is waited for. After that the events are held in this
            process's memory and committed when they can be. Default: until the database is free, or gives up.

        Returns
        -------
        bool
            Whether they are durable now; false when they are held in memory.

        Raises
        ------
        OutboxError
            The database could not be written (a full disk, for one), or an event has a field that it cannot hold; then
            none of these events is kept, and those that others put at the same time are.
        """
        if not events:
            return True
        if self._held >= HELD_LIMIT:
            raise OutboxError(f"the outbox cannot be written, and {self._held} events wait in memory for it")
        loop = asyncio.get_running_loop()
        put = Put(events, loop.create_future(), wait_s)
        self._waiting.append(put)
        if self._slow_running or self._retry is not None:
            self._hold_later(loop, put)
        elif not self._turn_planned and time.perf_counter() - self._lone_at > ALONE_S:
            self._turn(loop)
        elif not self._turn_planned:
            self._turn_planned = True
            loop.call_soon(self._turn, loop)
        return await put.done

    def _hold_later(self, loop: asyncio.AbstractEventLoop, put: Put) -> None:
        """Let the putter go after its time."""
        if put.wait_s is not None and not put.done.done():
            loop.call_later(put.wait_s, self._hold, put)

    def _hold(self, put: Put) -> None:
        if not put.done.done():
            put.done.set_result(False)
            self._held += len(put.events)
            self._note_trouble("another process has locked it")

    def _note_trouble(self, reason: str) -> None:
        self.trouble = Trouble(reason, self.trouble.since if self.trouble is not None else time.time())

    def look(self) -> Trouble | None:
        """Say why the database cannot be written, if it could not at the last attempt and cannot now."""
        if self.trouble is None or self._again or self._waiting or self._slow_running:
            return self.trouble
        try:
            with transaction(self._db) as db:
                db.execute("UPDATE counters SET depth = depth")
        except sqlite3.Error as error:
            self._note_trouble(first_line(error))
        else:
            self.trouble = None
        return self.trouble

    @property
    def held(self) -> int:
        """Events that are in this process's memory only."""
        return self._held

    def _turn(self, loop: asyncio.AbstractEventLoop) -> None:
        """Commit what the tasks of this turn put, as one. What cannot be done at once is done in a thread.

        Every put of the turn is settled, whatever happens: a database that is locked is waited for, and an event that
        cannot be stored fails its own put only.
        """
        self._turn_planned = False
        turn, self._waiting = self._waiting, []
        events = [event for put in turn for event in put.events]
        try:
            depth, last = insert(self._db, events)
        except Exception as error:  # noqa: BLE001  whatever it is, nobody may be left waiting
            self._slowly(loop, turn, error)
            return
        self.fresh.add(events, last)
        self._settle(turn, [None] * len(turn))
        self._after(events, depth)
        self._lone_at = time.perf_counter() if len(turn) == 1 else NEVER

    def _slowly(self, loop: asyncio.AbstractEventLoop, turn: list[Put], because: Exception) -> None:
        if isinstance(because, sqlite3.OperationalError) and not locked(because):
            self._settle(turn, [because] * len(turn))
            self._try_held_again(loop)
            return
        try:
            later = loop.run_in_executor(self._slow, self._commit_patiently, [put.events for put in turn])
        except RuntimeError as closed:
            self._settle(turn, [closed] * len(turn))
            return
        self._slow_running = True
        for put in turn:
            self._hold_later(loop, put)
        later.add_done_callback(lambda done: self._slow_done(loop, turn, done))

    def _slow_done(self, loop: asyncio.AbstractEventLoop, turn: list[Put], done: asyncio.Future[Outcome]) -> None:
        self._slow_running = False
        try:
            depth, errors = done.result()
        except BaseException as error:  # noqa: BLE001  cancelled when the process ends, for one
            depth, errors = 0, [error] * len(turn)
        kept = [event for put, error in zip(turn, errors, strict=True) if error is None for event in put.events]
        self._settle(turn, errors)
        if kept:
            self._after(kept, depth)
        if not self._try_held_again(loop) and self._waiting:
            self._turn(loop)

    def _settle(self, turn: Sequence[Put], errors: Sequence[BaseException | None]) -> None:
        """Tell each putter; what is held in memory and could not be written now waits for the next attempt."""
        for put, error in zip(turn, errors, strict=True):
            held = _is_held(put)
            if held and isinstance(error, sqlite3.OperationalError):
                self._again.append(put)
            elif held:
                self._held -= len(put.events)
                if error is not None:
                    _log.error("an event that waited in memory cannot be stored: %s", first_line(error))
            elif put.done.done():
                continue
            elif error is None:
                put.done.set_result(True)
            else:
                put.done.set_exception(_kept_not(error))
            if isinstance(error, sqlite3.OperationalError):
                self._note_trouble(first_line(error))

    def _try_held_again(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Plan another attempt for what could not be written; what comes meanwhile goes behind it, in its order."""
        if not self._again:
            return False
        self._waiting = [*self._again, *self._waiting]
        self._again = []
        for put in self._waiting:
            self._hold_later(loop, put)

        def attempt() -> None:
            self._retry = None
            if not self._slow_running:
                self._turn(loop)

        if self._retry is None:
            self._retry = loop.call_later(HELD_RETRY_S, attempt)
        return True

    def _commit_patiently(self, parts: Sequence[Sequence[Event]]) -> Outcome:
        """Commit the parts as one; when that fails, each by itself. Gives the depth after it and an error per part."""
        with self._lock:
            try:
                made = insert(self._patient, [event for events in parts for event in events])
                return made.depth, [None] * len(parts)
            except Exception as error:  # noqa: BLE001  told to the put that it is of
                if len(parts) == 1:
                    return 0, [error]
            depth = 0
            errors: list[BaseException | None] = []
            for events in parts:
                try:
                    depth = insert(self._patient, events).depth
                    errors.append(None)
                except Exception as error:  # noqa: BLE001
                    errors.append(error)
        return depth, errors

    def _after(self, events: Sequence[Event], depth: int) -> None:
        self._commits += 1
        self.trouble = None
        if depth > self.limit and (self._trimming is None or self._trimming.done()):
            self._trimming = self._slow.submit(self.trim)
        if self._commits % WAL_CHECK_EVERY == 0 and self.log.due(WAL_LIMIT_BYTES):
            self._slow.submit(self.log.move)
        self._unannounced += len(events)
        if self._unannounced >= self.buffer_size or any(event.priority >= self.threshold for event in events):
            self._unannounced = 0
            self.wake()

    # -- the drainer

    def read(self, after: int, limit: int) -> list[Stored]:
        """Give the next events in order, from the first `seq` above `after`."""
        rows = self._db.execute(
            "SELECT seq, id, subject, type, time, priority, data, content_type FROM outbox "
            "WHERE seq > ? ORDER BY seq LIMIT ?",
            (after, limit),
        ).fetchall()
        return [Stored(row[0], Event(*row[1:])) for row in rows]

    def has(self, subject: str) -> bool:
        """Say whether events of this subject wait for delivery."""
        found = self._db.execute("SELECT 1 FROM outbox WHERE subject = ? LIMIT 1", (subject,)).fetchone()
        return found is not None

    def newest(self) -> int:
        """Give the newest event's `seq`; 0 when the outbox is empty."""
        number: int = self._db.execute("SELECT COALESCE(MAX(seq), 0) FROM outbox").fetchone()[0]
        return number

    def delete(self, seqs: Sequence[int], *, undeliverable: bool = False) -> bool:
        """Remove what was acknowledged, or can never be delivered.

        Returns
        -------
        bool
            False when another process holds the database's lock now: nothing was removed, ask again.
        """
        column = "undeliverable" if undeliverable else "delivered"
        try:
            with transaction(self._db) as db:
                gone = sum(db.execute(DELETE, run).rowcount for run in _runs(seqs))
                db.execute(f"UPDATE counters SET depth = depth - :n, {column} = {column} + :n", {"n": gone})  # noqa: S608
        except sqlite3.OperationalError as error:
            if locked(error):
                return False
            raise
        return True

    def trim(self) -> int:
        """Bring a full outbox under its limit: the oldest LOW first, then the oldest; gives how many went."""
        with self._lock, transaction(self._patient) as db:
            depth = db.execute("SELECT depth FROM counters").fetchone()[0]
            excess = depth - int(self.limit * TRIM_TO) if depth > self.limit else 0
            low = drop(db, f"WHERE priority = {int(Priority.LOW)}", excess)
            oldest = drop(db, "", excess - low)
            db.execute(
                "UPDATE counters SET depth = depth - ?, dropped_low = dropped_low + ?, "
                "dropped_oldest = dropped_oldest + ?",
                (low + oldest, low, oldest),
            )
        return low + oldest

    def note_told(self, events: Sequence[Event]) -> None:
        """Note versions that were told past the outbox; a lock or a full disk only makes one be told again."""
        with contextlib.suppress(sqlite3.Error), self._lock, transaction(self._patient) as db:
            note_told(db, events)

    def told(self) -> dict[str, set[int]]:
        """Give the versions of models that an event was kept of, by its subject; for any thread."""
        with self._lock:
            return told(self._patient)

    def counts(self) -> OutboxCounts:
        """Give the counters; they are the node's, kept over restarts."""
        return OutboxCounts(
            *self._db.execute(
                "SELECT depth, put, delivered, undeliverable, dropped_low, dropped_oldest FROM counters"
            ).fetchone()
        )

    def changed(self) -> int:
        """Give a number that differs after another process committed."""
        number: int = self._db.execute("PRAGMA data_version").fetchone()[0]
        return number

    # -- waking the drainer

    def wake(self) -> None:
        """Tell the bridge that there is something to deliver now: one write to a pipe, if anyone listens."""
        try:
            if self._wake_fd is None:
                self._wake_fd = os.open(self._wake, os.O_WRONLY | os.O_NONBLOCK)
            os.write(self._wake_fd, b"!")
        except OSError as error:
            # ENOENT, ENXIO: no bridge yet; EPIPE: it went; EAGAIN: it has wakes enough.
            if error.errno != errno.EAGAIN and self._wake_fd is not None:
                os.close(self._wake_fd)
                self._wake_fd = None

    def listen(self) -> int:
        """Open the reading end of the wake pipe, for the bridge's event loop; the caller closes it."""
        with contextlib.suppress(FileExistsError):
            os.mkfifo(self._wake, 0o600)
        return os.open(self._wake, os.O_RDONLY | os.O_NONBLOCK)

    def close(self) -> None:
        """Let go of the database and the pipe."""
        if self._retry is not None:
            self._retry.cancel()
        self._slow.shutdown()
        held = [event for put in (*self._again, *self._waiting) for event in put.events]
        if held:
            with contextlib.suppress(sqlite3.Error):
                insert(self._patient, held)
        with self._lock:
            self._patient.close()
            self._db.close()
        if self._wake_fd is not None:
            os.close(self._wake_fd)
            self._wake_fd = None


def outbox_for_face(current: Settings) -> Outbox | None:
    """Open the node's outbox for a face; None when the message bus is switched off: nothing is queued then."""
    return Outbox.of(current) if current.messagebus_enabled else None


def _is_held(put: Put) -> bool:
    done = put.done
    return done.done() and not done.cancelled() and done.exception() is None and not done.result()


def _kept_not(error: BaseException) -> OutboxError:
    return OutboxError(f"the outbox cannot be written: {first_line(error)}")


def _runs(seqs: Sequence[int]) -> list[tuple[int, int]]:
    """Join sequence numbers into closed ranges: a drained outbox is a few ranges, each one delete."""
    runs: list[tuple[int, int]] = []
    for seq in sorted(seqs):
        if runs and seq == runs[-1][1] + 1:
            runs[-1] = (runs[-1][0], seq)
        else:
            runs.append((seq, seq))
    return runs
