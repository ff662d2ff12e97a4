"""When a chain keeps what it carries."""

import time

import pytest

from jobs import pace
from jobs.pace import Pace


@pytest.fixture
def clock(monkeypatch):
    """Gives a clock that stands until it is set."""
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_a_state_is_due_after_so_much_work(clock):
    made = Pace()
    clock[0] = pace.EVERY_S
    assert not made.due
    clock[0] = pace.EVERY_S + 0.1
    assert made.due


def test_a_state_that_takes_long_is_saved_more_seldom(clock):
    made = Pace()
    clock[0] = 10.0
    with made.saving():
        clock[0] = 13.0
    clock[0] = 13.0 + 3.0 / pace.SHARE
    assert not made.due
    clock[0] += 0.1
    assert made.due


def test_a_state_that_takes_nothing_is_saved_as_often_as_before(clock):
    made = Pace()
    with made.saving():
        pass
    clock[0] = pace.EVERY_S + 0.1
    assert made.due
