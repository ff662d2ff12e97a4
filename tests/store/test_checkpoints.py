"""Checkpoints: as many as may be, as far apart as they must, and days that go on from the first days of a version."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.errors import ModelUnreadable
from store import Checkpoint, Ground, ModelStore, StoredState
from store.checkpoints import apart, due, kept, stops
from store.copy import copy
from store.damage import check
from store.repair import repair

NAMES = ("A", "B", "C")


def state(first: int, n_dates: int, fill: float = 0.0, n_names: int = 3) -> StoredState:
    dates = np.datetime64("2020-01-01", "D") + np.arange(first, first + n_dates)
    values = fill + first + np.arange(n_dates)[:, None] + np.arange(n_names) / 100
    latest = {"carried/sums": np.array([first + n_dates, fill])}
    return StoredState(dates, NAMES[:n_names], {"returns": values}, {"market": values[:, 0]}, latest, {})


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path, keep_versions=3, checkpoint_days=10, checkpoints=4)


def created(store: ModelStore, n_dates: int):
    marks = [store.keep("m", n, 3, state(0, n).latest) for n in store.stops(n_dates)]
    return store.commit(
        "m", state(0, n_dates), base=0, request_id="r", operation="create_model", checkpoints=marks
    )  # fmt: skip


def corrected(store: ModelStore, had: int, n_dates: int, fill: float, request_id: str):
    head = store.head("m").manifest.version
    marks = [store.keep("m", n, 3, state(0, n, fill).latest) for n in store.stops(n_dates, had)]
    return store.commit(
        "m", state(had, n_dates - had, fill), base=head, request_id=request_id, operation="correct_days", append=True,
        onto=Ground(head, had), checkpoints=marks,
    )  # fmt: skip


@given(st.integers(0, 3000), st.integers(1, 80), st.integers(1, 40))
def test_checkpoints_are_few_enough_and_no_further_apart_than_that_asks(n_dates, every, most):
    found = [Checkpoint(n, 1, "", 0) for n in stops(n_dates, every, most)]
    if due(found, n_dates, every, most):
        found.append(Checkpoint(n_dates, 1, "", 0))
    rows = [one.n_dates for one in kept(found, n_dates, every, most)]
    step = apart(n_dates, every, most)
    assert len(rows) <= most
    assert all(later - earlier == step for earlier, later in pairwise([0, *rows]))
    assert n_dates - (rows[-1] if rows else 0) < step
    assert step == every or n_dates // (step // 2) > most


def test_none_are_wanted_where_their_number_or_distance_is_0():
    assert stops(900, 0, 32) == stops(900, 63, 0) == []
    assert not due([], 900, 0, 32)
    assert kept([Checkpoint(63, 1, "", 0)], 900, 63, 0) == ()


def test_days_that_are_added_one_by_one_leave_as_many_checkpoints_as_one_fit(store):
    version = store.commit("m", state(0, 3), base=0, request_id="r", operation="create_model")
    for n in range(3, 95):
        version = store.commit(
            "m", state(n, 1), base=version.manifest.version, request_id=f"a{n}", operation="append_day", append=True
        )
    rows = [one.n_dates for one in version.manifest.checkpoints]
    assert rows == store.stops(95) == [20, 40, 60, 80]
    found = version.state_at(version.manifest.checkpoints[1], 2)
    np.testing.assert_array_equal(found.latest["carried/sums"], [rows[1], 0.0])
    np.testing.assert_array_equal(found.dates, version.dates[rows[1] - 2 : rows[1]])
    named = {path.name for path in (store.root / "m" / "parts").glob("checkpoint-*")}
    assert {one.file for one in version.manifest.checkpoints} <= named


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 99), st.integers(0, 3)), min_size=1, max_size=12))
def test_any_corrections_and_appends_read_as_the_days_that_they_left(tmp_path_factory, changes):
    store = ModelStore(tmp_path_factory.mktemp("store"), keep_versions=2, checkpoint_days=10, checkpoints=4)
    version = created(store, 60)
    truth = state(0, 60).day_asset["returns"]
    for number, (at, n_more) in enumerate(changes):
        had = at % len(truth)
        if had:
            version = corrected(store, had, len(truth), number + 0.5, f"c{number}")
            truth = np.concatenate([truth[:had], state(had, len(truth) - had, number + 0.5).day_asset["returns"]])
        for more in range(n_more):
            day = state(len(truth), 1)
            head = version.manifest.version
            version = store.commit(
                "m", day, base=head, request_id=f"a{number}-{more}", operation="append_day", append=True
            )
            truth = np.concatenate([truth, day.day_asset["returns"]])
        np.testing.assert_array_equal(version.day_asset("returns"), truth)
        np.testing.assert_array_equal(version.day("market"), truth[:, 0])
        assert version.manifest.n_dates == len(truth) == len(version.dates)
        assert version.manifest.blocks[-1].last_date == str(version.dates[-1])
        for one in version.manifest.checkpoints:
            np.testing.assert_array_equal(version.state_at(one, 5).day_asset["returns"][-1], truth[one.n_dates - 1])
        # What was replaced lies behind the days of few parts, and takes no more room than they do.
        rows = [block.part.arrays["dates"].shape[0] for block in version.manifest.blocks]
        assert sum(rows) <= 2 * len(truth)
    assert list(check(store.root.parent)) == []


def test_the_first_days_of_a_wider_model_have_the_names_of_their_time(store):
    store.commit("m", state(0, 12, n_names=2), base=0, request_id="r", operation="create_model")
    version = store.commit("m", state(12, 20), base=1, request_id="a", operation="append_day", append=True)
    assert [(one.n_dates, one.n_assets) for one in version.manifest.checkpoints] == [(12, 2), (32, 3)]
    found = version.state_at(version.manifest.checkpoints[0], 4)
    assert found.symbols == ("A", "B")
    assert found.day_asset["returns"].shape == (4, 2)


def test_a_damaged_checkpoint_is_named_and_left_out_and_loses_no_day(store, tmp_path):
    version = created(store, 35)
    file = version.folder / version.manifest.checkpoints[1].file
    whole = file.read_bytes()
    file.write_bytes(whole[:-1])
    assert [(one.kind, one.version) for one in check(tmp_path)] == [("torn", 1)]
    with pytest.raises(ModelUnreadable, match="checkpoint"):
        version.state_at(version.manifest.checkpoints[1], 1)
    (done,) = repair(tmp_path)
    assert (done.version, done.of, done.days_lost) == (2, 1, 0)
    assert [one.n_dates for one in store.head("m").manifest.checkpoints] == [10, 30]
    assert list(check(tmp_path)) == [] or [one.version for one in check(tmp_path)] == [1]


def test_a_copy_has_the_checkpoints(store, tmp_path):
    version = created(store, 35)
    copy(tmp_path, tmp_path / "copy")
    ours, theirs = version, ModelStore(tmp_path / "copy").head("m")
    assert theirs.manifest.checkpoints == ours.manifest.checkpoints
    for one in ours.manifest.checkpoints:
        np.testing.assert_array_equal(
            theirs.state_at(one, 1).latest["carried/sums"], ours.state_at(one, 1).latest["carried/sums"]
        )


def test_checkpoints_that_no_version_names_are_swept(store, monkeypatch):
    created(store, 35)
    store.keep("m", 10, 3, state(0, 10).latest)
    monkeypatch.setattr("store.model_store.SWEEP_AGE_S", -1.0)
    for n in range(35, 45):
        head = store.head("m").manifest.version
        version = store.commit("m", state(n, 1), base=head, request_id=f"a{n}", operation="append_day", append=True)
    named = set().union(*(manifest.files for manifest in store.kept("m")))
    assert {path.name for path in version.folder.glob("*.bin")} == named
