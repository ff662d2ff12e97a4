"""Factor returns of posted frames with the Gram matrices of a device: MLX in float32, here on its CPU back end."""

import numpy as np
import polars as pl
import pytest
from fixtures_actors import ask, start

from actors.workloads.factor_returns_estimation import FactorReturnsEstimation
from contracts import requests as rq
from contracts.errors import InvalidInput
from contracts.frames import encode
from contracts.settings import settings
from contracts.work import Device
from devices.dispatch import Dispatcher
from devices.lanes import ThreadLane
from tests.devices.favoured import favouring

GPU = Device.METAL_GPU
N_DATES, N_ASSETS = 140, 50


@pytest.fixture(scope="module")
def request_():
    rng = np.random.default_rng(0)
    dates = np.repeat(np.datetime64("2020-01-01") + np.arange(N_DATES), N_ASSETS)
    base = pl.DataFrame({"date": pl.Series(dates), "symbol": [f"S{i}" for i in range(N_ASSETS)] * N_DATES})
    n = len(dates)
    styles, sector = rng.standard_normal((n, 4)), np.tile(np.arange(N_ASSETS) % 3, N_DATES)
    y = 0.02 * rng.standard_normal(n) + styles @ [0.01, -0.004, 0.002, 0.0]
    return rq.FactorReturns(
        returns_df=encode(base.with_columns(asset_returns=pl.Series(y))),
        market_cap_df=encode(base.with_columns(market_cap=pl.Series(np.exp(rng.normal(22, 1.5, n))))),
        sector_df=encode(base.with_columns([pl.Series(f"k{k}", (sector == k).astype(float)) for k in range(3)])),
        style_df=encode(base.with_columns([pl.Series(f"s{k}", styles[:, k]) for k in range(4)])),
    )


@pytest.fixture
def actor(tmp_path, monkeypatch):
    monkeypatch.setenv("FACTOR_ENGINE_STORE_DIR", str(tmp_path))
    # A busy machine may be slower than a device is waited for.
    monkeypatch.setattr("devices.dispatch.LEAST_PATIENCE_S", 60.0)
    settings.cache_clear()
    yield start(FactorReturnsEstimation)
    settings.cache_clear()


def test_a_device_computes_the_matrices_and_the_returns_are_those_of_float64(actor, request_):
    pytest.importorskip("mlx.core")
    from devices import metal

    right = ask(actor.factor_returns, request_)
    assert right.device is Device.CPU
    assert actor.devices.told()["answered"] == {}, "on a CPU alone they are no step of their own"
    lane = ThreadLane(metal, "test")
    actor.devices = favouring(Dispatcher({GPU: lane}), GPU)
    try:
        made = ask(actor.factor_returns, request_)
    finally:
        lane.close()
    assert made.device is GPU
    # Of three blocks of dates the first is compared.
    assert actor.devices.told()["answered"] == {"cpu": 1, "metal_gpu": 2}
    assert 0.0 < actor.devices.standing.error(GPU, "grams") < 1e-5
    for given, expected in zip(made.details["history"]["data"], right.details["history"]["data"], strict=True):
        assert given[0] == expected[0]
        np.testing.assert_allclose(given[1:], expected[1:], rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("what", ["raises", "is far off", "gives none"])
def test_whatever_the_device_does_the_returns_are_right(actor, request_, what):
    right = ask(actor.factor_returns, request_)

    class Faulty:
        calls = 0

        @classmethod
        def grams(cls, X, weights, y):
            cls.calls += 1
            if what == "raises":
                raise RuntimeError("no stream in this thread")
            left = np.einsum("tni,tn,tnj->tij", X, weights, X) * (2.0 if what == "is far off" else 1.0)
            return left, np.einsum("tni,tn->ti", X, weights * y) * (np.nan if what == "gives none" else 1.0)

    lane = ThreadLane(Faulty, "test")
    actor.devices = favouring(Dispatcher({GPU: lane}), GPU)
    try:
        made = ask(actor.factor_returns, request_)
    finally:
        lane.close()
    assert (made.device, Faulty.calls) == (Device.CPU, 1), "it is not asked again"
    np.testing.assert_allclose(list(made.values.values()), list(right.values.values()), rtol=1e-8, atol=1e-12)


def test_bad_frames_are_refused_as_on_the_cpu(actor, request_):
    lane = ThreadLane(object, "test")
    actor.devices = favouring(Dispatcher({GPU: lane}), GPU)
    try:
        with pytest.raises(InvalidInput) as refused:
            ask(actor.factor_returns, request_.model_copy(update={"style_df": None}))
    finally:
        lane.close()
    assert refused.value.field == "style_df"
