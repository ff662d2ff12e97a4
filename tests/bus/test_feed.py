import asyncio

import pytest

from bus.feed import READ_LIMIT, Feed
from bus.outbox_table import Stored
from contracts.events import event


def stored(seq):
    return Stored(seq, event("factor.library.x", "T", {"n": seq}, event_id=f"e{seq}"))


def filled(*seqs, limit=10):
    feed = Feed(limit)
    for seq in seqs:
        feed.add(stored(seq))
    return feed


def read(feed, after, timeout_s=0.0):
    return asyncio.run(feed.read(after, timeout_s))


def test_a_reader_follows_from_where_it_was():
    feed = filled(1, 2, 3)
    got = read(feed, 1)
    assert [e["seq"] for e in got["events"]] == [2, 3]
    assert got["last"] == 3
    assert got["missed"] == 0
    assert got["events"][0]["data"] == b'{"n":2}'
    assert read(feed, 3) == {"events": [], "last": 3, "missed": 0}


def test_a_reader_without_a_place_starts_with_what_comes_next():
    feed = filled(1, 2)
    assert read(feed, None) == {"events": [], "last": 2, "missed": 0}


def test_a_slow_reader_is_told_what_it_missed():
    got = read(filled(*range(1, 31)), 5)
    assert [e["seq"] for e in got["events"]] == list(range(21, 31))
    assert got["missed"] == 15


def test_an_answer_is_bounded_and_the_next_goes_on():
    feed = filled(*range(1, READ_LIMIT + 11), limit=2000)
    first = read(feed, 0)
    assert len(first["events"]) == READ_LIMIT
    assert [e["seq"] for e in read(feed, first["last"])["events"]] == list(range(READ_LIMIT + 1, READ_LIMIT + 11))


def test_an_event_seen_again_is_not_told_twice():
    feed = filled(1, 2, 2, 1)
    assert [e["seq"] for e in read(feed, 0)["events"]] == [1, 2]


def test_a_reader_waits_for_news_and_is_given_it_at_once():
    async def run():
        feed = Feed()
        waiting = asyncio.create_task(feed.read(None, 30.0))
        await asyncio.sleep(0)
        feed.add(stored(7))
        got = await asyncio.wait_for(waiting, 30)
        assert [e["seq"] for e in got["events"]] == [7]

    asyncio.run(run())


@pytest.mark.parametrize("after", [None, 0])
def test_nothing_new_ends_at_the_timeout(after):
    assert read(Feed(), after, 0.01)["events"] == []


def test_large_events_push_older_ones_out_by_their_size_and_the_newest_always_stays():
    feed = Feed(10, limit_bytes=100)
    for seq in range(1, 6):
        feed.add(Stored(seq, event("factor.library.x", "T", b"x" * 40, event_id=f"e{seq}")))
    assert [e["seq"] for e in read(feed, 1)["events"]] == [4, 5]
    assert read(feed, 1)["missed"] == 2
    feed.add(Stored(6, event("factor.library.x", "T", b"x" * 400, event_id="e6")))
    assert [e["seq"] for e in read(feed, 5)["events"]] == [6]
