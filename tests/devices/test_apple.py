"""What a Mac alone can show: the real devices keep their bounds, win or lose by measurement, and come back when killed.

``make device-check`` runs these there. Nothing here is played by a stand-in.
"""

import os
import platform
import signal
import sys
import time

import numpy as np
import pytest

from contracts.work import Device
from devices import calibration, cpu, neural_engine
from devices.calibration import calibrate
from devices.detect import detect
from devices.dispatch import Dispatcher
from devices.kernels import KERNELS
from devices.lanes import DiedError, ProcessLane
from factors.numeric import deadline

NE, GPU = Device.NEURAL_ENGINE, Device.METAL_GPU
APPLE = sys.platform == "darwin" and platform.machine() == "arm64"
pytestmark = [
    pytest.mark.apple,
    pytest.mark.skipif(not APPLE, reason="needs Apple silicon: make device-check, on a Mac"),
]
WAIT_S = 120.0


@pytest.fixture(scope="module")
def dispatcher():
    made = Dispatcher()
    try:
        made.await_ready(WAIT_S)
        yield made
    finally:
        made.close()


def test_both_devices_are_found():
    assert [detect()[device].available for device in (GPU, NE)] == [True, True]


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("device", [GPU, NE])
def test_every_kernel_keeps_its_stated_bound_in_every_size(dispatcher, device, name):
    kernel = KERNELS[name]
    for sizes in calibration.SIZES[name]:
        arguments = kernel.sample(sizes, np.random.default_rng(1))
        made = dispatcher.lanes[device].run(name, arguments, WAIT_S)
        right = getattr(cpu, name)(*arguments)
        results = made if isinstance(made, tuple) else (made,)
        expected = right if isinstance(right, tuple) else (right,)
        bounds = kernel.bound(device, kernel.sizes(*arguments))
        for given, true, bound, magnitude in zip(results, expected, bounds, kernel.magnitude(*arguments), strict=True):
            np.testing.assert_array_equal(np.isnan(given), np.isnan(true))
            assert np.nanmax(np.abs(given - true), initial=0.0) <= bound * magnitude, sizes


@pytest.mark.parametrize("letters", ["ri", "ti", "si"])
def test_activations_are_as_exact_as_the_bound_counts_them(dispatcher, letters):
    """Hardware may look tanh and sigmoids up in tables; the bound gives an activation four roundings."""
    rng = np.random.default_rng(2)
    arguments = rng.standard_normal((500, 16)), letters, np.eye(16) * 3.0, np.zeros(16), np.eye(16), np.zeros(16)
    kernel = KERNELS["network"]
    for device in (GPU, NE):
        made = dispatcher.lanes[device].run("network", arguments, WAIT_S)
        (bound,), (magnitude,) = kernel.bound(device, kernel.sizes(*arguments)), kernel.magnitude(*arguments)
        assert np.abs(made - cpu.network(*arguments)).max() <= bound * magnitude


def test_core_ml_prefers_the_neural_engine_for_a_large_product():
    if tuple(map(int, platform.mac_ver()[0].split(".")[:2])) < (14, 4):
        pytest.skip("MLComputePlan needs macOS 14.4")
    plan = neural_engine.placement("product", ((24, 256, 128), (24, 128, 64)))
    assert any("NeuralEngine" in place for place in plan.values()), plan


def test_a_compiled_model_is_kept_and_a_new_process_answers_from_it(tmp_path, monkeypatch):
    monkeypatch.setenv("FACTOR_ENGINE_RUN_DIR", str(tmp_path))  # the process of the lane has it too
    arguments = KERNELS["revalue"].sample((10, 1000, 40), np.random.default_rng(4))
    expected = cpu.revalue(*arguments)
    inodes, files = [], []
    for _ in range(3):
        lane = ProcessLane("devices.neural_engine")
        try:
            assert lane.await_ready(WAIT_S)
            made = lane.run("revalue", arguments, WAIT_S)
        finally:
            lane.close()
        np.testing.assert_allclose(made, expected, atol=1e-3 * np.abs(expected).max())
        (entry,) = (tmp_path / "devices" / "compiled").iterdir()
        inodes.append(entry.stat().st_ino)
        if not files:
            files = sorted(path for path in (entry / "model.mlmodelc").rglob("*") if path.is_file())
        elif len(inodes) == 2:
            files[0].write_bytes(b"damaged")
    assert files
    assert inodes[0] == inodes[1], "it was made anew"
    assert inodes[2] != inodes[1], "damaged, and not made anew"


def test_what_was_measured_decides(dispatcher):
    rows = calibrate(dispatcher, ["revalue"])
    assert not [row for row in rows if "failed" in row]
    for sizes in calibration.SIZES["revalue"]:
        made = dispatcher.prefer("revalue", sizes, 1e-3)
        known = {device: seconds for device, seconds in made.seconds.items() if seconds is not None}
        assert made.primary is min(known, key=known.__getitem__)


def test_the_process_of_core_ml_is_answered_for_when_it_is_killed_and_comes_back(dispatcher):
    lane = dispatcher.lanes[NE]
    arguments = KERNELS["revalue"].sample((10, 1000, 40), np.random.default_rng(3))
    before, restarts = lane.pid, lane.restarts
    os.kill(before, signal.SIGKILL)
    with deadline.until(time.time() + WAIT_S):
        result, _ = dispatcher.run("revalue", (10, 1000, 40), 1e-3, lambda: arguments)
    np.testing.assert_allclose(result, cpu.revalue(*arguments), atol=1e-3 * np.abs(result).max())
    if lane.pid == before:  # the CPU was the faster, so nobody has noticed yet
        with pytest.raises(DiedError):
            lane.run("revalue", arguments, WAIT_S)
    assert lane.await_ready(WAIT_S)
    assert lane.pid != before
    assert lane.restarts == restarts + 1
    lane.run("revalue", arguments, WAIT_S)
