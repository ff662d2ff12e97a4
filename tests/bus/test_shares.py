"""Places shared between connections: alone, beside a flood, in turns, and over the rate."""

import pytest

from bus import shares as module
from bus.shares import PLACES, Shares, connection_of
from contracts.errors import RateExceeded


class Desk:
    """Notes what began; ends it when it is told to."""

    def __init__(self, per_second=1e6):
        self.begun = []
        self.shares = Shares(self.begin, per_second)

    def begin(self, request, came, connection):
        self.begun.append((connection, request))

    def ask(self, connection, numbers, **how):
        for number in numbers:
            self.shares.come(number, connection, **how)

    def end(self, connection, times=1, answer_bytes=0):
        for _ in range(times):
            self.shares.ended(connection, answer_bytes)


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now = 100.0

        def monotonic(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def test_one_connection_alone_has_all_places():
    desk = Desk()
    desk.ask("a", range(500))
    assert len(desk.begun) == 500
    assert desk.shares.waiting == 0


def test_a_flood_waits_in_its_own_line_and_another_begins_at_once(clock):
    desk = Desk()
    desk.ask("flood", range(300))
    desk.ask("calm", ["c0"])
    assert desk.begun[-1] == ("calm", "c0")
    desk.ask("flood", range(300, 400))
    assert desk.shares.waiting == 100
    desk.end("flood", 300 - PLACES // 2)
    assert desk.shares.waiting == 100, "what it had before it shared has to end first"
    desk.end("flood")
    assert desk.begun[-1] == ("flood", 300)
    desk.ask("calm", ["c1"])
    assert desk.begun[-1] == ("calm", "c1")


def test_what_waits_has_all_places_again_when_the_others_ask_no_longer(clock):
    desk = Desk()
    desk.ask("calm", ["c0"])
    desk.ask("busy", range(100))
    assert desk.shares.waiting == 100 - PLACES // 2
    desk.end("calm")
    clock.now += 2 * module.ASKING_S
    desk.ask("busy", [100])
    assert desk.shares.waiting == 101 - PLACES // 2
    desk.end("busy")
    assert desk.shares.waiting == 0
    assert [number for name, number in desk.begun if name == "busy"] == list(range(101))


def test_lines_take_turns_and_each_keeps_its_order(clock):
    desk = Desk()
    desk.ask("x", ["x-"])
    desk.ask("y", ["y-"])
    places = PLACES // 2
    desk.ask("x", range(places + 2))
    desk.ask("y", range(places + 2))
    had = len(desk.begun)
    assert desk.shares.waiting == 6
    for _ in range(3):
        desk.end("x")
        desk.end("y")
    assert [request for name, request in desk.begun[had:] if name == "x"] == [places - 1, places, places + 1]
    assert [request for name, request in desk.begun[had:] if name == "y"] == [places - 1, places, places + 1]
    assert desk.shares.waiting == 0


def test_an_urgent_one_goes_before_the_others_of_its_connection(clock):
    desk = Desk()
    desk.ask("y", ["y"])
    desk.ask("x", range(PLACES))
    desk.ask("x", ["urgent"], urgent=True)
    desk.end("x")
    assert desk.begun[-1] == ("x", "urgent")


def test_a_connection_that_no_longer_asks_takes_no_share(clock):
    desk = Desk()
    desk.ask("y", ["y"])
    desk.end("y")
    clock.now += 2.0
    desk.ask("x", range(100))
    assert desk.shares.waiting == 0


def test_more_than_the_rate_is_refused_and_says_when_to_come_again(clock):
    desk = Desk(per_second=10.0)
    desk.ask("x", range(20))
    with pytest.raises(RateExceeded, match="10 times per second") as caught:
        desk.ask("x", ["one more"])
    assert caught.value.retry_after_s == pytest.approx(0.1)
    clock.now += 0.1
    desk.ask("x", ["later"])
    assert desk.begun[-1] == ("x", "later")
    with pytest.raises(RateExceeded):
        desk.ask("x", ["one more"])
    desk.ask("y", ["of another"])
    assert desk.begun[-1] == ("y", "of another")


def test_a_connection_is_known_by_its_inbox():
    assert connection_of("_INBOX_risk.abc.1") == connection_of("_INBOX_risk.abc.2") != connection_of("_INBOX_risk.d.1")
    assert connection_of("") == ""


def test_a_connection_whose_answers_are_large_has_fewer_places_and_one_at_least(clock):
    desk, large = Desk(), 100 * module.LARGE_BYTES
    desk.ask("large", range(100))
    desk.ask("small", ["s"])
    desk.ask("large", range(100, 200))
    desk.end("large", 99, large)
    assert desk.begun[-1] == ("small", "s"), "one is in work, and no more may be"
    for number in range(100, 110):
        desk.end("large", 1, large)
        assert desk.begun[-1] == ("large", number), "one after the other"
    begun = len(desk.begun)
    desk.end("large", 80, 100)
    assert len(desk.begun) == begun + 80 + PLACES // 2 - 1, "answers that are small again give the places back"
