"""Devices are measured once for a machine and its libraries, and what actors learned is told together."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from contracts.work import Device
from devices import calibration, cpu, detect
from devices.calibration import Journal, calibrate, seeded
from devices.detect import Detection
from devices.dispatch import Dispatcher
from devices.kernels import KERNELS
from devices.lanes import ThreadLane
from devices.routing import WORK, route_factor_workload

CPU, GPU = Device.CPU, Device.METAL_GPU
SMALL = {"revalue": ((1, 20, 3), (4, 50, 3)), "exposures": ((2, 30, 3),)}


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(calibration, "SIZES", SMALL)
    monkeypatch.setattr(calibration, "KERNELS", {name: KERNELS[name] for name in SMALL})


@pytest.fixture
def made():
    opened = []

    def make(**kernels):
        module = SimpleNamespace(**{name: kernels.get(name, getattr(cpu, name)) for name in KERNELS})
        opened.append(Dispatcher({GPU: ThreadLane(module, "test")}))
        return opened[-1]

    yield make
    for dispatcher in opened:
        dispatcher.close()


def broken(*_):
    raise RuntimeError("no stream in this thread")


def test_a_calibration_measures_times_and_errors_and_names_what_failed(small, made):
    dispatcher = made(exposures=broken, revalue=lambda a, b: cpu.revalue(a, b) * (1 + 1e-4))
    rows = calibrate(dispatcher)
    assert len(rows) == 2 * 3
    assert [row["failed"] for row in rows if "failed" in row] == ["RuntimeError: no stream in this thread"]
    assert dispatcher.standing.error(GPU, "revalue") == pytest.approx(1e-4)
    assert dispatcher.candidates("revalue", 1e-3) == (CPU, GPU)
    assert dispatcher.candidates("revalue", 1e-6) == dispatcher.candidates("exposures", 1.0) == (CPU,)
    assert all(row["devices"]["cpu"]["samples"] >= 3 for row in dispatcher.model.table())


def test_it_is_kept_and_taken_up_and_made_again_when_asked_or_damaged(small, made, tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(calibration, "calibrate", lambda dispatcher: (calls.append(1), calibrate(dispatcher))[1])
    rows = seeded(made(), tmp_path)
    fresh = made()
    assert seeded(fresh, tmp_path) == json.loads(json.dumps(rows))
    assert len(calls) == 1
    assert fresh.standing.error(GPU, "revalue") == 0.0
    assert {row["kernel"] for row in fresh.model.table()} == set(SMALL)
    seeded(made(), tmp_path, anew=True)
    (kept,) = tmp_path.glob("calibration-*.json")
    kept.write_text('{"table"')
    seeded(made(), tmp_path)
    assert len(calls) == 3


def test_the_key_is_of_the_machine_and_its_libraries(monkeypatch):
    before = calibration.key()
    assert calibration.key() == before
    monkeypatch.setattr(calibration.metadata, "version", lambda name: "99")
    assert calibration.key() != before


def test_on_a_mac_the_key_is_of_the_chip_and_the_build_of_its_system_whichever_devices_are_on(monkeypatch):
    said = {"text": "Apple M4 Max\n24B83\n"}
    monkeypatch.setattr(detect, "_apple_silicon", lambda: True)
    monkeypatch.setattr(detect.platform, "mac_ver", lambda: ("15.1", ("", "", ""), "arm64"))
    monkeypatch.setattr(detect.platform, "processor", lambda: "arm")
    monkeypatch.setattr(detect.subprocess, "check_output", lambda *_, **__: said["text"])

    def chip():
        detect.chip.cache_clear()
        return detect.chip()

    try:
        assert chip() == "Apple M4 Max, macOS 15.1 24B83"
        said["text"] = "not two lines"
        assert chip() == "arm"
    finally:
        detect.chip.cache_clear()
    cpu_named = [Detection(CPU, True, name, "always there") for name in ("Apple M4 Max, macOS 15.1 24B83", "Apple M5")]
    keys = []
    for one in cpu_named:
        monkeypatch.setattr(calibration, "detect", lambda one=one: {CPU: one})
        keys.append(calibration.key())
    assert keys[0] != keys[1]


def run_often(dispatcher, name, sizes, n=6):
    arguments = KERNELS[name].sample(sizes, np.random.default_rng(0))
    for _ in range(n):
        dispatcher.run(name, sizes, 1e-6, lambda: arguments)


def test_what_other_actors_learned_is_told_and_what_is_old_or_damaged_is_not(tmp_path, made):
    other, own = made(), made()
    run_often(other, "revalue", (1, 20, 3))
    run_often(own, "exposures", (2, 30, 3))
    Journal(tmp_path, "other").save(other)
    (tmp_path / "damaged.json").write_text("{")
    journal = Journal(tmp_path, "own")
    everything = journal.everything(own)
    assert {row["kernel"] for row in everything.model.table()} == {"revalue", "exposures"}
    assert {row["kernel"] for row in own.model.table()} == {"exposures"}
    kept = json.loads((tmp_path / "other.json").read_text())
    (tmp_path / "other.json").write_text(json.dumps({**kept, "at": kept["at"] - 2 * Journal.OLD_S}))
    assert {row["kernel"] for row in journal.everything(own).model.table()} == {"exposures"}


def test_nothing_is_written_twice_for_the_same_calls(tmp_path, made):
    dispatcher = made()
    journal = Journal(tmp_path, "own")
    run_often(dispatcher, "revalue", (1, 20, 3))
    journal.save(dispatcher)
    (tmp_path / "own.json").unlink()
    journal.save(dispatcher)
    assert not (tmp_path / "own.json").exists()


def learned(dispatcher, seconds, sizes, name="revalue"):
    kernel = KERNELS[name]
    for device, each in seconds.items():
        for i in range(20):
            took = each * (1 + 0.01 * (-1) ** i)
            dispatcher.model.learn(name, sizes, kernel.work(*sizes), kernel.moved(*sizes), device, took, warm=True)
    return dispatcher


def test_a_workload_goes_where_it_was_measured_to_be_fastest_and_says_why(made):
    dispatcher = learned(made(), {CPU: 8e-3, GPU: 2e-3}, (100, 10_000, 40))
    told = route_factor_workload("scenarios", 3000, 40, dispatcher=dispatcher, portfolios=100)
    assert (told.primary_hardware, told.fallback) == (GPU, CPU)
    assert told.estimated_performance_gain == pytest.approx(4.0, rel=0.02)
    assert told.gain_interval[0] < told.estimated_performance_gain < told.gain_interval[1]
    assert told.confidence > 0.99
    assert told.reason.startswith("metal_gpu takes 2 ms (cpu 8 ms)")
    assert set(told.excluded) == {"neural_engine"}
    dispatcher.standing.measured(GPU, "revalue", 1e-3)
    told = route_factor_workload("scenarios", 3000, 40, dispatcher=dispatcher, portfolios=100)
    assert told.primary_hardware is CPU
    assert told.excluded["metal_gpu"] == "it errs by 1.0e-03, more than 1e-06"
    dispatcher.standing.failed(GPU, "grams", "its result was late")
    told = route_factor_workload("factor_returns_estimation", 3000, 40, dispatcher=dispatcher)
    assert "its result was late" in told.excluded["metal_gpu"]


def test_without_measurements_there_is_no_gain_and_no_confidence(made):
    dispatcher = learned(made(), {GPU: 1e-3}, (100, 10_000, 40))
    told = route_factor_workload("scenarios", 3000, 40, dispatcher=dispatcher, portfolios=100)
    assert told.estimated_performance_gain is None
    assert told.gain_interval is None
    assert told.confidence == 0.0
    assert "cpu was not measured" in told.reason
    assert told.to_dict()["former_claim"] == [5.0, 18.0]


def test_every_workload_asks_for_a_kernel_with_its_sizes(made):
    for name in WORK:
        told = route_factor_workload(name, 500, 12, dispatcher=made(), portfolios=3, scenarios=7, dates=2)
        assert list(told.sizes) == list(KERNELS[told.kernel].names)
        assert told.primary_hardware is CPU
