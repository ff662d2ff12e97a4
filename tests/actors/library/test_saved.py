"""States of live libraries on disk, with a state that stands still and with one that moves on."""

import threading

import numpy as np
import pytest
from fixtures_ray import until

from actors.library import saved
from actors.library.live_library import MovedOn
from actors.library.saved import SavedLibraries, write_members
from factors.library.run.members import Member, whole


def member(array, pieces=3):
    return Member(array.shape, array.dtype, iter(np.array_split(array.reshape(-1), pieces)))


class Live:
    """Gives its state in pieces; for so many times a day comes in the middle."""

    def __init__(self, moves=0):
        self.moves, self.asked = moves, 0

    def members(self):
        self.asked += 1
        moves = self.asked <= self.moves

        def pieces():
            yield np.arange(4.0)
            if moves:
                raise MovedOn
            yield np.arange(4.0, 9.0)

        yield "version", member(np.array(self.asked), 1)
        yield "rings", Member((9,), np.dtype(float), pieces())


@pytest.fixture
def libraries(tmp_path, monkeypatch):
    monkeypatch.setattr(saved, "QUIET_S", 0.05)
    return SavedLibraries(tmp_path, 2, lambda work: threading.Thread(target=work).start())


@pytest.mark.parametrize("array", [np.arange(12.0).reshape(3, 4), np.array(7), np.array("made"), np.zeros((0,))])
def test_pieces_make_the_array_again_in_memory_and_in_a_file(array, tmp_path, monkeypatch):
    monkeypatch.setattr(saved, "SYNC_BYTES", 16)
    assert np.array_equal(whole(member(array)), array)
    with (tmp_path / "x.npz").open("wb") as out:
        write_members(out, [("a/b", member(array)), ("c", member(np.arange(3)))])
    with np.load(tmp_path / "x.npz") as file:
        assert np.array_equal(file["a/b"], array)
        assert file["a/b"].dtype == array.dtype
        assert file["c"].tolist() == [0, 1, 2]


def test_pieces_that_are_too_few_are_an_error():
    with pytest.raises(ValueError, match="the pieces have 2 numbers; expected 3"):
        whole(Member((3,), np.dtype(float), iter((np.zeros(2),))))


def test_a_state_that_moved_on_leaves_nothing_and_is_written_when_it_is_quiet(libraries, tmp_path):
    live = Live(moves=3)
    libraries.soon("m", live, 0.0)
    until(libraries.path("m").exists, "it is written")
    with np.load(libraries.path("m")) as file:
        assert file["version"] == live.asked == 4
        assert file["rings"].tolist() == list(range(9))
    assert [path.name for path in tmp_path.iterdir()] == [libraries.path("m").name]


def test_a_day_that_comes_puts_the_writing_off(libraries):
    live = Live()
    libraries.soon("m", live, 0.2)
    libraries.soon("m", live, 30.0)
    libraries.soon("other", Live(), 0.3)
    until(libraries.path("other").exists, "what was due later is written")
    assert live.asked == 0
    libraries.soon("m", live, 0.0)
    until(libraries.path("m").exists, "it is written")


def test_the_one_written_longest_ago_goes(libraries):
    for name in ("a", "b", "c"):
        libraries.soon(name, Live(), 0.0)
        until(libraries.path(name).exists, "it is written")
        until(lambda: len(libraries.files()) <= 2, "there are not too many")
    assert [path.stem for path in libraries.files()] == ["c", "b"]


def test_a_disk_that_takes_nothing_is_told_in_the_log(libraries, tmp_path, caplog, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(saved, "write_members", full)
    libraries.soon("m", Live(), 0.0)
    until(lambda: "could not be saved" in caplog.text, "it is told")
    assert list(tmp_path.iterdir()) == []


def test_a_process_that_ends_writes_no_state_and_says_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(saved, "QUIET_S", 0.01)
    asked = threading.Event()

    def ended(_):
        asked.set()
        raise RuntimeError("cannot schedule new futures after interpreter shutdown")

    raised = []
    monkeypatch.setattr(threading, "excepthook", raised.append)
    libraries = SavedLibraries(tmp_path, 2, ended)
    libraries.soon("m", Live())
    assert asked.wait(60)

    def timers():  # of these libraries, not those of actors that other tests left in this process
        there = [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer)]
        return [timer for timer in there if getattr(timer.function, "__self__", None) is libraries]

    until(lambda: not timers(), "the timer ended", 60)
    assert raised == []
    assert libraries.files() == []
