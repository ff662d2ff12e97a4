"""Commits of one value are one after the other, and a lock that somebody else keeps holds nobody for good."""

import fcntl
import threading

import pytest

from contracts.errors import Unavailable
from store import lock


def test_the_next_one_waits_until_the_lock_is_free(tmp_path):
    order = []
    inside = threading.Event()

    def second():
        inside.wait()
        with lock.locked(tmp_path):
            order.append("second")

    waiting = threading.Thread(target=second)
    waiting.start()
    with lock.locked(tmp_path):
        inside.set()
        order.append("first")
    waiting.join(30.0)
    assert order == ["first", "second"]


def test_a_lock_that_another_program_keeps_is_told_of_after_its_time_and_works_when_it_is_free(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "LOCK_S", 0.05)
    with (tmp_path / "lock").open("a") as foreign:
        fcntl.flock(foreign, fcntl.LOCK_EX)
        with pytest.raises(Unavailable, match="another process has held"), lock.locked(tmp_path):
            pytest.fail("the lock is another's")
    with lock.locked(tmp_path):
        pass
