"""The job that trains a network on momentum: what it says is what it measured, and what it registers predicts so."""

import json

import numpy as np
import pytest

from actors.learning.estimators import Estimators
from actors.learning.operations import Learning
from actors.reading.slices import Slices
from actors.reading.states import state_of
from contracts import learning_requests as lr
from contracts.operations import OPERATIONS
from contracts.settings import settings
from contracts.work import Device
from devices import neural_engine
from devices.dispatch import Dispatcher
from devices.lanes import ThreadLane
from factors.factor_model.model import FactorModel
from factors.learning import judge
from factors.sample.market import sample_market
from jobs import ml_momentum as job
from jobs import plan
from store import ModelStore
from store.estimator_store import EstimatorStore
from tests.devices.favoured import favouring

FEATURES = ["jkp_ret_1_0", "jkp_ret_3_1", "jkp_rvol_21d"]
ARGUMENTS = ["--model", "m", "--features", ",".join(FEATURES), "--first", "270", "--epochs", "2", "--hidden", "4"]


class Asked(Learning, Estimators):
    """The part of the library's actor that predicts."""

    def __init__(self, store):  # starts no thread and no lanes, as the actor whole would
        self.settings = settings()
        self.slices = Slices(store)
        self.formulas = plan.formulas_of(self.settings)
        self.devices = Dispatcher({})
        self.open_estimators()

    def _refuse_uncomputable(self, model_id, ids):
        """Nothing is refused."""


@pytest.fixture(scope="module")
def model():
    panel = sample_market(n_assets=40, n_days=330).panel
    return FactorModel().fit(panel.select(fields=[name for name in panel.fields if name != "volume"]))


@pytest.fixture
def store(tmp_path, monkeypatch, model):
    monkeypatch.setenv("FACTOR_ENGINE_RUN_DIR", str(tmp_path / "run"))
    settings.cache_clear()
    plan.formulas_of.cache_clear()
    made = ModelStore(settings().store_path)
    made.commit("m", state_of(model), base=0, request_id="c", operation="create_model")
    yield made
    settings.cache_clear()
    plan.formulas_of.cache_clear()


@pytest.fixture
def asked(store):
    made = Asked(store)
    yield made
    made.keeper.close()


def test_it_judges_what_it_predicted_and_registers_nothing_unasked(store, capsys):
    assert job.main(ARGUMENTS) == 0
    *_, sentence, line = capsys.readouterr().out.splitlines()
    report = json.loads(line)
    assert report["features"] == FEATURES
    assert report["model_version"] == 1
    assert [each["predicts"][0] for each in report["trained"]] == [str(store.head("m").dates[270])]
    assert report["judged"]["own"]["n_dates"] == 330 - 270 - 5
    assert report["judged"]["trials"] == 1
    assert f"{report['judged']['own']['mean']:.4f}" in sentence
    assert ("chance" in sentence) == (report["judged"]["p_adjusted"] >= 0.05)
    assert EstimatorStore(settings().store_path).all() == []


def test_what_is_registered_predicts_the_universe_as_the_network_does(store, asked, capsys):
    version = store.head("m")
    names = job.features_of(version, plan.formulas_of(settings()), FEATURES)
    how = job.WalkForwardSettings(first=270, hidden=(4,), epochs=2)
    made, found, report = job.train(version, settings(), names, how, 3, lambda _: None)
    kept = job.register(made, report, found, settings(), "ml_momentum", "r1")
    assert kept.features == tuple(FEATURES)
    assert job.said(found) in kept.description
    assert "3 trials" in kept.description
    assert job.register(made, report, found, settings(), "ml_momentum", "r1").version == 1, "a repeat makes none"
    answer = asked.predict(lr.Predict(estimator_id="ml_momentum", model_id="m"))
    given = asked.factor_features(lr.FactorFeatures(model_id="m", factors=FEATURES)).values
    whole = {name: list(row.values()) for name, row in given.items() if None not in row.values()}
    expected = dict(zip(whole, made.estimator.predict(np.array(list(whole.values()))), strict=True))
    assert len(expected) > 30
    predictions = dict(answer.values)
    assert {name: predictions[name] for name in expected} == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("device", [Device.METAL_GPU, Device.NEURAL_ENGINE])
def test_a_device_computes_its_predictions_within_the_tolerance(store, asked, device, monkeypatch):
    """Of the kernels of a device that is not here: MLX on its CPU back end, Core ML's programs by value inference."""
    pytest.importorskip("mlx.core" if device is Device.METAL_GPU else "coremltools")
    from devices import metal

    monkeypatch.setattr(neural_engine, "_run", neural_engine.evaluate)
    monkeypatch.setattr("devices.dispatch.LEAST_PATIENCE_S", 60.0)  # a busy machine may be slower than the default
    assert job.main([*ARGUMENTS, "--register"]) == 0
    predict = lr.Predict(estimator_id="ml_momentum", model_id="m")
    right = asked.predict(predict)
    assert right.device is Device.CPU
    lane = ThreadLane(metal if device is Device.METAL_GPU else neural_engine, "test")
    asked.devices = favouring(Dispatcher({device: lane}), device)
    try:
        first, second = asked.predict(predict), asked.predict(predict)
    finally:
        lane.close()
    assert (first.device, second.device) == (Device.CPU, device), "the first is compared"
    (error,) = asked.devices.standing.errors(device).values()
    assert error <= OPERATIONS["predict"].tolerance
    expected, given = dict(right.values), dict(second.values)
    known = [name for name in expected if expected[name] is not None]
    largest = max(abs(expected[name]) for name in known)
    assert len(known) > 30
    assert max(abs(given[name] - expected[name]) for name in known) == pytest.approx(error * largest, rel=1e-6)
    assert any(given[name] != expected[name] for name in known), "it is the device's"


def test_a_network_that_a_job_registered_again_is_the_one_that_predicts(store, asked, capsys):
    seen = []
    for seed in ("1", "2"):
        assert job.main([*ARGUMENTS, "--seed", seed, "--register"]) == 0
        answer = asked.predict(lr.Predict(estimator_id="ml_momentum", model_id="m"))
        seen.append((answer.details["estimator_version"], dict(answer.values)))
    assert [version for version, _ in seen] == [1, 2]
    assert seen[0][1] != seen[1][1]


def test_momentum_alone_is_apart_from_itself_by_nothing(store):
    version = store.head("m")
    how = job.WalkForwardSettings(first=270, hidden=(4,), epochs=2)
    made, _, _ = job.train(version, settings(), FEATURES, how, 1, lambda _: None)
    returns = np.asarray(version.day_asset("fields/returns"), dtype=np.float64)
    same = judge(made.scores, made.scores, returns, how.horizon, 1)
    assert same.difference == 0.0
    assert same.own == same.plain


def test_what_the_data_cannot_compute_is_left_out_where_nobody_asked_for_it(store):
    names = job.features_of(store.head("m"), plan.formulas_of(settings()), [])
    assert "jkp_ret_12_1" in names
    assert "jkp_dolvol_126d" not in names
    assert set(names) < set(job.FEATURES)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--model", "none"], "no model has the id 'none' (field: model_id)"),
        (["--features", "jkp_rte_1_0"], "jkp_rte_1_0: neither a factor of the model"),
        (["--features", "jkp_dolvol_126d"], "cannot compute jkp_dolvol_126d (field: features)"),
        (["--first", "400"], "nothing is left to judge by (field: first)"),
        (["--first", "30"], "train a network: take a later first prediction"),
        (["--horizon", "0"], "horizon must be at least 1"),
    ],
)
def test_what_is_wrong_is_named(store, capsys, more, said):
    assert job.main([*ARGUMENTS, *more]) == 1
    assert said in capsys.readouterr().out
