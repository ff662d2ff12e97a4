"""What waits for the live state: everything in order; beyond the limit the newest of a symbol, counted."""

import asyncio
from types import SimpleNamespace

import pytest

from bus.journal import BEHIND, SHED_TOLD_S, Journal, beginning


def message(place, subject, data=b"{}", behind=0, headers=None):
    reply = f"$JS.ACK.MARKET_DATA.c.1.{place}.{place}.1700000000000000000.{behind}"
    return SimpleNamespace(reply=reply, subject=subject, data=data, headers=headers)


async def taken(journal, *messages):
    for one in messages:
        await journal._take(one)


def test_messages_of_the_market_are_handed_on_in_order_and_others_only_counted():
    journal = Journal(10)
    final = message(3, "market_data.bar.main", b'{"rows": {}}')
    running = message(4, "market_data.bar.main", b'{"rows": {}, "final": false}')
    others = (message(5, "market_data.other"), final, running)
    table = message(2, "market_data.ticks", b"x", headers={"Content-Type": "application/vnd.apache.arrow.stream"})
    asyncio.run(taken(journal, message(1, "market_data.tick.A"), table, *others))
    got = journal.batch("stream")
    assert [subject for subject, _, _ in got.messages] == [
        "market_data.tick.A", "market_data.ticks", "market_data.bar.main", "market_data.bar.main",
    ]  # fmt: skip
    assert got.messages[1][2] == "application/vnd.apache.arrow.stream"
    assert (got.first, got.last, journal.received) == (0, 5, 5)
    assert (journal.batch("stream").first, len(journal)) == (6, 0)


def test_beyond_the_limit_the_newest_of_a_symbol_stays_and_what_went_is_counted_and_told():
    journal = Journal(100)
    assert journal.shedding is None
    ticks = [message(n, f"market_data.tick.S{n % 7}", b"%d" % n) for n in range(1, 251)]
    asyncio.run(taken(journal, *ticks))
    got = journal.batch("stream")
    assert len(got.messages) < 100
    assert len(got.messages) + journal.conflated == 250
    newest = {subject: body for subject, body, _ in got.messages}
    assert newest == {f"market_data.tick.S{n % 7}": b"%d" % n for n in range(244, 251)}
    assert [int(body) for _, body, _ in got.messages] == sorted(int(body) for _, body, _ in got.messages)
    assert str(journal.conflated) in journal.shedding
    journal.shed_at -= SHED_TOLD_S + 1
    assert journal.shedding is None


def test_more_symbols_than_may_wait_are_bounded_too():
    journal = Journal(100)
    asyncio.run(taken(journal, *(message(n, f"market_data.tick.S{n}") for n in range(1, 1001))))
    assert len(journal) <= 100
    assert len(journal) + journal.conflated == 1000


def test_the_end_of_a_day_is_never_what_is_left_out():
    journal = Journal(100)
    ends = [
        message(1, "market_data.close.main", b'{"date": "2024-03-05"}'),
        message(2, "market_data.bar.main", b'{"rows": {}}'),
        message(3, "market_data.bar.other", b'{"rows": {}, "final": true}'),
    ]
    running = message(4, "market_data.bar.main", b'{"rows": {}, "final" : false}')
    asyncio.run(taken(journal, *ends, running, *(message(n, f"market_data.tick.S{n}") for n in range(5, 1001))))
    kept = journal.batch("stream").messages
    assert [subject for subject, _, _ in kept[:3]] == [one.subject for one in ends]
    assert not any(subject.startswith("market_data.bar") for subject, _, _ in kept[3:])
    assert len(kept) <= 100


def test_the_past_waits_for_room_and_leaves_nothing_out():
    async def run():
        journal = Journal(10)
        past = [message(n, "market_data.tick.A", b"%d" % n, behind=BEHIND + 100 - n) for n in range(1, 51)]
        filling = asyncio.create_task(taken(journal, *past))
        bodies = []
        while len(bodies) < 50:
            async with asyncio.timeout(10):
                await journal.news.wait()
            got = journal.batch("stream")
            assert len(got.messages) <= 11
            assert got.replayed
            bodies += [int(body) for _, body, _ in got.messages]
        await filling
        assert bodies == list(range(1, 51))
        assert journal.conflated == 0

    asyncio.run(run())


@pytest.mark.parametrize("since", [0, 41])
def test_a_reader_without_a_place_begins_at_the_end_of_the_last_day_or_some_hours_ago(since):
    config = beginning(since, 24.0)
    assert (config.opt_start_seq == 41) == bool(since)
    assert (config.opt_start_time is None) == bool(since)


def test_many_messages_do_not_wait_for_a_watch_and_neither_does_who_hurries():
    journal = Journal(100)
    asyncio.run(taken(journal, *(message(n, f"market_data.tick.S{n}") for n in range(1, 50))))
    assert journal.news.is_set()
    assert not journal.full.is_set()
    asyncio.run(taken(journal, message(50, "market_data.tick.S50")))
    assert journal.full.is_set()
    assert len(journal.batch("stream").messages) == 50
    assert not journal.news.is_set()
    assert not journal.full.is_set()
    journal.hurry()
    assert journal.news.is_set()
    assert journal.full.is_set()
