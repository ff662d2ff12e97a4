"""An object store looked after: copied, checked, mended, swept; its copy bounded, and following by itself."""

from __future__ import annotations

import os
import time

import numpy as np
import pytest
from stored_states import state

from contracts.errors import InvalidInput, Unavailable, UnknownModel, VersionConflict
from contracts.settings import Settings
from engine.conditions import Conditions
from store import Holdings, ModelStore, Portfolio, PortfolioStore
from store import place as places
from store import sweep as sweeping
from store.__main__ import main as command
from store.bucket import Bucket
from store.copy import copy
from store.damage import check
from store.estimator_store import Estimator, EstimatorStore
from store.files import ObjectFiles, opened
from store.objects import ObjectCommit
from store.poll import POLLED, is_fresh, poll
from store.repair import repair
from store.watch_store import DayRules, Watch, WatchStore

URI = "s3://store/prefix"
WAIT_S = 60.0


@pytest.fixture
def node(s3, tmp_path):
    """Make the place of a node of its own."""

    def made(name: str, cache_bytes: int = 1 << 30) -> ObjectCommit:
        return ObjectCommit(Bucket(URI), tmp_path / name, poll_s=60.0, cache_bytes=cache_bytes)

    return made


def filled(place, n_appends=2, keep=16):
    models = ModelStore(place, keep)
    models.commit("m", state(0, 3, ("A", "B")), base=0, request_id="r1", operation="create_model")
    for n in range(n_appends):
        day = state(3 + n, 1, ("A", "B"))
        models.commit("m", day, base=1 + n, request_id=f"a{n}", operation="append_day", append=True)
    return models


def holds_all_kinds(place):
    filled(place)
    PortfolioStore(place).put(Portfolio("core", 0, "weights", (Holdings(None, {"A": 1.0}),)), request_id="p1")
    PortfolioStore(place).put(Portfolio("core", 0, "weights", (Holdings(None, {"B": 1.0}),)), request_id="p2")
    watches = WatchStore(place, 4)
    watches.put(Watch("w", "m", factors=("a",)), "w1")
    watches.set_rules("m", DayRules(market="other"))
    made = Estimator("e", "LinearRegression", ("beta",), (), allows_missing=False, saved_by="1.7")
    EstimatorStore(place).put(made, b"file", "e1")


def until(true):
    deadline = time.monotonic() + WAIT_S
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_store_goes_from_a_folder_to_an_object_store_and_back_with_all_that_it_holds(node, tmp_path):
    holds_all_kinds(tmp_path / "folder")
    first = copy(tmp_path / "folder", opened(URI))
    assert (first.versions, first.files) == (3, 3 + 3 + 3 + 2 + 2)  # days, latest; book, watch and rules, estimator
    assert list(check(opened(URI))) == []
    again = copy(tmp_path / "folder", opened(URI))
    assert again.files == 0
    copy(opened(URI), tmp_path / "back")
    assert list(check(tmp_path / "back")) == []
    there = node("there")
    poll(there)
    for place in (tmp_path / "back", there):
        ours, theirs = ModelStore(tmp_path / "folder"), ModelStore(place)
        assert theirs.head("m").manifest == ours.head("m").manifest
        assert [one.version for one in theirs.kept("m")] == [1, 2, 3]
        np.testing.assert_array_equal(theirs.head("m").day_asset("returns"), ours.head("m").day_asset("returns"))
        assert PortfolioStore(place).get("core").holdings[0].positions == {"B": 1.0}
        assert PortfolioStore(place).get("core", 1).holdings[0].positions == {"A": 1.0}
        assert WatchStore(place, 4).get("w").factors == ("a",)
        assert WatchStore(place, 4).rules_of("m").market == "other"
        assert EstimatorStore(place).content(EstimatorStore(place).get("e")) == b"file"
        day = state(5, 1, ("A", "B"))
        theirs.commit("m", day, base=3, request_id="on", operation="append_day", append=True)
    assert copy(opened(URI), tmp_path / "back").versions == 4


def test_a_copy_puts_no_head_over_one_that_others_changed_meanwhile(node, tmp_path):
    filled(tmp_path / "folder")
    files = ObjectFiles(Bucket(URI))
    copy(tmp_path / "folder", files)
    head = "models/m/manifest.json"
    before = files.read(head)
    here = node("here")
    poll(here)
    ModelStore(here).delete("m", request_id="gone")
    with pytest.raises(VersionConflict, match="changed by others meanwhile"):
        files.write(head, before + b" ")
    with pytest.raises(UnknownModel, match="deleted"):
        ModelStore(here).head("m")


@pytest.mark.parametrize("harm", ["missing", "torn", "head"])
def test_damage_of_an_object_store_is_found_and_mended_as_that_of_a_folder(node, harm):
    here = node("here")
    models = filled(here)
    bucket, part = here.bucket, models.head("m").manifest.blocks[-1].part.file
    if harm == "missing":
        bucket.delete([f"models/m/parts/{part}"])
    elif harm == "torn":
        bucket.put(f"models/m/parts/{part}", b"short")
    else:
        bucket.put("heads/models/m/manifest.json", b"{")
    found = list(check(opened(URI)))
    assert {one.kind for one in found} == {{"missing": "missing", "torn": "torn", "head": "unreadable"}[harm]}
    (would,) = repair(opened(URI), dry=True)
    (done,) = repair(opened(URI))
    assert would == done
    assert (done.of, done.days_lost) == (2, 0 if harm == "head" else 1)
    other = node("other")
    poll(other)
    head = ModelStore(other).head("m")
    assert (head.manifest.operation, head.manifest.n_dates) == ("repair", 4)
    assert np.isfinite(head.day_asset("returns")).all()
    assert repair(opened(URI)) == []


def test_the_commands_take_an_address_and_refuse_what_is_no_store(node, s3, tmp_path, capsys, monkeypatch):
    filled(tmp_path / "folder")
    assert command(["check", URI]) == 2
    assert f"there is no store at {URI}" in capsys.readouterr().err
    assert command(["copy", str(tmp_path / "folder"), URI]) == 0
    assert command(["check", URI]) == 0
    assert f"{URI} holds the conditions that commits need\nnothing is damaged" in capsys.readouterr().out
    assert command(["repair", URI]) == 0
    monkeypatch.setenv("FACTOR_ENGINE_STORE", URI)
    from contracts.settings import settings

    settings.cache_clear()
    try:
        assert command(["check"]) == 0
    finally:
        settings.cache_clear()
    here = node("here")
    poll(here)
    assert command(["repair", str(here.root)]) == 2
    assert "is a copy of an object store: give the address of that" in capsys.readouterr().err
    assert command(["check", "s3://nowhere/prefix"]) == 2
    assert "there is no such bucket" in capsys.readouterr().err
    for wrong in ("ftp://host/x", "s3://key:secret@store/prefix"):
        assert command(["check", wrong]) == 2
        assert "secret" not in capsys.readouterr().err.replace(wrong, "")
    s3.ignores_conditions = True
    assert command(["check", URI]) == 2
    assert "commits need conditional puts" in capsys.readouterr().err


def test_older_versions_go_with_the_parts_that_only_they_name(node, monkeypatch):
    here = node("here")
    models = ModelStore(here, keep_versions=2)
    for n in range(5):
        models.commit("m", state(0, 2, ("A",), fill=n), base=n, request_id=f"r{n}", operation="clean_features")
    versions = lambda: [one.key for one in here.bucket.listed("models/m/versions/")]  # noqa: E731
    parts = lambda: {one.key.rpartition("/")[2] for one in here.bucket.listed("models/m/parts/")}  # noqa: E731
    until(lambda: len(versions()) == 2)
    named = set().union(*(one.files for one in models.kept("m")))
    assert [one.version for one in models.kept("m")] == [3, 4, 5]
    until(lambda: parts() == named)
    here.bucket.put("models/m/parts/days-orphan.bin", b"of a commit that was cut off")
    here._sweeps.sweep(models.root / "m", 2)
    assert "days-orphan.bin" in parts()
    monkeypatch.setattr(sweeping, "SWEEP_AGE_S", -1.0)
    here._sweeps.sweep(models.root / "m", 2)
    assert parts() == named
    models.delete("m", request_id="gone")
    until(lambda: versions() == [] and parts() == set())


def test_checkpoints_of_kept_versions_stay_and_those_of_retired_ones_go(node, monkeypatch, tmp_path):
    here = node("here")
    models = ModelStore(here, keep_versions=1, checkpoint_days=2)
    models.commit("m", state(0, 3, ("A",)), base=0, request_id="first", operation="create_model")
    gone = {one.file for one in models.head("m").manifest.checkpoints}
    for n in range(1, 4):
        models.commit("m", state(0, 3, ("A",), fill=n), base=n, request_id=f"r{n}", operation="clean_features")
    parts = lambda: {one.key.rpartition("/")[2] for one in here.bucket.listed("models/m/parts/")}  # noqa: E731
    named = lambda: set().union(*(one.files for one in models.kept("m")))  # noqa: E731
    until(lambda: not gone & parts() and parts() == named())
    here._sweeps._thread.submit(lambda: None).result(WAIT_S)  # none of them is under way
    monkeypatch.setattr(sweeping, "SWEEP_AGE_S", -1.0)
    sweeping.Sweeps(here.bucket, here.root).sweep(models.root / "m", 1)
    assert parts() == named()
    newest = models.head("m").manifest
    assert [one.n_dates for one in newest.checkpoints] == [3]
    assert list(check(opened(URI))) == []
    assert copy(opened(URI), tmp_path / "back").versions == 2
    carried = ModelStore(tmp_path / "back").head("m").state_at(newest.checkpoints[0], 3).latest
    np.testing.assert_array_equal(carried["covariance"], np.eye(3) * 3)


def test_a_version_that_cannot_be_read_keeps_every_part(node, monkeypatch):
    here = node("here")
    models = filled(here)
    here._sweeps._thread.submit(lambda: None).result(WAIT_S)  # what the commits asked for is done
    monkeypatch.setattr(sweeping, "SWEEP_AGE_S", -1.0)
    before = {one.key for one in here.bucket.listed("models/m/parts/")}
    here.bucket.put("models/m/versions/00000001.json", b"half a")
    here.bucket.put("models/m/parts/days-orphan.bin", b"x")
    sweeping.Sweeps(here.bucket, here.root).sweep(models.root / "m", 16)
    assert {one.key for one in here.bucket.listed("models/m/parts/")} > before


def test_a_copy_stays_below_its_limit_and_what_went_is_had_again(node):
    whole = node("whole")
    models = ModelStore(whole)
    for n in range(4):
        models.commit("m", state(0, 200, ("A",), fill=n), base=n, request_id=f"r{n}", operation="clean_features")
    size = sum(one.size for one in whole.bucket.listed("models/m/parts/")) // 4
    small = node("small", cache_bytes=int(2.5 * size))
    poll(small)
    reader = ModelStore(small)
    for n in (1, 2, 3, 4):
        reader.version("m", n).state()
        for path in small.root.glob("models/*/parts/*.bin"):
            os.utime(path, (0, 0))  # all of them came long ago
    small.room.tidy()
    held = {path.name for path in small.root.glob("models/*/parts/*.bin")}
    newest = reader.head("m").manifest
    # Those of the newest version go last; checkpoints are had when a correction asks for them.
    assert held >= newest.files - {one.file for one in newest.checkpoints}
    assert sum(path.stat().st_size for path in small.root.glob("models/*/parts/*.bin")) <= 2.5 * size
    assert small.room.evicted > 0
    np.testing.assert_array_equal(
        ModelStore(small).version("m", 1).day_asset("returns"), models.version("m", 1).day_asset("returns")
    )


def test_a_part_of_a_commit_under_way_is_not_taken_from_the_copy(node):
    here = node("here", cache_bytes=1)
    models = filled(here)  # each commit uploads what it wrote into a folder that is full
    assert models.head("m").manifest.n_dates == 5
    other = node("third")
    poll(other)
    assert len(ModelStore(other).head("m").state().dates) == 5


def test_the_place_of_the_settings_follows_other_nodes_by_itself(node, tmp_path):
    current = Settings(store=URI, store_cache=tmp_path / "cache", store_poll_s=0.05)
    try:
        reader = ModelStore(places.store_place(current))
        assert reader.ids() == []
        theirs = filled(node("theirs"))
        until(lambda: reader.ids() == ["m"])
        until(lambda: reader.head("m").manifest.version == 3)
        theirs.delete("m", request_id="gone")
        until(lambda: reader.ids() == [])
        assert places.store_place(current) is places.store_place(current)
        until(lambda: is_fresh(places.store_place(current)))
        assert Conditions(current).look()["degraded"] == {}
        os.utime(current.store_path / POLLED, (0, 0))
        places.close()
        os.utime(current.store_path / POLLED, (0, 0))
        assert "its heads were seen last" in Conditions(current).look()["degraded"]["store"]
    finally:
        places.close()


def test_a_node_with_a_copy_starts_while_the_store_is_away_and_one_without_does_not(node, s3, tmp_path, monkeypatch):
    filled(node("theirs"))
    current = Settings(store=URI, store_cache=tmp_path / "cache", store_poll_s=60.0)
    try:
        assert ModelStore(places.store_place(current)).head("m").manifest.version == 3
        places.close()
        monkeypatch.setattr("store.bucket.RETRY_S", 0.2)
        monkeypatch.setattr("store.place.is_fresh", lambda _: False)
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
        away = Settings(store=URI, store_cache=tmp_path / "cache", store_poll_s=60.0)
        reader = ModelStore(places.store_place(away))
        assert reader.head("m").manifest.version == 3
        for _ in range(3):
            with pytest.raises(Unavailable, match=r"does not answer|connection refused"):
                reader.head("another")
        assert reader.ids() == ["m"]
        elsewhere = Settings(store=URI, store_cache=tmp_path / "empty", store_poll_s=60.0)
        with pytest.raises(Unavailable, match="connection refused"):
            places.store_place(elsewhere)
        assert "were never seen" in Conditions(elsewhere).look()["degraded"]["store"]
    finally:
        places.close()


@pytest.mark.parametrize("uri", ["s3:///x", "ftp://b/p", "s3://u:p@b/p", "s3://b/p?x=1"])
def test_an_address_that_is_none_or_holds_a_secret_is_refused(uri):
    with pytest.raises(ValueError, match=r"s3://bucket/prefix|belong into the environment") as told:
        Settings(store=uri)
    assert "store" in str(told.value)
    with pytest.raises(InvalidInput):
        opened(uri)


def test_a_folder_may_be_named_as_the_store_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for given in ("models", "file://" + str(tmp_path / "models"), str(tmp_path / "models")):
        assert Settings(store=given).store_path == tmp_path / "models"
        assert Settings(store=given).store_uri is None
    assert Settings(store="s3://b/p/").store_uri == "s3://b/p"
    assert Settings(store="s3://b/p", store_cache=tmp_path).store_path.parent == tmp_path
