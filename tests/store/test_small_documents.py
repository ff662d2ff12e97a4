"""Watches and estimators under a request id: repeated, and another one that comes under it."""

import pytest

from contracts.errors import InvalidInput, Unavailable
from store.estimator_store import Estimator, EstimatorStore
from store.watch_store import Watch, WatchStore


def test_a_watch_that_is_put_again_is_the_same_and_another_under_its_id_is_refused(tmp_path):
    store = WatchStore(tmp_path, limit=4)
    first = store.put(Watch("w", "m", factors=("a",), symbols=("A", "B")), "r1")
    assert store.put(Watch("w", "m", factors=("a",), symbols=("A", "B")), "r1") == first
    with pytest.raises(InvalidInput, match="the id is that of another request") as refused:
        store.put(Watch("w", "m", factors=("b",)), "r1")
    assert refused.value.field == "request_id"
    assert store.put(Watch("w", "m", factors=("b",)), "r2").number == 2


def test_an_estimator_that_is_put_again_is_the_same_and_another_file_under_its_id_is_refused(tmp_path):
    store = EstimatorStore(tmp_path)
    made = Estimator("e", "LinearRegression", ("beta",), (), allows_missing=False, saved_by="1.7")
    first = store.put(made, b"file", "r1")
    assert store.put(made, b"file", "r1") == first
    with pytest.raises(InvalidInput, match="the id is that of another request") as refused:
        store.put(made, b"another file", "r1")
    assert refused.value.field == "request_id"
    assert store.put(made, b"another file", "r2").version == 2


def test_a_network_is_kept_beside_its_file_and_goes_with_it(tmp_path):
    store = EstimatorStore(tmp_path)
    made = Estimator("e", "MLPRegressor", ("beta",), (), allows_missing=False, saved_by="1.7")
    kept = store.put(made, b"file", "r1", b"network")
    assert store.network(store.get("e")) == b"network"
    folder = tmp_path / "estimators"
    (path,) = folder.glob("*.network")
    path.write_bytes(b"networ!")
    with pytest.raises(Unavailable, match="was changed"):
        store.network(kept)
    again = store.put(made, b"file", "r2", b"other")  # the same file, read by another release
    assert store.network(again) == b"other"
    assert [p.read_bytes() for p in folder.glob("*.network")] == [b"other"]
    assert store.put(made, b"a linear one", "r3").network == ""
    assert not [*folder.glob("*.network")]
    store.put(made, b"file", "r4", b"network")
    store.delete("e")
    assert not [p for p in folder.iterdir() if p.suffix in (".network", ".skops", ".json")]
