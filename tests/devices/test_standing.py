"""A device is asked where it is accurate and did not fail lately, and again later."""

import math

import pytest

from contracts.work import Device
from devices.standing import BACK_S, MEASURED_KEPT, Standing

CPU, GPU, NE = Device.CPU, Device.METAL_GPU, Device.NEURAL_ENGINE


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def test_without_devices_it_is_the_cpu():
    assert Standing([CPU]).candidates("exposures", 0.0) == (CPU,)


def test_a_device_beyond_the_tolerance_is_no_candidate_and_the_greatest_recent_error_counts():
    standing = Standing([GPU, NE])
    standing.measured(NE, "exposures", 3e-4)
    assert standing.candidates("exposures", 1e-6) == (CPU, GPU)
    assert standing.candidates("exposures", 1e-3) == (CPU, GPU, NE)
    standing.measured(NE, "exposures", math.inf)
    standing.measured(NE, "exposures", 1e-9)
    assert standing.candidates("exposures", 1e-3) == (CPU, GPU)
    assert standing.candidates("revalue", 1e-3) == (CPU, GPU, NE)


def test_a_device_is_proven_when_its_error_was_measured():
    standing = Standing([GPU])
    assert standing.proven(CPU, "exposures")
    assert not standing.proven(GPU, "exposures")
    standing.measured(GPU, "exposures", 1e-9)
    assert standing.proven(GPU, "exposures")


def test_a_failure_keeps_a_device_away_for_a_while_and_longer_each_time(clock):
    standing = Standing([GPU, NE], clock)
    standing.measured(GPU, "exposures", 0.0)
    standing.failed(GPU, "exposures", "it gave NaN")
    assert standing.candidates("exposures", 1.0) == (CPU, NE)
    assert standing.candidates("revalue", 1.0) == (CPU, GPU, NE)
    assert standing.told()[0]["component"] == "device:metal_gpu:exposures"
    assert "it gave NaN" in standing.told()[0]["reason"]
    clock.now += BACK_S[0]
    assert standing.candidates("exposures", 1.0) == (CPU, GPU, NE)
    assert not standing.proven(GPU, "exposures")  # its next call is checked against the CPU
    waits = []
    for _ in range(2000):
        standing.failed(GPU, "exposures", "again")
        waits.append(standing.told()[0]["again_at"] - clock.now)
    assert waits[:2] == [60.0, 120.0], "it is the second failure"
    assert waits[-1] == BACK_S[-1] == max(waits)
    standing.measured(GPU, "exposures", 0.0)
    assert standing.told() == []
    assert standing.proven(GPU, "exposures")


def test_what_is_remembered_of_networks_has_a_limit():
    standing = Standing([GPU])
    for number in range(MEASURED_KEPT + 10):
        standing.measured(GPU, f"network {number}", 1e-3)
        standing.failed(GPU, f"network {number}", "NaN")
    assert len(standing.errors(GPU)) == len(standing.quarantined) == MEASURED_KEPT
    assert standing.error(GPU, "network 0") is None


def test_a_device_that_died_is_away_in_every_kernel(clock):
    standing = Standing([NE], clock)
    standing.failed(NE, None, "its process was killed")
    assert standing.candidates("exposures", 1.0) == standing.candidates("network", 1.0) == (CPU,)
