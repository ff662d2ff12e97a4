import numpy as np
import pytest

from actors.reading.states import state_of
from contracts.errors import UnknownModel, VersionConflict
from contracts.settings import settings
from factors.errors import FactorError
from factors.factor_model.model import FactorModel
from factors.sample.market import sample_market
from jobs.recompute import recompute
from store import ModelStore


@pytest.fixture(scope="module")
def fitted():
    return FactorModel().fit(sample_market(n_assets=40, n_days=160).panel)


@pytest.fixture
def store(tmp_path, monkeypatch, fitted):
    monkeypatch.setenv("FACTOR_ENGINE_RUN_DIR", str(tmp_path))
    settings.cache_clear()
    store = ModelStore(settings().store_path)
    store.commit("m", state_of(fitted), base=0, request_id="first", operation="create_model")
    yield store
    settings.cache_clear()


def test_recomputing_under_the_same_settings_gives_the_same_model_as_a_new_version(store, fitted):
    said = []
    made = recompute("m", {}, "again", said.append)
    assert made["model_version"] == 2
    assert made["n_dates"] == 160
    assert [line for line in said if "of 4" in line] == said[1:5]
    head = store.head("m")
    assert head.manifest.operation == "recompute"
    np.testing.assert_array_equal(np.asarray(head.day("factor_returns")), fitted.factor_returns_)


def test_changed_settings_are_taken_and_kept_with_the_version(store):
    recompute("m", {"factor_covariance": {"window": 60}}, "changed", print)
    assert store.head("m").manifest.meta["settings"]["factor_covariance"]["window"] == 60


def test_repeating_a_job_makes_no_second_version(store):
    assert recompute("m", {}, "once", print)["model_version"] == 2
    assert recompute("m", {}, "once", print)["model_version"] == 2
    assert store.head("m").manifest.version == 2


def test_a_commit_in_between_makes_the_job_start_again_from_there(store, fitted):
    others = iter(["other"])

    def interfere(line: str) -> None:
        name = next(others, None) if "4 of 4" in line else None
        if name:
            store.commit("m", state_of(fitted), base=1, request_id=name, operation="append_day")

    assert recompute("m", {}, "patient", interfere)["model_version"] == 3


def test_a_model_that_never_rests_ends_the_job_with_the_conflict(store, fitted):
    def interfere(line: str) -> None:
        if "4 of 4" in line:
            at = store.head("m").manifest.version
            store.commit("m", state_of(fitted), base=at, request_id=f"o{at}", operation="append_day")

    with pytest.raises(VersionConflict):
        recompute("m", {}, "hopeless", interfere)


def test_an_unknown_model_and_unknown_settings_are_refused(store):
    with pytest.raises(UnknownModel):
        recompute("nobody", {}, "r", print)
    with pytest.raises(FactorError):
        recompute("m", {"no_such_setting": 1}, "r", print)
    assert store.head("m").manifest.version == 1
