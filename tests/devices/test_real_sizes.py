"""The stated bounds hold on a real market, and for every bucket of sizes that a node is calibrated with."""

import numpy as np
import pytest
from fixtures_real import real_panel

from contracts.work import Device
from devices import neural_engine
from devices.calibration import SIZES
from devices.kernels import KERNELS
from tests.devices.bounds import needs, within_bounds

GPU, NE = Device.METAL_GPU, Device.NEURAL_ENGINE
HORIZONS = (1, 5, 21, 63, 126, 252)
CALIBRATED = [(name, sizes) for name in KERNELS for sizes in SIZES[name]]


@pytest.fixture(autouse=True)
def programs_are_evaluated(monkeypatch):
    monkeypatch.setattr(neural_engine, "_run", neural_engine.evaluate)


@pytest.mark.parametrize("device", [GPU, NE])
@pytest.mark.parametrize(("name", "sizes"), CALIBRATED)
def test_every_calibrated_size_is_within_its_bound(device, name, sizes):
    needs(device)
    within_bounds(device, name, KERNELS[name].sample(sizes, np.random.default_rng(7)))


@pytest.fixture(scope="module")
def market():
    """Arguments of every kernel, of the S&P 500: prices as they stand, names that list late, volumes to 1e9."""
    panel = real_panel()
    close, volume = (np.asarray(panel.fields[field], dtype=float) for field in ("close", "volume"))
    log = np.log(close)
    returns = np.diff(log, axis=0)[-504:]
    moved = np.stack([log[-1] - log[-1 - days] for days in HORIZONS], axis=1)
    assert np.isnan(moved).any(), "a name lists late"
    there = np.isfinite(moved).all(axis=1)
    values = np.where(there, (close[-1] * volume[-1])[None, :], 0.0) * np.array([[1.0], [-0.5], [1e-3]])
    weights = values / np.abs(values).sum(axis=1, keepdims=True)
    F = np.cov(returns[:, there][:, : len(HORIZONS)].T) * 252
    daily = returns[-40:][:, there]
    design = np.broadcast_to(moved[there], (len(daily), int(there.sum()), len(HORIZONS)))
    whole = np.isfinite(returns).all(axis=0)
    histories = np.stack([returns[:, whole][:, first : first + 20] for first in (0, 40, 80)])
    ages = np.broadcast_to(0.5 ** (np.arange(504)[::-1] / 90.0), (3, 504))
    rng = np.random.default_rng(0)
    layers = [
        rng.standard_normal((len(HORIZONS), 16)) / 2.4,
        np.zeros(16),
        rng.standard_normal((16, 1)) / 4.0,
        np.zeros(1),
    ]
    return {
        "exposures": (weights, moved),
        "book_risk": (weights, moved, F),
        "revalue": (weights[:, whole & there], returns[:, whole & there]),
        "grams": (design, np.sqrt(np.broadcast_to(close[-1, there], daily.shape)), daily),
        "covariances": (histories, ages),
        "standardize": (volume[-60:], np.isfinite(volume[-60:]) & np.isfinite(log[-313:-253]), 3.0),
        "network": (moved[there], "ti", *layers),
    }


@pytest.mark.parametrize("device", [GPU, NE])
@pytest.mark.parametrize("name", KERNELS)
def test_a_kernel_stays_within_its_stated_bound_on_a_real_market(device, name, market):
    needs(device)
    within_bounds(device, name, market[name])
