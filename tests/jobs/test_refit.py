import asyncio
import json
from dataclasses import replace

import numpy as np
import orjson
import pytest

from actors.reading.states import model_of, state_of
from bus.outbox import Outbox
from contracts.errors import InvalidInput, UnknownModel, VersionConflict
from contracts.operations import OPERATIONS
from contracts.results import CalculationResult
from contracts.settings import settings
from factors.errors import FactorError
from factors.factor_model.model import FactorModel
from factors.factor_model.settings import ModelSettings
from factors.panel.intake import Intake
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
    assert [line.split(", ")[0] for line in said[1:-1]] == [f"m: {days} of 160 days" for days in (63, 126, 160)]
    head = store.head("m")
    assert head.manifest.operation == "recompute"
    np.testing.assert_array_equal(np.asarray(head.day("factor_returns")), fitted.factor_returns_)


def test_changed_settings_are_taken_and_kept_with_the_version(store):
    recompute("m", {"factor_covariance": {"window": 60}}, "changed", print)
    assert store.head("m").manifest.meta["settings"]["factor_covariance"]["window"] == 60


def test_repeating_a_job_makes_no_second_version(store):
    said = []
    first = recompute("m", {}, "once", said.append)
    assert len(said) == 5
    again = recompute("m", {}, "once", said.append)
    assert again.made == first.made
    assert again.calculation_id == first.calculation_id
    assert said[5:] == ["m: this job made version 2 before"], "and fits nothing"
    assert store.head("m").manifest.version == 2


def test_an_id_that_another_job_had_is_refused_and_changes_nothing(store):
    recompute("m", {}, "once", print)
    with pytest.raises(InvalidInput, match="made version 2 of m with other settings") as told:
        recompute("m", {"factor_covariance": {"window": 60}}, "once", print)
    assert told.value.field == "request_id"
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
        name = next(others, None) if "160 of 160" in line else None
        if name:
            store.commit("m", state_of(fitted), base=1, request_id=name, operation="append_day")

    assert recompute("m", {}, "patient", interfere).made.model_version == 3


def test_a_model_that_never_rests_ends_the_job_with_the_conflict(store, fitted):
    def interfere(line: str) -> None:
        if "160 of 160" in line:
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


@pytest.fixture(scope="module")
def split():
    """A market in which the shares of one name tell of a split on one day, and no column does."""
    panel = sample_market(n_assets=40, n_days=160).panel
    fields = {name: values.copy() for name, values in panel.fields.items()}
    whole = np.isfinite(fields["close"]).all(axis=0) & np.isfinite(fields["market_cap"]).all(axis=0)
    at = int(np.flatnonzero(whole)[0])
    fields["shares"][80:, at] *= 4.0
    fields["close"][80:, at] /= 4.0
    return FactorModel(ModelSettings(intake=Intake(policy="strict"))), replace(panel, fields=fields)


def test_a_refit_finds_again_what_was_found_and_leaves_checkpoints_to_correct_from(store, split):
    model, panel = split
    model.set_panel(panel, "warn").fit()
    store.commit("s", state_of(model), base=0, request_id="first", operation="create_model")
    recompute("s", {}, "again", print)
    head = store.head("s")
    again = model_of(head)
    assert {"split_inferred"} <= {finding.kind for finding in again.quality_.findings}
    assert again.quality_ == model.quality_
    for name, values in model.panel_.fields.items():
        np.testing.assert_array_equal(again.panel_.fields[name], values, err_msg=name)
    assert [one.n_dates for one in head.manifest.checkpoints] == [63, 126]
    carried, fresh = again.state().latest, model.state().latest
    for name in carried.keys() & fresh.keys():
        np.testing.assert_array_equal(carried[name], fresh[name], err_msg=name)


def test_a_model_of_a_strict_policy_is_fitted_again_though_its_days_have_errors(store, split):
    model, panel = split
    fields = {name: values.copy() for name, values in panel.fields.items()}
    fields["close"][100, 3] = -1.0
    model.set_panel(replace(panel, fields=fields), "warn").fit()
    store.commit("e", state_of(model), base=0, request_id="first", operation="create_model")
    assert model.quality_.errors
    recompute("e", {}, "again", print)
    assert model_of(store.head("e")).quality_ == model.quality_
