"""An actor's devices are measured behind its start, once for all actors of the node, whatever goes wrong with it."""

import threading
from types import SimpleNamespace

import pytest
from fixtures_actors import start

from actors.runtime import device_user
from actors.runtime.device_user import DeviceUser
from contracts.settings import settings
from contracts.work import Device
from devices import calibration, cpu
from devices.detect import Detection, device_folder
from devices.kernels import KERNELS
from devices.lanes import ThreadLane

CPU, GPU, NE = Device.CPU, Device.METAL_GPU, Device.NEURAL_ENGINE
SMALL = {"revalue": ((1, 20, 3), (4, 50, 3)), "exposures": ((2, 30, 3),)}
WAIT_S = 60.0


@pytest.fixture(autouse=True)
def machine(tmp_path, monkeypatch):
    """A machine with both devices, played by the CPU's kernels; give what was measured, by dispatcher."""
    monkeypatch.setenv("FACTOR_ENGINE_RUN_DIR", str(tmp_path))
    settings.cache_clear()
    found = {device: Detection(device, True, device.value, "played") for device in Device}
    lanes = []

    def lane():
        lanes.append(ThreadLane(SimpleNamespace(**{name: getattr(cpu, name) for name in KERNELS}), "test"))
        return lanes[-1]

    monkeypatch.setattr("devices.dispatch.detect", lambda: found)
    monkeypatch.setattr("devices.dispatch.LANES", dict.fromkeys((GPU, NE), lane))
    monkeypatch.setattr(calibration, "SIZES", SMALL)
    monkeypatch.setattr(calibration, "KERNELS", {name: KERNELS[name] for name in SMALL})
    measured, calibrate = [], calibration.calibrate
    monkeypatch.setattr(calibration, "calibrate", lambda one: (measured.append(set(one.lanes)), calibrate(one))[1])
    yield measured
    for one in lanes:
        one.close()
    settings.cache_clear()


def actor(among=tuple(Device)):
    """Start one, and wait until it has measured, or read what others have."""

    class Actor(DeviceUser):
        def prepare(self):
            self.find_devices("one", among)

    made = start(Actor)
    for thread in threading.enumerate():
        if thread.name == "calibration":
            thread.join(WAIT_S)
            assert not thread.is_alive()
    return made


def known(made):
    return {(row["kernel"], device) for row in made.devices.model.table() for device in row["devices"]}


def test_the_first_actor_of_a_node_measures_and_the_others_know_what_it_did(machine):
    first, second = actor(), actor()
    assert machine == [{GPU, NE}]
    everything = {(name, device.value) for name in SMALL for device in Device}
    assert known(first) == known(second) == everything
    for made in (first, second):
        assert made.devices.standing.error(NE, "revalue") == 0.0
        assert made.stats()["notes"]["devices"]["errors"]["metal_gpu"]["revalue"] == 0.0
    (kept,) = device_folder().glob("calibration-*.json")
    assert kept.stem == f"calibration-{calibration.key()}"


def test_an_actor_that_may_use_one_device_starts_no_other_and_hides_none_from_those_that_come(machine):
    few = actor(among=(GPU,))
    assert set(few.devices.lanes) == {GPU}
    actor()
    assert machine == [{GPU}, {GPU, NE}], "the other was not measured yet"
    actor(among=(GPU,))
    actor()
    assert len(machine) == 2


def test_a_measurement_that_fails_leaves_the_actor_with_what_live_calls_teach(machine, monkeypatch, caplog):
    def broken(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr(device_user, "seeded", broken)
    made = actor()
    assert "the devices were not measured" in caplog.text
    assert made.devices.candidates("revalue", 1e-6) == (CPU, GPU, NE)
    assert known(made) == set()
