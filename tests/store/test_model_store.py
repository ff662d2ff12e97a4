"""The store: versions are values, commits are atomic, repeats make nothing."""

import contextlib
import errno
import os
import resource
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stored_states import state

from contracts.errors import ModelUnreadable, UnknownModel, VersionConflict
from store import ModelStore
from store import model_store as module
from store.parts import MAPS, Maps


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path, keep_versions=3)


def test_a_commit_is_read_back_whole_by_another_process_view(store, tmp_path):
    given_state = state(0, 5, ("A", "B"))
    store.commit("m", given_state, base=0, request_id="r1", operation="create_model")
    version = ModelStore(tmp_path).head("m")
    read = version.state()
    assert version.manifest.version == 1
    assert read.symbols == ("A", "B")
    np.testing.assert_array_equal(read.dates, given_state.dates)
    for name, array in given_state.day_asset.items():
        np.testing.assert_array_equal(read.day_asset[name], array)
        assert read.day_asset[name].dtype == array.dtype
    np.testing.assert_array_equal(read.day["factor_returns"], given_state.day["factor_returns"])
    np.testing.assert_array_equal(version.latest("covariance"), np.eye(3))
    assert read.meta == {"factors": ["a", "b", "c"]}


def test_a_single_block_is_a_memory_map_of_the_file(store):
    version = store.commit("m", state(0, 5, ("A",)), base=0, request_id="r", operation="create_model")
    assert np.shares_memory(version.day_asset("returns"), version.day_asset("returns"))
    with pytest.raises(ValueError, match="read-only"):
        version.day_asset("returns")[0, 0] = 1.0


def test_maps_that_let_go_of_their_pages_are_read_again(store):
    version = store.commit("m", state(0, 5, ("A",)), base=0, request_id="r", operation="create_model")
    held = version.day_asset("returns")
    before = held.copy()
    MAPS.let_go()
    np.testing.assert_array_equal(held, before)
    np.testing.assert_array_equal(version.day_asset("returns"), before)


def test_an_append_adds_one_block_and_pads_names_that_are_new(store):
    store.commit("m", state(0, 4, ("A", "B")), base=0, request_id="r1", operation="create_model")
    first_file = store.head("m").manifest.blocks[0].part.file
    version = store.commit(
        "m", state(4, 1, ("A", "B", "C")), base=1, request_id="r2", operation="append_day", append=True
    )
    assert [b.n_dates for b in version.manifest.blocks] == [4, 1]
    assert version.manifest.blocks[0].part.file == first_file
    returns = version.day_asset("returns")
    assert returns.shape == (5, 3)
    assert np.isnan(returns[:4, 2]).all()
    assert (version.day_asset("sector")[:4, 2] == -1).all()
    np.testing.assert_array_equal(version.day_asset("returns", slice(3, 5)), returns[3:5])
    assert version.symbols == ("A", "B", "C")
    for name in ("returns", "sector"):
        whole = version.day_asset(name)
        for columns in ([0], [2, 0], [1, 2], []):
            for rows in (slice(None), slice(0, 2), slice(3, 5), slice(2, 2)):
                some = version.day_asset(name, rows, np.array(columns, np.intp))
                np.testing.assert_array_equal(some, whole[rows][:, columns])
                assert some.dtype == whole.dtype


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 70), st.data())
def test_any_run_of_days_reads_the_same_however_often_blocks_were_merged(tmp_path_factory, n_appends, data):
    store = ModelStore(tmp_path_factory.mktemp("store"))
    store.commit("m", state(0, 3, ("A", "B")), base=0, request_id="r", operation="create_model")
    for i in range(n_appends):
        store.commit(
            "m", state(3 + i, 1, ("A", "B")), base=1 + i, request_id=f"a{i}", operation="append_day", append=True
        )
    version = store.head("m")
    whole = state(0, 3 + n_appends, ("A", "B"))
    start = data.draw(st.integers(0, 3 + n_appends))
    stop = data.draw(st.integers(start, 3 + n_appends))
    np.testing.assert_array_equal(
        version.day_asset("returns", slice(start, stop)), whole.day_asset["returns"][start:stop]
    )
    np.testing.assert_array_equal(version.dates, whole.dates)
    assert len(version.manifest.blocks) <= 1 + module.MERGE_DAYS + n_appends // module.MERGE_DAYS


def test_what_a_commit_of_a_day_writes_does_not_grow_with_the_history(tmp_path):
    """Bytes of the parts that each manifest names and the one before did not; and the manifest names few."""

    def written(n_before: int) -> tuple[list[int], list[int]]:
        store = ModelStore(tmp_path / str(n_before))
        version = store.commit("m", state(0, n_before, ("A", "B")), base=0, request_id="r", operation="create_model")
        sizes, blocks = [], []
        for day in range(n_before, n_before + 2 * module.MERGE_DAYS + 6):
            before = version.manifest.files
            version = store.commit(
                "m", state(day, 1, ("A", "B")), base=version.manifest.version, request_id=f"a{day}",
                operation="append_day", append=True,
            )  # fmt: skip
            parts = [version.manifest.latest, *(block.part for block in version.manifest.blocks)]
            sizes.append(sum(part.size for part in parts if part.file not in before))
            blocks.append(len(version.manifest.blocks))
        return sizes, blocks

    after_few, after_many = written(40), written(2000)
    assert after_few == after_many
    assert max(after_few[1]) <= 3 + module.MERGE_DAYS


def test_versions_that_only_add_days_say_since_when(store):
    versions = [store.commit("m", state(0, 2, ("A",)), base=0, request_id="r1", operation="create_model")]
    for number, (operation, append) in enumerate(
        (("append_day", True), ("clean_features", False), ("append_day", True))
    ):
        given_state = state(10 + number, 1, ("A",))
        versions.append(
            store.commit("m", given_state, base=1 + number, request_id=f"s{number}", operation=operation, append=append)
        )
    assert [version.manifest.since for version in versions] == [1, 1, 3, 3]


def test_a_repeated_request_gives_the_version_that_it_made(store):
    store.commit("m", state(0, 2, ("A",)), base=0, request_id="r1", operation="create_model")
    store.commit("m", state(2, 1, ("A",)), base=1, request_id="r2", operation="append_day", append=True)
    again = store.commit("m", state(0, 2, ("A",)), base=0, request_id="r1", operation="create_model")
    assert again.manifest.version == 1
    assert store.head("m").manifest.version == 2
    assert store.made_by("m", "r2") == 2
    assert store.made_by("m", "never") is None


def test_a_change_of_an_old_version_is_a_conflict(store):
    store.commit("m", state(0, 2, ("A",)), base=0, request_id="r1", operation="create_model")
    store.commit("m", state(0, 2, ("A",)), base=1, request_id="r2", operation="clean_features")
    with pytest.raises(VersionConflict, match="at version 2"):
        store.commit("m", state(0, 2, ("A",)), base=1, request_id="r3", operation="clean_features")
    assert store.head("m").manifest.version == 2


def test_old_versions_and_their_parts_go_by_the_retention_rule(store):
    for i in range(8):
        store.commit("m", state(0, 2, ("A",), fill=i), base=i, request_id=f"r{i}", operation="clean_features")
    assert store.version("m", 5).manifest.version == 5
    with pytest.raises(UnknownModel):
        store.version("m", 4)
    assert len(list((store.root / "m" / "parts").glob("*.bin"))) == 2 * 4
    assert store.counters["versions_retired"] == 4
    assert store.counters["parts_swept"] == 8


def test_a_deleted_model_is_unknown_and_its_number_goes_on(store):
    store.commit("m", state(0, 2, ("A",)), base=0, request_id="r1", operation="create_model")
    assert store.delete("m", request_id="d1") == 2
    assert store.delete("m", request_id="d1") == 2
    with pytest.raises(UnknownModel, match="deleted"):
        store.head("m")
    assert store.ids() == []
    assert not list((store.root / "m" / "parts").glob("*.bin"))
    assert (
        store.commit("m", state(0, 2, ("A",)), base=0, request_id="r2", operation="create_model").manifest.version == 3
    )


def test_many_models_are_listed_and_ids_with_dots_are_kept(store):
    for name in ("BRK.B", "a_b-c", "main"):
        store.commit(name, state(0, 1, ("A",)), base=0, request_id="r", operation="create_model")
    assert store.ids() == ["BRK.B", "a_b-c", "main"]
    with pytest.raises(UnknownModel):
        store.head("none")


DAMAGES = {
    "half a file": lambda path: path.write_bytes(path.read_bytes()[:100]),
    "nothing": lambda path: path.write_bytes(b""),
    "a list": lambda path: path.write_bytes(b"[1, 2]"),
    "another release": lambda path: path.write_bytes(path.read_bytes().replace(b'"format": 2', b'"format": 99')),
    "no blocks": lambda path: path.write_bytes(b'{"format": 2, "layouts": []}'),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_manifest_that_cannot_be_read_is_one_models_and_names_the_file(store, tmp_path, damage):
    for name in ("bad.one", "good"):
        store.commit(name, state(0, 2, ("A",)), base=0, request_id="r", operation="create_model")
    damage(store.root / "bad=2Eone" / "manifest.json")
    for again in (store, ModelStore(tmp_path)):
        assert again.ids() == ["bad.one", "good"]
        assert again.head("good").manifest.version == 1
        with pytest.raises(
            ModelUnreadable, match=r"'bad.one' cannot be read: models/bad=2Eone/manifest.json: ."
        ) as error:
            again.head("bad.one")
        assert error.value.rows == ["models/bad=2Eone/manifest.json"]
        with pytest.raises(ModelUnreadable):  # nothing is written over what a person may mend
            again.commit("bad.one", state(0, 2, ("A",)), base=0, request_id="r2", operation="create_model")


def test_a_model_that_cannot_be_read_can_be_deleted_and_its_number_goes_on(store):
    for i in range(3):
        store.commit("m", state(0, 2, ("A",)), base=i, request_id=f"r{i}", operation="clean_features")
    (store.root / "m" / "manifest.json").write_bytes(b"half a")
    assert store.delete("m", request_id="d") == 4
    assert store.ids() == []
    made = store.commit("m", state(0, 2, ("A",)), base=0, request_id="n", operation="create_model")
    assert made.manifest.version == 5


def test_a_kept_version_that_cannot_be_read_stops_no_commit_and_loses_no_part(store, monkeypatch):
    monkeypatch.setattr(module, "SWEEP_AGE_S", -1.0)
    for i in range(2):
        store.commit("m", state(0, 2, ("A",)), base=i, request_id=f"r{i}", operation="clean_features")
    parts = {path.name for path in (store.root / "m" / "parts").glob("*.bin")}
    (store.root / "m" / "versions" / "00000001.json").write_bytes(b"half a")
    again = ModelStore(store.root.parent, keep_versions=3)
    made = again.commit("m", state(0, 2, ("A",)), base=2, request_id="r2", operation="clean_features")
    assert made.manifest.version == 3
    assert parts < {path.name for path in (store.root / "m" / "parts").glob("*.bin")}
    for i in range(3, 6):  # once that version is retired, sweeping goes on
        again.commit("m", state(0, 2, ("A",)), base=i, request_id=f"r{i}", operation="clean_features")
    assert not parts <= {path.name for path in (store.root / "m" / "parts").glob("*.bin")}


def test_a_part_that_is_cut_off_or_gone_is_named_and_a_retired_one_is_no_damage(store, monkeypatch):
    version = store.commit("m", state(0, 2, ("A",)), base=0, request_id="r", operation="create_model")
    assert version.damage is None
    part = version.folder / version.manifest.blocks[0].part.file
    whole = part.read_bytes()
    part.write_bytes(whole[:100])
    cut = ModelStore(store.root.parent).head("m")
    said = f"models/m/parts/{part.name}: it has 100 bytes instead of {len(whole)}"
    assert str(cut.damage) == f"model 'm' cannot be read: {said}"
    monkeypatch.setattr("store.version.MAPS", Maps())  # the process that wrote it has it mapped as it was
    with pytest.raises(ModelUnreadable, match=part.name):
        cut.day_asset("returns")
    part.unlink()
    monkeypatch.setattr("store.version.MAPS", Maps())
    gone = ModelStore(store.root.parent).head("m")
    with pytest.raises(ModelUnreadable, match="No such file"):
        gone.day_asset("returns")
    store.commit("m", state(0, 2, ("A",)), base=1, request_id="r2", operation="clean_features")
    with pytest.raises(UnknownModel, match="version 1 of model 'm' was retired"):
        gone.day_asset("returns")


def test_what_else_lies_among_the_models_is_no_model(store):
    store.commit("m", state(0, 1, ("A",)), base=0, request_id="r", operation="create_model")
    (store.root / ".DS_Store").write_bytes(b"x")
    for name in ("a=ZZ", "lost+found", "empty"):
        (store.root / name).mkdir()
    assert store.ids() == ["m"]


WRITER = """
    import sys, os, signal
    from pathlib import Path
    sys.path.insert(0, sys.argv[2])
    from stored_states import state
    from store import ModelStore
    from store import commit as module
    store, where = ModelStore(Path(sys.argv[1])), sys.argv[3]
    if where == "before":
        module.sync_all = lambda what: os.kill(os.getpid(), signal.SIGKILL)
    elif where == "at":
        module.sync_folder = lambda folder: os.kill(os.getpid(), signal.SIGKILL)
    else:
        ModelStore._retire = lambda *a, **k: os.kill(os.getpid(), signal.SIGKILL)
    store.commit("m", state(2, 1, ("A",)), base=1, request_id="r2", operation="append_day", append=True)
"""


@pytest.mark.parametrize(("where", "version"), [("before", 1), ("at", 2), ("after", 2)])
def test_a_writer_killed_around_the_commit_leaves_the_old_or_the_new_version_whole(store, tmp_path, where, version):
    store.commit("m", state(0, 2, ("A",)), base=0, request_id="r1", operation="create_model")
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(WRITER), str(tmp_path), str(Path(__file__).parents[1]), where],
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    fresh = ModelStore(tmp_path)
    assert fresh.head("m").manifest.version == version
    assert len(fresh.head("m").state().dates) == version + 1
    again = fresh.commit("m", state(2, 1, ("A",)), base=1, request_id="r2", operation="append_day", append=True)
    assert again.manifest.version == 2
    assert fresh.head("m").manifest.n_dates == 3


def test_all_that_a_version_needs_is_synced_before_it_is_the_newest(store, tmp_path, monkeypatch):
    store.commit("m", state(0, 2, ("A",)), base=0, request_id="r1", operation="create_model")
    synced, before = [], None
    fsync, replace = os.fsync, os.replace

    def noted(descriptor):
        fsync(descriptor)
        synced.append(os.fstat(descriptor).st_ino)

    def placed(fresh, path):
        nonlocal before
        if Path(path).name == "manifest.json":
            before = {*synced} if Path(fresh).stat().st_ino in synced else set()
        replace(fresh, path)

    monkeypatch.setattr(os, "fsync", noted)
    monkeypatch.setattr(os, "replace", placed)
    version = store.commit("m", state(2, 1, ("A",)), base=1, request_id="r2", operation="append_day", append=True)
    folder = version.folder
    added = {folder / name for name in (version.manifest.blocks[-1].part.file, version.manifest.latest.file)}
    versions = folder.parent / "versions"
    needed = {*added, folder, versions, versions / "00000002.json"}
    assert before is not None
    assert before >= {path.stat().st_ino for path in needed}
    assert synced[-1] == folder.parent.stat().st_ino


def test_a_full_disk_at_any_point_of_a_commit_leaves_a_whole_version_and_the_write_can_be_repeated(tmp_path):
    def append(store: ModelStore) -> int:
        added = state(2, 1, ("A", "B"))
        version = store.commit("m", added, base=1, request_id="r2", operation="append_day", append=True)
        return version.manifest.version

    fsync, room = os.fsync, 0
    while True:
        store = ModelStore(tmp_path / str(room), keep_versions=3)
        store.commit("m", state(0, 2, ("A", "B")), base=0, request_id="r1", operation="create_model")
        left = room

        def full(descriptor: int) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            fsync(descriptor)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "fsync", full)
            with contextlib.suppress(OSError):
                append(store)
                break
        left_over = ModelStore(tmp_path / str(room), keep_versions=3)
        head = left_over.head("m")
        there = {path.name for path in (left_over.root / "m" / "parts").iterdir()}
        assert there == set().union(*(one.files for one in left_over.kept("m"))), "nothing takes room for no version"
        numbers = [int(path.stem) for path in (left_over.root / "m" / "versions").iterdir()]
        assert max(numbers) == head.manifest.version
        assert head.manifest.n_dates == head.manifest.version + 1
        assert np.isfinite(head.day_asset("returns")).all()
        assert append(left_over) == 2
        np.testing.assert_array_equal(
            left_over.head("m").day_asset("returns")[2], state(2, 1, ("A", "B")).day_asset["returns"][0]
        )
        room += 1
    assert room >= 5


@pytest.mark.parametrize("limit", [70_000, 100_000])
def test_a_part_that_cannot_be_written_whole_leaves_nothing(store, limit):
    """The days do not fit the first limit, the file behind them not the second, as on a full disk."""
    carried = {"covariance": np.zeros(20_000)}
    days = replace(state(0, 2, ("A",)), day_asset={"returns": np.zeros((2, 5_000))}, latest=carried)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            store.commit("m", days, base=0, request_id="r1", operation="create_model")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list((store.root / "m" / "parts").iterdir()) == []
    assert store.ids() == []
    assert store.commit("m", days, base=0, request_id="r1", operation="create_model").manifest.version == 1


def test_parts_of_a_commit_that_was_cut_off_are_swept_once_they_are_old(store):
    store.commit("m", state(0, 2, ("A",)), base=0, request_id="r1", operation="create_model")
    orphan = store.root / "m" / "parts" / "days-orphan.bin"
    orphan.write_bytes(b"x")
    store.commit("m", state(0, 2, ("A",)), base=1, request_id="r2", operation="clean_features")
    assert orphan.exists()
    os.utime(orphan, (0, 0))
    store.commit("m", state(0, 2, ("A",)), base=2, request_id="r3", operation="clean_features")
    assert not orphan.exists()


def test_days_before_a_date_are_counted_as_in_all_dates_over_blocks_and_gaps(store):
    for number, first in enumerate((0, 3, 10)):
        version = store.commit(
            "m", state(first, 2, ("A",)), base=number, request_id=f"r{first}", operation="x", append=number > 0
        )
    for day in np.datetime64("2019-12-30", "D") + np.arange(16):
        assert version.rows_before(day) == np.searchsorted(version.dates, day)
        assert version.rows_before(day, through=True) == np.searchsorted(version.dates, day, "right")


def test_a_reader_that_follows_versions_reads_what_a_fresh_one_reads(store, monkeypatch):
    monkeypatch.setattr(module, "MERGE_DAYS", 4)
    reader = ModelStore(store.root.parent)
    for number in range(10):
        symbols = ("A", "B") if number < 5 else ("A", "B", "C")
        store.commit("m", state(number, 1, symbols), base=number, request_id=f"r{number}", operation="x", append=True)
        assert reader.head("m").manifest == ModelStore(store.root.parent).head("m").manifest
