"""Risk models whose draws' products a device makes, decomposed by the CPU: MLX in float32, here on its CPU back end."""

import numpy as np
import pytest
from fixtures_actors import ask

from actors.reading.risk_path import RiskPaths
from contracts import portfolio_requests as pq
from contracts import requests as rq
from contracts.work import Device
from devices import cpu
from devices.dispatch import Dispatcher
from devices.draws import draw_products
from devices.lanes import ThreadLane
from factors.risk.covariance import FactorCovariance
from tests.devices.favoured import favouring

CPU, GPU = Device.CPU, Device.METAL_GPU
BEGIN, FIRST, LAST = 40, 150, 180


@pytest.fixture
def with_device(monkeypatch):
    """Give an actor a device that is thought the fastest whenever it may be asked."""
    lanes = []
    # A busy machine may be slower than a device is waited for.
    monkeypatch.setattr("devices.dispatch.LEAST_PATIENCE_S", 60.0)

    def give(actor, module, fastest=GPU):
        lanes.append(ThreadLane(module, "test"))
        monkeypatch.setattr(actor, "devices", favouring(Dispatcher({GPU: lanes[-1]}), fastest))
        return actor

    yield give
    for lane in lanes:
        lane.close()


@pytest.fixture
def metal():
    pytest.importorskip("mlx.core")
    from devices import metal

    return metal


def model_of(fitted, last=LAST):
    period = {"start_date": fitted.dates_[BEGIN].item(), "end_date": fitted.dates_[last].item()}
    return rq.RiskModel(model_id="m", **period)


def history_of(fitted, steady):
    period = {"start_date": fitted.dates_[FIRST].item(), "end_date": fitted.dates_[LAST].item()}
    return pq.RiskHistory(model_id="m", portfolio_weights={steady[0]: 0.5, steady[1]: 0.5}, **period)


def test_on_a_cpu_alone_the_answers_have_the_bits_of_the_estimator_and_no_product_is_a_step(
    fitted, risks, books, steady
):
    own = FactorCovariance(fitted.settings.factor_covariance)
    returns = np.where(np.isfinite(fitted.standard_errors_), fitted.factor_returns_, np.nan)
    made = ask(risks.risk_model, model_of(fitted))
    assert made.device is CPU
    assert made.values["factor_covariance"] == own.fit(returns[BEGIN : LAST + 1]).covariance_.tolist()
    daily = own.fit(returns[:FIRST])
    expected = [daily.update(returns[t]).covariance_ for t in range(FIRST, LAST + 1)]
    version = risks.slices.head("m")
    covariances, _ = RiskPaths().of(version, slice(FIRST, LAST + 1))
    np.testing.assert_array_equal(covariances, expected)
    assert ask(books.risk_history, history_of(fitted, steady)).device is CPU
    for actor in (risks, books):
        assert draw_products(actor.devices) is None
        assert "covariances" not in {row["kernel"] for row in actor.devices.model.table()}


def test_a_device_makes_the_products_of_a_risk_model_and_seven_digits_are_the_cpus(fitted, risks, metal, with_device):
    right = ask(risks.risk_model, model_of(fitted)).values
    actor = with_device(risks, metal)
    made = [ask(actor.risk_model, model_of(fitted)) for _ in range(2)][1]
    assert made.device is GPU
    given, expected = (np.array(values["factor_covariance"]) for values in (made.values, right))
    assert 0.0 < np.abs(given - expected).max() <= 1e-7 * np.abs(expected).max()
    assert 0.0 < actor.devices.standing.error(GPU, "covariances") < 1e-6
    # All draws of days with as many factors are one call, and the very first is compared.
    assert actor.devices.told()["answered"] == {"cpu": 1, "metal_gpu": 3}


def test_where_the_cpu_is_the_faster_beside_a_device_its_bits_are_the_same(fitted, risks, metal, with_device):
    right = ask(risks.risk_model, model_of(fitted)).values["factor_covariance"]
    actor = with_device(risks, metal, fastest=CPU)
    made = ask(actor.risk_model, model_of(fitted))
    assert (made.device, made.values["factor_covariance"]) == (CPU, right)


def test_a_device_makes_the_products_of_a_history_of_risk(fitted, books, steady, metal, with_device, monkeypatch):
    request = history_of(fitted, steady)
    monkeypatch.setattr(books, "paths", RiskPaths())
    right = ask(books.risk_history, request).values
    actor = with_device(books, metal)
    for _ in range(2):
        monkeypatch.setattr(actor, "paths", RiskPaths())
        made = ask(actor.risk_history, request)
    assert made.device is GPU
    assert actor.devices.told()["answered"]["cpu"] == 1, "the very first is compared"
    assert made.values["dates"] == right["dates"]
    np.testing.assert_allclose(made.values["total_risk"], right["total_risk"], rtol=1e-7)
    assert made.values["total_risk"] != right["total_risk"], "it is the device's"


@pytest.mark.parametrize("what", ["raises", "is far off", "gives none"])
def test_whatever_the_device_does_the_risk_model_is_the_cpus(fitted, risks, with_device, what):
    right = ask(risks.risk_model, model_of(fitted)).values["factor_covariance"]

    class Faulty:
        calls = 0

        @classmethod
        def covariances(cls, returns, weights):
            cls.calls += 1
            if what == "raises":
                raise RuntimeError("no stream in this thread")
            made = cpu.covariances(returns, weights) * (1.001 if what == "is far off" else 1.0)
            return made * (np.nan if what == "gives none" else 1.0)

    actor = with_device(risks, Faulty)
    for _ in range(2):
        made = ask(actor.risk_model, model_of(fitted))
        assert (made.device, made.values["factor_covariance"]) == (CPU, right)
    assert Faulty.calls == 1, "it is not asked again"
