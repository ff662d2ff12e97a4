"""Choose the device of a kernel by measurement: fast enough and accurate enough, or it is the CPU."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import numpy as np

from contracts.work import Device
from devices import cpu, metal, neural_engine
from devices.detect import detect

MODULES: dict[Device, ModuleType] = {
    Device.CPU: cpu,
    Device.METAL_GPU: metal,
    Device.NEURAL_ENGINE: neural_engine,
}
ROUNDS = 5


@dataclass(frozen=True)
class Choice:
    """The device that runs a kernel, and why.

    `median_ms` and `relative_error` hold what was measured, for the devices that could be measured.
    """

    kernel: str
    device: Device
    reason: str
    median_ms: dict[str, float] = field(default_factory=dict)
    relative_error: dict[str, float] = field(default_factory=dict)

    def __call__(self, *arrays: Any) -> np.ndarray:
        """Run the kernel on the chosen device."""
        result: np.ndarray = getattr(MODULES[self.device], self.kernel)(*arrays)
        return result


def choose(kernel: str, wanted: Sequence[Device], sample: Sequence[np.ndarray], tolerance: float) -> Choice:
    """Measure the wanted devices against the CPU on `sample` and choose.

    Parameters
    ----------
    kernel
        A function of `devices.cpu`; every device module has it under the same name.
    wanted
        Devices in order of preference; one that is missing is passed over and named in the reason.
    sample
        Arguments of representative size.
    tolerance
        Largest error relative to the CPU result's largest magnitude.
    """
    expected, cpu_ms = _measure(Device.CPU, kernel, sample)
    timings, errors, notes = {str(Device.CPU): cpu_ms}, {}, []
    best, best_ms = Device.CPU, cpu_ms
    for device in wanted:
        found = detect()[device]
        if not found.available:
            notes.append(f"{device} is missing: {found.reason}")
            continue
        try:
            result, median_ms = _measure(device, kernel, sample)
        except Exception as error:  # noqa: BLE001 - a device that fails, however it does, is one not to choose
            notes.append(f"{device} failed: {type(error).__name__}: {error}")
            continue
        scale = float(np.abs(expected).max()) or 1.0
        deviation = float(np.abs(result - expected).max()) / scale
        timings[str(device)], errors[str(device)] = median_ms, deviation
        if not deviation <= tolerance:
            notes.append(f"{device} errs by {deviation:.1e}, more than {tolerance:.0e}")
        elif median_ms >= best_ms:
            notes.append(f"{device} takes {median_ms:.3f} ms, {best} takes {best_ms:.3f} ms")
        else:
            best, best_ms = device, median_ms
    notes.append(f"{best} measured {best_ms:.3f} ms")
    return Choice(kernel, best, "; ".join(notes), timings, errors)


def _measure(device: Device, kernel: str, sample: Sequence[np.ndarray]) -> tuple[np.ndarray, float]:
    run = getattr(MODULES[device], kernel)
    result = run(*sample)  # the first call compiles
    times = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        run(*sample)
        times.append((time.perf_counter() - began) * 1e3)
    return result, sorted(times)[ROUNDS // 2]
