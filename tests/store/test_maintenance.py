"""Damage is found, a copy is whole at any moment, and a damaged model becomes whole again under a new number."""

import json
import os
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest

from contracts.errors import InvalidInput, ModelUnreadable
from store import ModelStore, PortfolioStore, StoredState
from store.__main__ import main as command
from store.copy import copy
from store.damage import check
from store.estimator_store import Estimator, EstimatorStore
from store.manifest import Manifest
from store.portfolio_store import Holdings, Portfolio
from store.repair import repair


def state(first, n_dates):
    dates = np.datetime64("2020-01-01", "D") + np.arange(first, first + n_dates)
    values = first + np.arange(n_dates)[:, None] + np.array([0.0, 0.5])
    return StoredState(
        dates, ("A", "B"), {"returns": values}, {"factor_returns": values}, {"covariance": np.eye(2) * (first + 1)}, {}
    )


@pytest.fixture
def root(tmp_path) -> Path:
    root = tmp_path / "store"
    models = ModelStore(root)
    models.commit("m", state(0, 40), base=0, request_id="r1", operation="create_model")
    models.commit("m", state(40, 1), base=1, request_id="r2", operation="append_day", append=True)
    models.commit("m", state(41, 1), base=2, request_id="r3", operation="append_day", append=True)
    models.commit("other", state(0, 3), base=0, request_id="r1", operation="create_model")
    book = Portfolio("core", 0, "weights", (Holdings(None, {"A": 1.0}),))
    PortfolioStore(root).put(book, request_id="p1")
    return root


def folder_of(root, model="m"):
    return root / "models" / model


def newest_part(root):
    manifest = Manifest.from_bytes((folder_of(root) / "manifest.json").read_bytes())
    return folder_of(root) / "parts" / manifest.blocks[-1].part.file


def test_a_whole_store_has_no_damage(root):
    assert list(check(root)) == []
    assert repair(root) == []


def test_every_kind_of_damage_is_named_with_what_needs_it(root):
    part = newest_part(root)
    whole = part.read_bytes()
    part.write_bytes(whole[:-8])
    (found,) = list(check(root))
    assert (found.kind, found.value, found.version) == ("torn", "m", 3)
    assert found.detail == f"{len(whole) - 8} bytes of {len(whole)}"
    assert found.file == str(part.relative_to(root))
    part.write_bytes(b"\0" * len(whole))
    (found,) = check(root)
    assert found.kind == "strange"
    assert "2020-02-11" in found.detail
    part.unlink()
    assert [one.kind for one in check(root)] == ["missing"]
    part.write_bytes(whole)
    (folder_of(root) / "versions/00000002.json").write_text("{")
    (found,) = check(root)
    assert (found.kind, found.version) == ("unreadable", 2)
    (folder_of(root) / "versions/00000002.json").unlink()
    head = root / "portfolios/core/head.json"
    head.write_text("[]")
    (found,) = check(root)
    assert (found.kind, found.value) == ("unreadable", "core")


def test_damage_of_formulas_and_of_an_estimators_files_is_named(root):
    store = EstimatorStore(root)
    made = Estimator("e", "MLPRegressor", ("beta",), (), allows_missing=False, saved_by="1.7", form="onnx")
    store.put(made, b"file", "e1", b"layers")
    (root / "formulas.json").write_text('{"mine": "rank(returns)"}')
    assert list(check(root)) == []
    for kind, content in (("onnx", b"fil"), ("network", b"layerz")):
        (path,) = (root / "estimators").glob(f"*.{kind}")
        whole = path.read_bytes()
        path.write_bytes(content)
        (found,) = check(root)
        assert (found.kind, found.value, found.version, found.file) == ("torn", "e", 1, f"estimators/{path.name}")
        path.unlink()
        assert [(one.kind, one.file) for one in check(root)] == [("missing", f"estimators/{path.name}")]
        path.write_bytes(whole)
    (root / "formulas.json").write_text('{"mine": ')
    (found,) = check(root)
    assert (found.kind, found.file) == ("unreadable", "formulas.json")


@pytest.mark.parametrize("harm", ["torn part", "missing part", "head", "head and newest"])
def test_a_damaged_model_becomes_the_newest_whole_version_under_a_new_number(root, harm):
    folder = folder_of(root)
    if harm == "torn part":
        newest_part(root).write_bytes(b"short")
    elif harm == "missing part":
        newest_part(root).unlink()
    else:
        (folder / "manifest.json").write_text("{")
        if harm == "head and newest":
            (folder / "versions/00000003.json").write_text("")
    other = ModelStore(root).head("other").manifest
    would = repair(root, dry=True)
    assert [one.version for one in would] == [4]
    assert not (folder / "versions/00000004.json").exists()
    (done,) = repair(root)
    of = 3 if harm == "head" else 2
    assert (done.model_id, done.version, done.of) == ("m", 4, of)
    found = ModelStore(root).head("m")
    assert found.manifest.version == found.manifest.since == 4
    assert found.manifest.operation == "repair"
    assert len(found.dates) == 39 + of
    np.testing.assert_array_equal(found.state().day_asset["returns"][-1], [38.0 + of, 38.5 + of])
    assert ModelStore(root).head("other").manifest == other
    assert repair(root) == []
    committed = ModelStore(root).commit(
        "m", state(39 + of, 1), base=4, request_id="r4", operation="append_day", append=True
    )
    assert committed.manifest.version == 5


def test_a_repeated_request_of_before_is_still_known_after_a_repair(root):
    newest_part(root).unlink()
    repair(root)
    assert ModelStore(root).made_by("m", "r2") == 2


def test_a_model_without_a_whole_version_is_named_and_left(root):
    shutil.rmtree(folder_of(root) / "parts")
    before = sorted(path.name for path in folder_of(root).rglob("*"))
    (done,) = repair(root)
    assert (done.model_id, done.version) == ("m", None)
    assert sorted(path.name for path in folder_of(root).rglob("*") if path.name != "lock") == [
        name for name in before if name != "lock"
    ]


def test_a_copy_is_a_store_with_the_same_bytes_and_a_second_one_writes_no_part_again(root, tmp_path):
    target = tmp_path / "backup"
    first = copy(root, target)
    assert (first.values, first.versions) == (3, 4)
    assert list(check(target)) == []
    ours, theirs = ModelStore(root).head("m"), ModelStore(target).head("m")
    assert theirs.manifest == ours.manifest
    np.testing.assert_array_equal(theirs.state().day_asset["returns"], ours.state().day_asset["returns"])
    assert PortfolioStore(target).get("core").holdings == PortfolioStore(root).get("core").holdings
    ModelStore(root).commit("m", state(42, 1), base=3, request_id="r4", operation="append_day", append=True)
    second = copy(root, target)
    assert second.files == 2  # the new days and the new latest
    assert len(ModelStore(target).head("m").dates) == 43


def test_a_copy_restores_into_an_empty_place(root, tmp_path):
    copy(root, tmp_path / "backup")
    shutil.rmtree(root)
    copy(tmp_path / "backup", root)
    assert ModelStore(root).ids() == ["m", "other"]
    assert PortfolioStore(root).ids() == ["core"]
    ModelStore(root).commit("m", state(42, 1), base=3, request_id="r4", operation="append_day", append=True)


def test_a_copy_beside_a_writer_is_whole_each_time(root, tmp_path):
    over = threading.Event()

    def write():
        models, at = ModelStore(root, keep_versions=2), 42
        while not over.is_set():
            models.commit("m", state(at, 1), base=at - 39, request_id=f"w{at}", operation="append_day", append=True)
            at += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for number in range(10):
            target = tmp_path / f"backup{number}"
            copy(root, target)
            assert list(check(target)) == []
            assert len(ModelStore(target).head("m").dates) >= 42
    finally:
        over.set()
        writer.join()


def test_a_copy_that_was_cut_off_has_no_model_that_is_not_whole(root, tmp_path, monkeypatch):
    target = tmp_path / "backup"
    from store.files import FolderFiles

    real, left = FolderFiles.put, [3]

    def fails(*given, **named):
        if not left[0]:
            raise OSError("the cable was pulled")
        left[0] -= 1
        return real(*given, **named)

    monkeypatch.setattr(FolderFiles, "put", fails)
    with pytest.raises(OSError, match="cable"):
        copy(root, target)
    assert list(check(target)) == [] or ModelStore(target).ids() == []
    monkeypatch.undo()
    copy(root, target)
    assert list(check(target)) == []
    assert ModelStore(target).ids() == ["m", "other"]


@pytest.mark.parametrize("harm", ["torn", "missing", "head"])
@pytest.mark.parametrize("before", [True, False])
def test_a_damaged_model_is_named_holds_up_no_other_and_tears_no_part_of_a_backup(root, tmp_path, capsys, harm, before):
    target = tmp_path / "backup"
    if before:
        copy(root, target)
        ModelStore(root).commit("m", state(42, 1), base=3, request_id="r4", operation="append_day", append=True)
    first = folder_of(root) / "parts" / ModelStore(root).head("m").manifest.blocks[0].part.file
    newest = newest_part(root)
    if harm == "torn":
        newest.write_bytes(newest.read_bytes()[:-8])
        first.write_bytes(first.read_bytes()[:-8])
    elif harm == "missing":
        newest.unlink()
    else:
        (folder_of(root) / "manifest.json").write_text("{")
    assert command(["copy", str(root), str(target)]) == 1
    assert "m is damaged and was left as the copy had it: " in capsys.readouterr().out
    assert list(check(target)) == []
    assert ModelStore(target).ids() == (["m", "other"] if before else ["other"])
    assert PortfolioStore(target).ids() == ["core"]
    if before:
        days = ModelStore(target).head("m").state().day_asset["returns"]
        np.testing.assert_array_equal(days, np.arange(42)[:, None] + np.array([0.0, 0.5]))


def test_a_first_commit_that_was_cut_off_is_no_model_and_no_damage_and_its_parts_go(root, tmp_path, capsys):
    cut = folder_of(root, "cut") / "parts"
    cut.mkdir(parents=True)
    (cut / "days-0.bin").write_bytes(b"x" * 100)
    (cut / "days-1.bin").write_bytes(b"of one under way")
    os.utime(cut / "days-0.bin", (0, 0))
    assert command(["check", str(root)]) == 0
    assert command(["repair", str(root)]) == 0
    assert command(["copy", str(root), str(tmp_path / "backup")]) == 0
    assert ModelStore(tmp_path / "backup").ids() == ["m", "other"]
    ModelStore(root).tidy()
    assert [path.name for path in cut.iterdir()] == ["days-1.bin"]


def test_what_cannot_be_copied_is_named(root, tmp_path):
    with pytest.raises(InvalidInput, match="no store"):
        copy(tmp_path / "nothing", tmp_path / "backup")
    with pytest.raises(InvalidInput, match="one store"):
        copy(root, root)


def test_the_commands_exit_codes_and_words(root, tmp_path, capsys):
    assert command(["check", str(root)]) == 0
    assert "nothing is damaged" in capsys.readouterr().out
    newest_part(root).unlink()
    assert command(["check", str(root)]) == 1
    assert "missing: models/m/parts/" in capsys.readouterr().out
    assert command(["repair", "--dry-run", str(root)]) == 1
    assert "would be what version 2 was, 1 days fewer" in capsys.readouterr().out
    assert command(["repair", str(root)]) == 0
    assert "m: version 4 is what version 2 was" in capsys.readouterr().out
    assert command(["copy", str(root), str(tmp_path / "b")]) == 0  # without version 3, which still lacks its part
    assert command(["check", str(tmp_path / "b")]) == 0
    assert command(["copy", str(tmp_path / "absent"), str(tmp_path / "c")]) == 2
    assert command(["check", str(tmp_path / "absent")]) == 2


def test_a_head_that_cannot_be_read_is_found_by_check_and_by_the_store(root):
    (folder_of(root) / "manifest.json").write_text("{")
    assert [(one.kind, one.version) for one in check(root)] == [("unreadable", 0)]
    with pytest.raises(ModelUnreadable):
        ModelStore(root).head("m")
    assert json.loads((folder_of(root, "other") / "manifest.json").read_text())["version"] == 1
