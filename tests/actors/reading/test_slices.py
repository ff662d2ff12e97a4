"""Slices of models as both lanes of an actor read them."""

import sys
import threading

import numpy as np
import pytest

from actors.reading import slices as module
from actors.reading.slices import Day, Slices, exposures_over
from factors.panel.memberships import SHARES, label_of
from store import ModelStore, StoredState

N_DATES = 4


@pytest.fixture
def store(tmp_path):
    """One model of three names on four dates."""
    shape = (N_DATES, 3)
    meta = {"factor_names": ["market", "size"], "style_names": ["size"], "category_names": {}, "cleaned": []}
    state = StoredState(
        np.datetime64("2024-01-02", "D") + np.arange(N_DATES),
        ("A", "B", "C"),
        {"scores": np.zeros((N_DATES, 1, 3)), "fields/market_cap": np.ones(shape)},
        {},
        {"factor_covariance": np.eye(2)},
        meta,
    )
    store = ModelStore(tmp_path)
    store.commit("m", state, base=0, request_id="r", operation="create_model")
    return store


def test_two_lanes_that_read_more_slices_than_are_kept_never_meet_one_that_was_let_go(store, monkeypatch):
    """A slice goes between the look at it and the note that it was used: a KeyError when that is two steps."""
    monkeypatch.setattr(module, "SLICES_KEPT", 1)
    slices = Slices(store)
    days = [store.head("m").date(row).item() for row in range(2)]
    wrong = []

    def read(day):
        try:
            for other in (day, day, days[0], day) * 5000:
                assert slices.at("m", other).date.item() == other
        except Exception as error:  # noqa: BLE001  (whatever a lane would answer with a 500)
            wrong.append(error)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        lanes = [threading.Thread(target=read, args=(day,)) for day in days]
        for lane in lanes:
            lane.start()
        for lane in lanes:
            lane.join()
    finally:
        sys.setswitchinterval(before)
    assert wrong == []
    assert slices.counters["slice_evictions"] > 0


def test_exposures_of_some_names_over_days_are_those_of_each_day(tmp_path):
    rng = np.random.default_rng(0)
    caps = rng.uniform(-1.0, 3.0, (N_DATES, 4))
    caps[2, 1] = np.nan
    scores = np.where(rng.random((N_DATES, 2, 4)) < 0.2, np.nan, rng.normal(size=(N_DATES, 2, 4)))
    sectors = rng.integers(-1, 2, (N_DATES, 4)).astype(np.int16)
    several = rng.integers(-1, 1, (N_DATES, 4)).astype(np.int16)
    meta = {
        "factor_names": ["market", "x", "y", "a", "b"], "style_names": ["a", "b"], "cleaned": [],
        "category_names": {"sector": ["x", "y"], SHARES: [label_of({"x": 0.25, "y": 0.75})]},
    }  # fmt: skip
    arrays = {
        "scores": scores, "fields/market_cap": caps, "category/sector": sectors, f"category/{SHARES}": several,
    }  # fmt: skip
    dates = np.datetime64("2024-01-02", "D") + np.arange(N_DATES)
    state = StoredState(dates, tuple("ABCD"), arrays, {}, {}, meta)
    version = ModelStore(tmp_path).commit("m", state, base=0, request_id="r", operation="create_model")
    columns = np.array([3, 1, 0])
    over = exposures_over(version, slice(1, 4), columns)
    for found, row in zip(over, range(1, 4), strict=True):
        np.testing.assert_array_equal(found, Day(version, row).exposures_of(columns))
    assert np.isnan(over).any()
    assert 0.25 in over


def test_what_was_found_and_what_had_to_be_loaded_is_counted(store):
    slices = Slices(store)
    assert slices.at("m") is slices.at("m")
    assert slices.counters == {"slice_hits": 1, "slice_loads": 1, "slice_evictions": 0}
