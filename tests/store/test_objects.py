"""A store in an object store: two nodes share it, one commit wins, and nothing that was lost on the way is lost."""

from __future__ import annotations

import errno
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import numpy as np
import pytest
from stored_states import state

from contracts.errors import Unavailable, UnknownModel, VersionConflict
from store import Holdings, ModelStore, Portfolio, PortfolioStore
from store import objects as module
from store.bucket import Bucket, NoAnswer, Refused
from store.damage import check
from store.estimator_store import Estimator, EstimatorStore
from store.files import ObjectFiles
from store.lock import locked
from store.objects import ObjectCommit
from store.poll import poll
from store.probe import probe
from store.watch_store import Watch, WatchStore

URI = "s3://store/prefix"


@pytest.fixture
def node(s3, tmp_path):
    """Make the place of a node of its own."""

    def made(name: str) -> ObjectCommit:
        return ObjectCommit(Bucket(URI), tmp_path / name, poll_s=60.0, cache_bytes=1 << 30)

    return made


def create(place, model="m", request_id="r1", fill=1.0):
    first = state(0, 3, ("A", "B"), fill)
    return ModelStore(place).commit(model, first, base=0, request_id=request_id, operation="create_model")


def append(place, base=1, request_id="r2", fill=1.0):
    day = state(2 + base, 1, ("A", "B"), fill)
    return ModelStore(place).commit("m", day, base=base, request_id=request_id, operation="append_day", append=True)


def test_what_one_node_commits_another_reads_to_the_bit_and_goes_on_from(node):
    here, there = node("here"), node("there")
    create(here)
    append(here)
    poll(there)
    read = ModelStore(there).head("m")
    assert read.manifest.version == 2
    assert read.damage is None  # what is not here yet is no damage
    whole = ModelStore(here).head("m").state()
    for name, array in whole.day_asset.items():
        np.testing.assert_array_equal(read.day_asset(name), array)
    np.testing.assert_array_equal(read.latest("covariance"), whole.latest["covariance"])
    append(there, base=2, request_id="r3")
    assert append(here, base=3, request_id="r4").manifest.n_dates == 6
    assert [one.version for one in ModelStore(there).kept("m")][-1] == 3
    poll(there)
    assert [one.n_dates for one in ModelStore(there).kept("m")] == [3, 4, 5, 6]
    assert ModelStore(there).version("m", 2).manifest.n_dates == 4


def test_a_store_that_holds_conditions_is_told_from_one_that_does_not(node, s3):
    place = node("here")
    probe(place.bucket)
    assert list(place.bucket.listed("probe/")) == []
    s3.ignores_conditions = True
    with pytest.raises(Unavailable, match="second object where it was to create one"):
        probe(place.bucket)
    with pytest.raises(Unavailable, match="commits need conditional puts"):
        create(place)
    assert list(place.bucket.listed("heads/")) == []


def test_a_second_create_and_a_stale_state_are_refused(node):
    bucket = node("here").bucket
    first = bucket.put_if("x", b"1", None)
    with pytest.raises(Refused):
        bucket.put_if("x", b"2", None)
    bucket.put_if("x", b"3", first)
    with pytest.raises(Refused):
        bucket.put_if("x", b"4", first)
    assert bucket.get("x").content == b"3"


def test_of_writers_at_the_same_time_one_wins_and_the_others_get_a_conflict(node):
    places = [node(f"node-{number}") for number in range(6)]
    create(places[0])
    for place in places[1:]:
        poll(place)
    at_once, won, lost = threading.Barrier(len(places)), [], []

    def write(number: int) -> None:
        at_once.wait(60)
        try:
            won.append((number, append(places[number], request_id=f"w{number}", fill=float(number)).manifest))
        except VersionConflict:
            lost.append(number)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(len(places))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert (len(won), len(lost)) == (1, len(places) - 1)
    number, manifest = won[0]
    reader = node("reader")
    poll(reader)
    head = ModelStore(reader).head("m")
    assert head.manifest == manifest
    np.testing.assert_array_equal(
        head.day_asset("returns")[3], state(3, 1, ("A", "B"), float(number)).day_asset["returns"][0]
    )


def test_a_put_whose_answer_is_lost_is_known_again(node, s3):
    place = node("here")
    create(place)
    with s3.times("lost", 1, "PUT", "heads/models/m/") as done:
        assert append(place).manifest.version == 2
    assert done == [1]
    assert place.counters["own_puts_found"] == 1
    assert append(place).manifest.version == 2  # a repeat makes nothing
    assert append(place, base=2, request_id="r3").manifest.n_dates == 5


def test_a_lost_answer_that_another_node_built_on_is_a_repeat_and_no_conflict(node, monkeypatch):
    here, there = node("here"), node("there")
    create(here)
    poll(there)
    put_if = here.bucket.put_if

    def lost(key, content, expected):
        put_if(key, content, expected)
        if key.startswith("heads/"):
            monkeypatch.undo()
            append(there, base=2, request_id="theirs")
            raise NoAnswer("the answer is lost")

    probe(here.bucket)
    monkeypatch.setattr(here, "_probed", True)
    monkeypatch.setattr(here.bucket, "put_if", lost)
    assert append(here).manifest.version == 2
    poll(here)
    head = ModelStore(here).head("m").manifest
    assert head.requests == {"r1": 1, "r2": 2, "theirs": 3}
    assert head.n_dates == 5


WRITER = """
    import os, signal, sys
    from pathlib import Path
    sys.path.insert(0, sys.argv[3])
    from stored_states import state
    from store import ModelStore
    from store.bucket import Bucket
    from store.objects import ObjectCommit
    place = ObjectCommit(Bucket(sys.argv[1]), Path(sys.argv[2]), 60.0, 1 << 30)
    put_if = place.bucket.put_if

    def killed(key, content, expected):
        if key.startswith("heads/models/"):
            if sys.argv[4] == "after":
                put_if(key, content, expected)
            os.kill(os.getpid(), signal.SIGKILL)
        return put_if(key, content, expected)

    place.bucket.put_if = killed
    day = state(3, 1, ("A", "B"))
    ModelStore(place).commit("m", day, base=1, request_id="r2", operation="append_day", append=True)
"""


@pytest.mark.parametrize(("where", "version"), [("before", 1), ("after", 2)])
def test_a_writer_killed_around_its_head_leaves_one_whole_version_and_its_request_can_be_repeated(
    node, tmp_path, where, version
):
    create(node("here"))
    said = [URI, str(tmp_path / "writer"), str(Path(__file__).parents[1]), where]
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(WRITER), *said], check=False)
    assert done.returncode == -signal.SIGKILL
    assert list(check(ObjectFiles(Bucket(URI)))) == []
    parts = len(list(Bucket(URI).listed("models/m/parts/")))
    assert parts == 4  # uploaded before the head in either case
    for name in ("writer", "other"):  # the one that died, come back with its copy, and another
        place = node(name)
        poll(place)
        assert ModelStore(place).head("m").manifest.version == version
        assert len(ModelStore(place).head("m").state().dates) == version + 2
    assert append(place).manifest.version == 2
    assert ModelStore(place).head("m").manifest.n_dates == 4


def test_throttling_and_faults_of_the_server_are_waited_out(node, s3):
    place = node("here")
    create(place)
    with (
        s3.times(503, 2, "PUT", "heads/models/m/"),
        s3.times(500, 2, "PUT", "/parts/"),
        s3.times(503, 1, "GET", "heads/"),
    ):
        assert append(place).manifest.version == 2


@pytest.mark.parametrize("what", [503, "cut"])
def test_a_store_that_never_answers_ends_at_a_deadline_and_leaves_the_old_version(node, s3, monkeypatch, what):
    monkeypatch.setattr(module, "PUT_S", 0.5)
    place = node("here")
    create(place)
    never = s3.rule(lambda method, key: what if method == "PUT" and "heads/" in key else None)
    with never, pytest.raises(NoAnswer, match="not known: ask again with the same request_id") as told:
        append(place)
    assert told.value.code == "unavailable"
    assert "secret" not in str(told.value)
    assert ModelStore(place).head("m").manifest.version == 1
    assert append(place).manifest.version == 2


def test_a_change_that_the_store_has_and_the_disk_has_no_room_for_is_told_so_and_not_made_twice(node, monkeypatch):
    place = node("here")
    create(place)

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(place._folder, "publish", full)
    with pytest.raises(Unavailable, match=r"the change is in s3://store/prefix, but .* No space left on device"):
        append(place)
    monkeypatch.undo()
    assert append(place).manifest.version == 2
    assert ModelStore(place).head("m").manifest.n_dates == 4


def test_a_look_does_not_wait_for_a_writer_that_uploads(node, monkeypatch):
    monkeypatch.setattr(module, "LOOK_LOCK_S", 0.05)
    here, there = node("here"), node("there")
    create(here)
    create(here, "other")
    poll(there)
    append(here)
    create(here, "third")
    with locked(there.root / "models" / "m"):
        poll(there)
        assert ModelStore(there).ids() == ["m", "other", "third"]
        assert ModelStore(there).head("m").manifest.version == 1
    poll(there)
    assert ModelStore(there).head("m").manifest.version == 2


def test_heads_of_all_kinds_are_shared(node):
    here, there = node("here"), node("there")
    book = Portfolio("core", 0, "weights", (Holdings("2020-01-01", {"A": 1.0}),))
    PortfolioStore(here).put(book, request_id="p1")
    PortfolioStore(there).append("core", (Holdings("2020-01-02", {"B": 1.0}),), request_id="p2")
    WatchStore(here, 4).put(Watch("w", "m", factors=("a",)), "w1")
    made = Estimator("e", "LinearRegression", ("beta",), (), allows_missing=False, saved_by="1.7")
    EstimatorStore(here).put(made, b"file", "e1")
    poll(there)
    poll(here)
    assert PortfolioStore(here).get("core").version == 2
    assert PortfolioStore(here).get("core", 1).holdings == book.holdings
    assert PortfolioStore(there).ids() == ["core"]
    assert WatchStore(there, 4).get("w").factors == ("a",)
    kept = EstimatorStore(there).get("e")
    assert EstimatorStore(there).content(kept) == b"file"
    WatchStore(there, 4).delete("w")
    EstimatorStore(there).delete("e")
    poll(here)
    assert WatchStore(here, 4).all() == []
    assert EstimatorStore(here).all() == []


def test_a_name_that_another_node_made_a_moment_ago_is_found_without_a_look_at_all(node):
    here, there = node("here"), node("there")
    with pytest.raises(UnknownModel):
        ModelStore(there).head("m")
    create(here)
    fresh = node("third")
    assert ModelStore(fresh).head("m").manifest.version == 1


def test_a_reader_asks_the_store_nothing_once_the_version_is_here(node, s3):
    here, there = node("here"), node("there")
    create(here)
    poll(there)
    reader = ModelStore(there)
    reader.head("m").state()
    append(here)
    poll(there)  # a node that reads a model has what a version adds before it sees the version
    s3.seen.clear()
    for _ in range(50):
        assert len(reader.head("m").state().dates) == 4
    assert s3.seen == []


def test_no_secret_is_in_what_is_told(node, s3):
    place = node("here")
    with s3.rule(lambda method, key: 403 if method == "PUT" else None), pytest.raises(Unavailable) as told:
        place.bucket.put("x", b"1")
    for secret in ("secret", "key-of-the-test"):
        assert secret not in str(told.value)
    assert URI in str(told.value)
