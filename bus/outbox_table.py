"""The outbox's tables, and what is done with them in one transaction."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import orjson

from contracts.events import Event

SCHEMA = """
CREATE TABLE IF NOT EXISTS outbox (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL, subject TEXT NOT NULL, type TEXT NOT NULL,
  time TEXT NOT NULL, priority INTEGER NOT NULL, data BLOB NOT NULL, content_type TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS counters (
  one INTEGER PRIMARY KEY CHECK (one = 1), depth INTEGER NOT NULL, put INTEGER NOT NULL, delivered INTEGER NOT NULL,
  undeliverable INTEGER NOT NULL, dropped_low INTEGER NOT NULL, dropped_oldest INTEGER NOT NULL);
INSERT OR IGNORE INTO counters VALUES (1, 0, 0, 0, 0, 0, 0);
CREATE TABLE IF NOT EXISTS told (subject TEXT NOT NULL, version INTEGER NOT NULL, PRIMARY KEY (subject, version))
  WITHOUT ROWID;
"""
MODEL_EVENTS = "factor.model_created."
"""Each version of a model has one event under this, and is noted as told in the transaction that keeps the event."""
TOLD_KEPT = 256
"""Versions noted of one model; more than a store keeps."""
_INSERT = "INSERT INTO outbox (id, subject, type, time, priority, data, content_type) VALUES (?, ?, ?, ?, ?, ?, ?)"
DELETE = "DELETE FROM outbox WHERE seq BETWEEN ? AND ?"
_COUNT = "UPDATE counters SET depth = depth + :n, put = put + :n WHERE one = 1"


class Stored(NamedTuple):
    """An event with its place in the outbox; `seq` only grows."""

    seq: int
    event: Event


class Inserted(NamedTuple):
    """What waits after an insertion, and the number of its last event: those of one transaction follow each other."""

    depth: int
    last: int


@contextlib.contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """Commit what the block does, or nothing of it; takes the lock for writing at once."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield db
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def insert(db: sqlite3.Connection, events: Sequence[Event]) -> Inserted:
    """Insert in one transaction."""
    with transaction(db):
        db.executemany(_INSERT, events)
        note_told(db, events)
        db.execute(_COUNT, {"n": len(events)})
        # The table of what was told has no row ids, so the last one is that of the last event.
        return Inserted(*db.execute("SELECT depth, last_insert_rowid() FROM counters").fetchone())


def note_told(db: sqlite3.Connection, events: Sequence[Event]) -> None:
    """Note the versions that these events tell of, inside a transaction."""
    for event in events:
        if not event.subject.startswith(MODEL_EVENTS):
            continue
        try:
            version = orjson.loads(event.data).get("model_version")
        except (orjson.JSONDecodeError, AttributeError):
            continue
        if type(version) is int:
            db.execute("INSERT OR IGNORE INTO told VALUES (?, ?)", (event.subject, version))
            db.execute("DELETE FROM told WHERE subject = ? AND version <= ?", (event.subject, version - TOLD_KEPT))


def told(db: sqlite3.Connection) -> dict[str, set[int]]:
    """Give the versions that were told, by the subject of their event."""
    out: dict[str, set[int]] = {}
    for subject, version in db.execute("SELECT subject, version FROM told"):
        out.setdefault(subject, set()).add(version)
    return out


def drop(db: sqlite3.Connection, where: str, count: int) -> int:
    """Remove the oldest `count` of those that `where` chooses; gives how many went."""
    if count <= 0:
        return 0
    chosen = f"SELECT seq FROM outbox {where} ORDER BY seq LIMIT ?"  # noqa: S608
    return db.execute(f"DELETE FROM outbox WHERE seq IN ({chosen})", (count,)).rowcount  # noqa: S608


def locked(error: sqlite3.Error) -> bool:
    """Say whether another connection holds the lock."""
    return error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
