"""Portfolios as versioned values: repeats, conflicts, deletion, writers at once, and a writer that is killed."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from contracts.errors import InvalidInput, Unavailable, UnknownPortfolio, VersionConflict
from store import Holdings, Portfolio, PortfolioStore


@pytest.fixture
def store(tmp_path):
    return PortfolioStore(tmp_path, keep_versions=3)


def book(portfolio_id="tech", date="2020-01-02", **positions):
    return Portfolio(portfolio_id, 0, "weights", (Holdings(date, positions or {"A": 1.0}),))


def test_what_was_put_is_read_by_any_reader(store, tmp_path):
    made = store.put(book(A=0.5, B=-0.25), request_id="r1")
    assert made.version == 1
    assert PortfolioStore(tmp_path).get("tech") == made
    assert made.holdings == (Holdings("2020-01-02", {"A": 0.5, "B": -0.25}),)
    assert store.ids() == ["tech"]


def test_a_repeated_request_makes_nothing(store):
    first = store.put(book(), request_id="r1")
    second = store.put(book(B=1.0), request_id="r2")
    assert (first.version, second.version) == (1, 2)
    assert store.put(book(), request_id="r1") == first
    assert store.get("tech") == second


def test_another_change_under_the_id_of_one_that_was_made_is_refused(store):
    store.put(book(), request_id="r1")
    longer = store.append("tech", (Holdings("2020-02-03", {"B": 1.0}),), request_id="r2")
    assert store.append("tech", (Holdings("2020-02-03", {"B": 1.0}),), request_id="r2") == longer
    for other in (
        lambda: store.put(book(C=1.0), request_id="r1"),
        lambda: store.append("tech", (Holdings("2020-03-03", {"B": 1.0}),), request_id="r2"),
        lambda: store.delete("tech", request_id="r1"),
    ):
        with pytest.raises(InvalidInput, match="the id is that of another request") as refused:
            other()
        assert refused.value.field == "request_id"
    assert store.get("tech") == longer


def test_a_base_that_is_not_the_newest_version_is_a_conflict(store):
    store.put(book(), request_id="r1", base=0)
    with pytest.raises(VersionConflict, match="at version 1, not 0"):
        store.put(book(), request_id="r2", base=0)
    assert store.put(book(), request_id="r3", base=1).version == 2


def test_holdings_are_appended_after_the_last_date_only(store):
    store.put(book(), request_id="r1")
    longer = store.append("tech", (Holdings("2020-02-03", {"B": 1.0}),), request_id="r2")
    assert [h.date for h in longer.holdings] == ["2020-01-02", "2020-02-03"]
    with pytest.raises(InvalidInput, match="after 2020-02-03") as caught:
        store.append("tech", (Holdings("2020-02-03", {"B": 1.0}),), request_id="r3")
    assert caught.value.rows == ["2020-02-03"]
    assert longer.on("2020-01-15").positions == {"A": 1.0}
    assert longer.on("2020-02-03").positions == {"B": 1.0}
    assert longer.on("2019-01-01").positions == {"A": 1.0}
    assert longer.on(None).positions == {"B": 1.0}


def test_a_deleted_portfolio_is_unknown_and_its_numbers_go_on(store):
    store.put(book(), request_id="r1")
    assert store.delete("tech", request_id="r2") == 2
    with pytest.raises(UnknownPortfolio, match="was deleted"):
        store.get("tech")
    with pytest.raises(UnknownPortfolio):
        store.delete("tech", request_id="r3")
    assert store.delete("tech", request_id="r2") == 2
    assert store.ids() == []
    assert store.put(book(), request_id="r4", base=0).version == 3


def test_old_versions_go_by_the_rule_and_say_so(store):
    for i in range(6):
        store.put(book(A=float(i + 1)), request_id=f"r{i}")
    assert store.get("tech", 4).holdings[0].positions == {"A": 4.0}
    with pytest.raises(UnknownPortfolio, match="no kept version 1; the newest is 6"):
        store.get("tech", 1)


def test_writers_at_once_lose_nothing(tmp_path):
    def write(i):
        return PortfolioStore(tmp_path).put(book(A=float(i)), request_id=f"r{i}").version

    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(write, range(32)))
    assert sorted(made) == list(range(1, 33))


def test_names_are_only_names(store):
    store.put(book("../../odd name.v1"), request_id="r1")
    assert store.ids() == ["../../odd name.v1"]


@pytest.mark.parametrize("content", [b"{half", b"[1]", b'{"format": 99}', b'{"format": 1}'])
def test_one_damaged_portfolio_is_named_and_the_others_are_listed(tmp_path, content):
    store = PortfolioStore(tmp_path)
    for name in ("good", "torn"):
        store.put(Portfolio(name, 0, "weights", (Holdings(None, {"A": 1.0}),)), request_id=f"r-{name}")
    (tmp_path / "portfolios" / "torn" / "head.json").write_bytes(content)
    (tmp_path / "portfolios" / ".DS_Store").write_bytes(b"x")
    again = PortfolioStore(tmp_path)
    assert again.ids() == ["good"]
    with pytest.raises(Unavailable, match=r"portfolios/torn/head\.json"):
        again.get("torn")


WRITER = """
import os, sys
from pathlib import Path
from store import Holdings, Portfolio, PortfolioStore
store = PortfolioStore(Path(sys.argv[1]))
i = 0
while True:
    i += 1
    held = Holdings(None, {"A": float(i), "B": float(i)})
    store.put(Portfolio("p", 0, "weights", (held,)), request_id=f"{os.getpid()}-{i}")
    print(i, flush=True)
"""


def test_a_writer_killed_in_the_middle_leaves_a_whole_version(tmp_path):
    for _ in range(3):
        command = [sys.executable, "-c", WRITER, str(tmp_path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            try:
                for _ in range(20):
                    last = int(writer.stdout.readline())
            finally:
                writer.kill()
        found = PortfolioStore(tmp_path).get("p")
        assert found.version >= last
        positions = found.holdings[0].positions
        assert positions["A"] == positions["B"]
