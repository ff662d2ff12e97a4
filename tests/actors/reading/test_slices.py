"""Slices of models as both lanes of an actor read them."""

import sys
import threading

import numpy as np
import pytest

from actors.reading import slices as module
from actors.reading.slices import Slices
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


def test_what_was_found_and_what_had_to_be_loaded_is_counted(store):
    slices = Slices(store)
    assert slices.at("m") is slices.at("m")
    assert slices.counters == {"slice_hits": 1, "slice_loads": 1, "slice_evictions": 0}
