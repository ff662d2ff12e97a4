"""The choice of a device is by measurement, and says why."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest

from contracts.work import Device
from devices import choose as module
from devices.choose import choose
from devices.detect import Detection, detect

SAMPLE = (np.full((2, 50), 0.02), np.ones((50, 3)))


@pytest.fixture
def metal_is_there(monkeypatch):
    found = {**detect(), Device.METAL_GPU: Detection(Device.METAL_GPU, True, "a GPU", "for this test")}
    monkeypatch.setattr(module, "detect", lambda: found)

    def install(project):
        monkeypatch.setitem(module.MODULES, Device.METAL_GPU, SimpleNamespace(project=project))

    return install


@pytest.mark.skipif(sys.platform == "darwin", reason="a Mac has the devices")
def test_a_missing_device_is_reported_and_the_cpu_runs():
    choice = choose("project", (Device.NEURAL_ENGINE, Device.METAL_GPU), SAMPLE, 1e-6)
    assert choice.device is Device.CPU
    assert "neural_engine is missing: needs Apple silicon" in choice.reason
    assert "metal_gpu is missing" in choice.reason
    assert list(choice.median_ms) == ["cpu"]
    np.testing.assert_allclose(choice(*SAMPLE), 1.0)


def test_a_device_that_is_faster_and_accurate_is_chosen(metal_is_there, monkeypatch):
    metal_is_there(lambda w, x: w @ x)
    slow = SimpleNamespace(project=lambda w, x: sum(np.outer(w[:, i], x[i]) for _ in range(20) for i in range(50)) / 20)
    monkeypatch.setitem(module.MODULES, Device.CPU, slow)
    choice = choose("project", (Device.METAL_GPU,), SAMPLE, 1e-6)
    assert choice.device is Device.METAL_GPU
    assert choice.relative_error["metal_gpu"] < 1e-12


def test_a_device_that_is_not_accurate_enough_is_not_chosen(metal_is_there):
    metal_is_there(lambda w, x: w @ x * 1.01)
    choice = choose("project", (Device.METAL_GPU,), SAMPLE, 1e-6)
    assert choice.device is Device.CPU
    assert "errs by 1.0e-02" in choice.reason


def test_a_device_whose_answer_is_not_a_number_is_not_chosen(metal_is_there):
    metal_is_there(lambda w, x: w @ x * np.nan)
    assert choose("project", (Device.METAL_GPU,), SAMPLE, 1e-6).device is Device.CPU


def test_a_device_that_fails_is_not_chosen_and_named(metal_is_there):
    def broken(w, x):
        raise RuntimeError("no stream in this thread")

    metal_is_there(broken)
    choice = choose("project", (Device.METAL_GPU,), SAMPLE, 1e-6)
    assert choice.device is Device.CPU
    assert "metal_gpu failed: RuntimeError: no stream in this thread" in choice.reason
