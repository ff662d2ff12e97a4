import asyncio
import os
import sqlite3
import subprocess
import sys
from itertools import pairwise

import pytest
from fixtures_nats import until
from hypothesis import given
from hypothesis import strategies as st

from bus.outbox import Outbox, OutboxError, _runs
from contracts.events import event
from contracts.work import Priority

WRITER = """
import asyncio, sys
from pathlib import Path
from bus.outbox import Outbox
from contracts.events import event

async def main():
    box = Outbox(Path(sys.argv[1]))
    for i in range(int(sys.argv[3])):
        await box.put([event(f"factor.library.{sys.argv[2]}", "T", i, event_id=f"{sys.argv[2]}-{i}")])
        print(i, flush=True)

asyncio.run(main())
"""


def events(n, priority=Priority.NORMAL, name="e"):
    return [event("factor.library.x", "T", {"i": i}, priority=priority, event_id=f"{name}{i}") for i in range(n)]


def keep(box, made):
    assert asyncio.run(box.put(made)) is True


def ids(box):
    return [stored.event.id for stored in box.read(0, 100_000)]


def writer(path, name, count):
    command = [sys.executable, "-c", WRITER, str(path), name, str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@pytest.fixture
def box(tmp_path):
    made = Outbox(tmp_path / "outbox.db")
    yield made
    made.close()


def test_what_was_put_is_read_in_order_by_another_door(box):
    async def put():
        for made in events(3):
            await box.put([made])

    asyncio.run(put())
    other = Outbox(box.path)
    stored = other.read(0, 10)
    assert [s.event for s in stored] == [s.event for s in box.read(0, 10)]
    assert [s.event.id for s in stored] == ["e0", "e1", "e2"]
    assert [s.seq for s in stored] == sorted(s.seq for s in stored)
    assert other.read(stored[1].seq, 10) == stored[2:]
    other.close()


def test_puts_of_one_turn_share_one_transaction(box):
    async def put_many():
        await asyncio.gather(*(box.put([made]) for made in events(64)))

    asyncio.run(put_many())
    assert box.counts().put == 64
    assert box._commits == 1


def test_a_put_behind_a_lone_one_waits_for_no_turn(box, monkeypatch):
    monkeypatch.setattr("bus.outbox.ALONE_S", 0.0)
    first, second, *others = events(66)

    async def put_in_turn():
        await box.put([first])
        with pytest.raises(StopIteration) as ended:  # done without a turn of the loop
            box.put([second]).send(None)
        assert ended.value.value is True
        assert box._commits == 2
        monkeypatch.setattr("bus.outbox.ALONE_S", 60.0)
        await asyncio.gather(*(box.put([made]) for made in others))
        assert box._commits == 3  # right behind another they share one
        monkeypatch.setattr("bus.outbox.ALONE_S", 0.0)
        await asyncio.gather(*(box.put([made]) for made in events(8, name="later")))
        assert box._commits == 4  # those before were many, so nobody is taken for a lone one

    asyncio.run(put_in_turn())
    assert ids(box) == [f"e{i}" for i in range(66)] + [f"later{i}" for i in range(8)]


def test_a_lone_put_that_cannot_be_stored_says_so_and_the_next_is_kept(box, monkeypatch):
    monkeypatch.setattr("bus.outbox.ALONE_S", 0.0)
    kept, refused, later = events(3)

    async def put_in_turn():
        await box.put([kept])
        with pytest.raises(OutboxError):
            await box.put([refused._replace(data=object())])
        assert await box.put([later]) is True

    asyncio.run(put_in_turn())
    assert ids(box) == ["e0", "e2"]


def test_sequence_numbers_are_not_used_again(box):
    keep(box, events(3))
    assert box.delete([s.seq for s in box.read(0, 10)])
    keep(box, events(1, name="later"))
    assert box.read(0, 10)[0].seq == 4


def test_the_counts_tell_what_went_through(box):
    keep(box, events(5))
    assert box.delete([1, 2])
    assert box.delete([4], undeliverable=True)
    assert box.delete([4, 99])
    assert box.counts()._asdict() == {
        "depth": 2, "put": 5, "delivered": 2, "undeliverable": 1, "dropped_low": 0, "dropped_oldest": 0,
    }  # fmt: skip


def test_many_processes_put_at_once_and_nothing_is_lost(box):
    writers = [writer(box.path, name, 150) for name in ("a", "b", "c")]
    for process in writers:
        process.communicate(timeout=60)
        assert process.returncode == 0
    stored = ids(box)
    for name in ("a", "b", "c"):
        assert [i for i in stored if i.startswith(name)] == [f"{name}-{i}" for i in range(150)]
    assert box.counts().depth == 450


def test_what_put_returned_for_survives_kill_9(box):
    with writer(box.path, "k", 10_000_000) as process:
        try:
            for line in process.stdout:
                if int(line) >= 50:
                    break
        finally:
            process.kill()
        told = 50 + len(process.stdout.read().split())
    stored = ids(box)
    assert stored == [f"k-{i}" for i in range(len(stored))]
    assert told < len(stored) <= told + 2
    assert box.counts().depth == len(stored)


def test_a_locked_database_stops_neither_the_event_loop_nor_the_put(box):
    other = sqlite3.connect(box.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    async def put():
        waiting = asyncio.create_task(box.put(events(2)))
        for _ in range(50):
            await asyncio.sleep(0)
        second = asyncio.create_task(box.put(events(1, name="late")))
        await asyncio.sleep(0)
        assert not waiting.done()
        assert not box.delete([1]), "the drainer is told to ask again"
        other.execute("COMMIT")
        await asyncio.wait_for(asyncio.gather(waiting, second), 30)

    asyncio.run(put())
    other.close()
    assert ids(box) == ["e0", "e1", "late0"]


def test_events_that_cannot_wait_for_a_locked_database_are_held_in_memory_and_written_later_in_order(box, monkeypatch):
    monkeypatch.setattr("bus.outbox.HELD_RETRY_S", 0.05)
    other = sqlite3.connect(box.path, isolation_level=None)
    box._patient.execute("PRAGMA busy_timeout = 100")  # it gives up once, as it does after five seconds
    other.execute("BEGIN IMMEDIATE")

    async def run():
        async with asyncio.timeout(30):
            assert await box.put(events(2, name="a"), wait_s=0.05) is False
            assert await box.put(events(1, name="b"), wait_s=0.01) is False
            assert box.held == 3
            assert "lock" in box.look().reason
            await until(lambda: box._again or box._retry is not None, "a first attempt failed")
            assert await box.put(events(1, name="c"), wait_s=0.01) is False
            other.execute("COMMIT")
            assert await box.put(events(1, name="d")) is True
            await until(lambda: not box.held, "what was held is written")
        assert box.look() is None

    asyncio.run(run())
    other.close()
    assert ids(box) == ["a0", "a1", "b0", "c0", "d0"]
    assert box.counts().depth == 5


def test_what_is_held_in_memory_has_a_limit(box, monkeypatch):
    monkeypatch.setattr("bus.outbox.HELD_LIMIT", 2)
    other = sqlite3.connect(box.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    async def run():
        assert await box.put(events(2, name="a"), wait_s=0.01) is False
        with pytest.raises(OutboxError, match="2 events wait"):
            await box.put(events(1, name="b"), wait_s=0.01)
        other.execute("COMMIT")
        async with asyncio.timeout(30):
            await until(lambda: not box.held, "what was held is written")
        assert await box.put(events(1, name="c"), wait_s=0.01) is True

    asyncio.run(run())
    other.close()
    assert ids(box) == ["a0", "a1", "c0"]


UNSTORABLE = {
    "a lone surrogate": {"subject": "factor.library.\ud800"},
    "no text": {"id": None},
    "a type that SQLite has not": {"data": {"a": 1}},
    "a number of more than 64 bits": {"priority": 2**70},
}


@pytest.mark.parametrize("change", UNSTORABLE.values(), ids=UNSTORABLE)
@pytest.mark.parametrize("locked", [False, True])
def test_an_event_that_cannot_be_stored_fails_its_own_put_only(box, change, locked):
    other = sqlite3.connect(box.path, isolation_level=None)
    bad = events(1, name="bad")[0]._replace(**change)

    async def put_all():
        if locked:
            other.execute("BEGIN IMMEDIATE")
        puts = [asyncio.create_task(box.put(part)) for part in (events(1, name="a"), [bad], events(2, name="b"))]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        if locked:
            other.execute("COMMIT")
        async with asyncio.timeout(30):
            told = await asyncio.gather(*puts, return_exceptions=True)
        await box.put(events(1, name="later"))
        return told

    first, refused, second = asyncio.run(put_all())
    other.close()
    assert first is True
    assert second is True
    assert isinstance(refused, OutboxError)
    assert ids(box) == ["a0", "b0", "b1", "later0"]
    assert box.counts().depth == box.counts().put == 4


def test_a_closed_outbox_refuses_instead_of_keeping_anybody_waiting(tmp_path):
    box = Outbox(tmp_path / "outbox.db")
    box.close()

    async def put():
        async with asyncio.timeout(30):
            return await asyncio.gather(*(box.put([made]) for made in events(3)), return_exceptions=True)

    assert [type(error) for error in asyncio.run(put())] == [OutboxError] * 3


def test_a_full_disk_is_told_and_loses_only_what_was_refused(box):
    async def put(made):
        await box.put(made)

    asyncio.run(put(events(1)))
    pages = box._db.execute("PRAGMA page_count").fetchone()[0]
    for db in (box._db, box._patient):
        db.execute(f"PRAGMA max_page_count = {pages}")
    big = event("factor.library.x", "T", "x" * 100_000)
    with pytest.raises(OutboxError, match="full"):
        asyncio.run(put([big]))
    box._db.execute("PRAGMA max_page_count = 1000000")
    asyncio.run(put(events(1, name="after")))
    assert ids(box) == ["e0", "after0"]


def test_a_full_outbox_drops_low_first_and_then_the_oldest(tmp_path):
    box = Outbox(tmp_path / "outbox.db", limit=100)
    keep(box, events(60, name="old"))
    keep(box, events(30, Priority.LOW, name="low"))
    keep(box, events(40, name="new"))
    box.close()
    box = Outbox(tmp_path / "outbox.db", limit=100)
    counts = box.counts()
    assert counts.depth == 98 == len(ids(box))
    assert counts.dropped_low == 30
    assert counts.dropped_oldest == 2
    assert ids(box)[0] == "old2"
    assert not [i for i in ids(box) if i.startswith("low")]
    assert counts.put == counts.depth + counts.dropped_low + counts.dropped_oldest
    box.close()


def test_an_outbox_under_its_limit_is_not_trimmed(box):
    keep(box, events(10, Priority.LOW))
    assert box.trim() == 0
    assert box.counts().depth == 10


def test_urgent_events_and_full_buffers_wake_the_bridge_and_others_do_not(tmp_path):
    box = Outbox(tmp_path / "outbox.db", threshold=Priority.HIGH, buffer_size=10)

    def woken():
        try:
            return os.read(pipe, 100)
        except BlockingIOError:
            return b""

    box.wake()  # nobody listens: no harm
    pipe = box.listen()
    keep(box, events(1))
    assert not woken()
    keep(box, events(1, Priority.HIGH))
    assert woken()
    keep(box, events(10))
    assert woken()
    os.close(pipe)
    keep(box, events(1, Priority.URGENT))
    pipe = box.listen()
    keep(box, events(1, Priority.URGENT))
    assert woken(), "a bridge that comes back is woken again"
    os.close(pipe)
    box.close()


def test_commits_of_others_are_seen(box):
    other = Outbox(box.path)
    before = box.changed()
    assert box.changed() == before
    keep(other, events(1))
    assert box.changed() != before
    other.close()


@given(st.sets(st.integers(1, 60)))
def test_ranges_cover_exactly_what_was_named(numbers):
    runs = _runs(list(numbers))
    assert [n for first, last in runs for n in range(first, last + 1)] == sorted(numbers)
    assert all(a[1] + 1 < b[0] for a, b in pairwise(runs))
