"""The log of the outbox is moved once, is short after it, and is told from one that has something to move."""

import asyncio
import contextlib
import sqlite3

import pytest

from bus.outbox import Outbox
from bus.outbox_log import KEPT_BYTES
from contracts.events import event

LONG = 4 * KEPT_BYTES


@pytest.fixture
def box(tmp_path):
    made = Outbox(tmp_path / "outbox.db")
    yield made
    made.close()


def keep(box, name, n=1, size=10):
    made = [event("factor.library.x", "T", "x" * size, event_id=f"{name}{i}") for i in range(n)]
    assert asyncio.run(box.put(made)) is True


def lengthen(box, name="long"):
    keep(box, name, 50, LONG // 40)
    assert box.log.n_bytes() > LONG


def n_events(box):
    return len(box.read(0, 100_000))


def test_a_log_that_was_moved_is_not_due_until_something_is_written(box):
    lengthen(box)
    assert box.log.due(LONG)
    assert box.log.move()
    assert box.log.n_bytes() > LONG, "moving alone leaves the file as long as it was"
    assert not box.log.due(LONG), "an outbox at rest would be moved for ever"
    assert n_events(box) == 50


def test_a_log_that_begins_anew_is_short_and_due_when_it_is_long_again(box):
    lengthen(box)
    box.log.move()
    keep(box, "next")
    assert 0 < box.log.n_bytes() <= 2 * KEPT_BYTES
    assert not box.log.due(LONG)
    lengthen(box, "again")
    assert box.log.due(LONG)
    assert box.log.move()
    assert n_events(box) == 101


def test_a_log_that_a_reader_holds_stays_due_and_keeps_what_is_there(box):
    with contextlib.closing(sqlite3.connect(box.path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT COUNT(*) FROM outbox").fetchone()
        lengthen(box)
        assert not box.log.move()
        assert box.log.due(LONG)
        assert n_events(box) == 50
        reader.execute("COMMIT")
    assert box.log.move()
    assert not box.log.due(LONG)
    assert n_events(box) == 50


def test_another_process_that_wrote_makes_it_due(box):
    lengthen(box)
    other = Outbox(box.path)
    assert box.log.move()
    with contextlib.closing(sqlite3.connect(box.path, isolation_level=None)) as reader:
        # It keeps the log from beginning anew, so that the file grows by what the other process writes.
        reader.execute("BEGIN")
        reader.execute("SELECT COUNT(*) FROM outbox").fetchone()
        lengthen(other, "other")
        assert box.log.due(LONG)
    other.close()


def test_no_database_has_no_log(tmp_path):
    box = Outbox(tmp_path / "outbox.db")
    box.close()
    assert box.log.n_bytes() == 0
    assert not box.log.due(0)
