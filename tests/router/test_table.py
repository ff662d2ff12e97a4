from __future__ import annotations

import sys
import threading

import pytest

from router.table import Bus, Published, RouteTable


@pytest.fixture
def published():
    return Published(RouteTable(1000, "epoch", {}, Bus(False, 0.0), None))


def test_every_change_of_several_threads_gets_a_version_of_its_own(published):
    seen: list[int] = []

    def many():
        for _ in range(500):
            published.change(lambda table: table._replace(default_model=f"{table.version}"))
            seen.append(published.table.version)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=many) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(before)
    assert published.table.version == 1000 + 4 * 500, "a lost change would be missing here"
    assert published.table.default_model == str(1000 + 4 * 500 - 1), "the last was made from the one before it"
    assert max(seen) == published.table.version


def test_a_change_waits_for_the_one_that_is_being_made_so_that_it_knows_its_state(published):
    begun = threading.Event()
    other = threading.Thread(
        target=lambda: (begun.set(), published.change(lambda table: table._replace(bus=Bus(True, 1.0))))
    )

    def slow(table):
        other.start()
        assert begun.wait(30)
        other.join(0.1)
        assert other.is_alive(), "it went ahead while this change was made"
        return table._replace(default_model="m")

    published.change(slow)
    other.join(30)
    assert published.table == RouteTable(1002, "epoch", {}, Bus(True, 1.0), "m")


def test_a_change_that_fails_leaves_the_table_and_the_lock_free(published):
    with pytest.raises(ZeroDivisionError):
        published.change(lambda table: table._replace(default_model=1 / 0))
    assert published.table.version == 1000
    published.change(lambda table: table)
    assert published.table.version == 1001
