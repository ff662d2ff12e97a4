import asyncio
import json

import numpy as np
import orjson
import pytest

from actors.reading.states import state_of
from bus.outbox import Outbox
from contracts.errors import UnknownModel, VersionConflict
from contracts.operations import OPERATIONS
from contracts.results import CalculationResult
from contracts.settings import settings
from factors.errors import FactorError
from factors.factor_model.model import FactorModel
from factors.sample.market import sample_market
from jobs.refit import publish, recompute
from router.client import RouterClient
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
    line = recompute("m", {}, "again", said.append).line()
    assert (line["model_id"], line["model_version"], line["n_dates"]) == ("m", 2, 160)
    assert [line for line in said if "of 4" in line] == said[1:5]
    head = store.head("m")
    assert head.manifest.operation == "recompute"
    np.testing.assert_array_equal(np.asarray(head.day("factor_returns")), fitted.factor_returns_)


def test_changed_settings_are_taken_and_kept_with_the_version(store):
    recompute("m", {"factor_covariance": {"window": 60}}, "changed", print)
    assert store.head("m").manifest.meta["settings"]["factor_covariance"]["window"] == 60


def test_repeating_a_job_makes_no_second_version(store):
    said = []
    first = recompute("m", {}, "once", said.append)
    assert len(said) == 6
    again = recompute("m", {}, "once", said.append)
    assert again.made == first.made
    assert again.calculation_id == first.calculation_id
    assert said[6:] == ["m: this job made version 2 before"], "and fits nothing"
    assert store.head("m").manifest.version == 2


def test_the_event_of_a_job_is_the_calculation_result_of_any_change_of_a_model(store):
    made = recompute("m", {}, "told", print)
    told = asyncio.run(publish(made, RouterClient(), connected=True))
    box = Outbox.of(settings())
    (event,) = [stored.event for stored in box.read(0, 10)]
    box.close()
    assert (event.subject, event.type) == ("factor.model_created.m", "FACTOR_MODEL_UPDATED")
    data = orjson.loads(event.data)
    assert CalculationResult.model_validate(data)
    assert {name: data[name] for name in told if name != "timings_ms"} == json.loads(
        orjson.dumps({name: value for name, value in told.items() if name != "timings_ms"}, default=str)
    )
    assert (data["model_id"], data["model_version"], data["messagebus_published"]) == ("m", 2, True)
    assert data["factor_type"] == OPERATIONS["append_day"].factor_type
    assert data["factor_values"]["n_dates"] == 160


def test_a_repeated_job_gives_its_event_the_same_id_and_another_job_another(store):
    for request_id in ("once", "once", "twice"):
        asyncio.run(publish(recompute("m", {}, request_id, print), RouterClient(), connected=False))
    box = Outbox.of(settings())
    ids = [stored.event.id for stored in box.read(0, 10)]
    box.close()
    assert ids[0] == ids[1] != ids[2]


def test_a_commit_in_between_makes_the_job_start_again_from_there(store, fitted):
    others = iter(["other"])

    def interfere(line: str) -> None:
        name = next(others, None) if "4 of 4" in line else None
        if name:
            store.commit("m", state_of(fitted), base=1, request_id=name, operation="append_day")

    assert recompute("m", {}, "patient", interfere).made.model_version == 3


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
