"""Runs kernels on the device that is the fastest and accurate enough; whatever a device does, the answer comes."""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np

from contracts.work import Device
from devices import cpu
from devices.cost_model import CostModel, Decision, Preference
from devices.detect import detect
from devices.kernels import KERNELS, Kernel, Result, relative_error
from devices.lanes import (
    START_S,
    DeviceLane,
    DiedError,
    NotForDeviceError,
    StalledError,
    metal_lane,
    neural_engine_lane,
)
from devices.standing import Standing
from factors.numeric import deadline

CHECKED_TIME = 0.01
"""Part of a device's time that may be spent on computing the same on the CPU, to see whether it is still accurate."""
PATIENCE = 20.0
"""A device that takes so many times what is predicted hangs."""
LEAST_PATIENCE_S = 1.0
KEPT_FOR_CPU = 2.0
"""What is kept of the caller's time for the CPU to answer instead, in times of what that is predicted to take."""
KEPT_LEAST_S = 0.02

LEARNED_FIRST, LEARNED_EACH = 64, 16
"""Where there is no other device than the CPU, its first calls of a kernel are learned from, then each of so many: what
they take is told (`/routing`), and decides nothing."""

LANES: dict[Device, Callable[[], DeviceLane]] = {
    Device.METAL_GPU: metal_lane,
    Device.NEURAL_ENGINE: neural_engine_lane,
}
"""How each device beside the CPU is reached. A new device is one row here and one module."""


class Dispatcher:
    """Chooses, runs, checks, and falls back; for use by several threads.

    Parameters
    ----------
    lanes
        Devices beside the CPU; default: those that this machine really has.
    cpus
        CPUs that calls can have at the same time.
    among
        Without `lanes`: the devices that may be used at all.
    """

    def __init__(
        self,
        lanes: Mapping[Device, DeviceLane] | None = None,
        cpus: int = 1,
        among: Collection[Device] = tuple(Device),
    ) -> None:
        if lanes is None:
            found = [device for device in LANES if device in among and detect()[device].available]
            lanes = {device: LANES[device]() for device in found}
        self.lanes = dict(lanes)
        self.model = CostModel({Device.CPU: cpus})
        self.standing = Standing(list(self.lanes))
        self.fallbacks: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        self.checks = 0
        self._lock = threading.Lock()
        self._checked_s = self._device_s = 0.0
        self._calls: Counter[str] = Counter()

    def run(
        self,
        name: str,
        sizes: tuple[int, ...],
        tolerance: float,
        arguments: Callable[[], tuple[Any, ...]],
        on_cpu: Callable[[], Any] | None = None,
        of: str = "",
        taken: Callable[[Any], Any] | None = None,
    ) -> tuple[Any, Device]:
        """Run a kernel where it is fastest.

        Parameters
        ----------
        name, sizes
            The kernel, and the sizes of its arguments as `KERNELS` names them.
        tolerance
            Largest error relative to the CPU's largest result.
        arguments
            Makes the arguments; called where a device, or the CPU without `on_cpu`, needs them.
        on_cpu
            Computes the same on the CPU, where there is a quicker way than by these arguments. Its result must be that
            of the kernel, or what `taken` makes of it.
        of
            What the errors of a device depend on beside the kernel, such as the weights of a network: each is compared
            with the CPU by itself.
        taken
            Brings what a device gave into the form of `on_cpu`: an array, or a tuple of arrays.

        Returns
        -------
        result, Device
            What the kernel gives, and what gave it.

        Raises
        ------
        factors.errors.FactorError
            Whatever is wrong with the arguments, as the CPU says it.
        """
        if not self.lanes and not self._to_learn(name):
            result = _by_cpu(name, arguments, on_cpu)
            with self._lock:
                self.answered[Device.CPU.value] += 1
            return result, Device.CPU
        kernel = KERNELS[name]
        work, moved = kernel.work(*sizes), kernel.moved(*sizes)
        limit = deadline.current() if self.lanes else None
        remaining_s = limit.at - time.time() if limit is not None else math.inf
        allowed = self.candidates(f"{name} {of}" if of else name, tolerance)
        decision = self.model.decide(name, sizes, work, moved, allowed, remaining_s)
        self.model.begin(decision)
        if decision.device is Device.CPU:
            result, ran = self._on_cpu(decision, name, arguments, on_cpu), Device.CPU
        else:
            result, ran = self._on_device(decision, kernel, sizes, tolerance, arguments, on_cpu, remaining_s, of, taken)
        with self._lock:
            self.answered[ran.value] += 1
        return result, ran

    def _to_learn(self, name: str) -> bool:
        """Whether the cost model is to see this call, where the CPU is the only device."""
        with self._lock:
            self._calls[name] += 1
            n = self._calls[name]
        return n <= LEARNED_FIRST or n % LEARNED_EACH == 0

    def await_ready(self, timeout_s: float = START_S) -> None:
        """Wait until every device would take a call, as long as that may take at most."""
        until = time.monotonic() + timeout_s
        for lane in self.lanes.values():
            lane.await_ready(max(until - time.monotonic(), 0.0))

    def candidates(self, name: str, tolerance: float) -> tuple[Device, ...]:
        """Give the devices that may run a kernel now, the CPU first."""
        found = self.standing.candidates(name, tolerance)
        if len(found) == 1:
            return found
        return tuple(device for device in found if device is Device.CPU or self.lanes[device].ready)

    def _on_cpu(
        self,
        decision: Decision,
        name: str,
        arguments: Callable[[], tuple[Any, ...]],
        on_cpu: Callable[[], Any] | None,
    ) -> Any:
        took: float | None = None
        began = time.perf_counter()
        try:
            result = _by_cpu(name, arguments, on_cpu)
            took = time.perf_counter() - began
        finally:
            self.model.finish(decision, took)
        return result

    def _on_device(
        self,
        decision: Decision,
        kernel: Kernel,
        sizes: tuple[int, ...],
        tolerance: float,
        arguments: Callable[[], tuple[Any, ...]],
        on_cpu: Callable[[], Any] | None,
        remaining_s: float,
        of: str,
        taken: Callable[[Any], Any] | None,
    ) -> tuple[Any, Device]:
        """Ask the device; the CPU answers when it fails, may be wrong, or was never compared in this kernel."""
        device, name = decision.device, kernel.name
        judged = f"{name} {of}" if of else name
        given = arguments()

        def from_cpu() -> Any:
            began = time.perf_counter()
            made = _by_cpu(name, lambda: given, on_cpu)
            took = time.perf_counter() - began
            self.model.learn(name, sizes, kernel.work(*sizes), kernel.moved(*sizes), Device.CPU, took)
            return made

        known = self.model.prefer(name, sizes, kernel.work(*sizes), kernel.moved(*sizes), (Device.CPU,))
        cpu_s = known.seconds[Device.CPU] or 0.0
        patience = min(
            remaining_s - KEPT_FOR_CPU * cpu_s - KEPT_LEAST_S,
            max(LEAST_PATIENCE_S, PATIENCE * (decision.predicted_s or 0.0)),
        )
        if patience <= 0.0:
            self.model.finish(decision, None)
            return from_cpu(), Device.CPU
        began = time.perf_counter()
        result = self._ask(device, name, given, patience)
        took = time.perf_counter() - began
        self.model.finish(decision, took if result is not None else None)
        if result is None:
            with self._lock:
                self.fallbacks[device.value] += 1
            return from_cpu(), Device.CPU
        result = result if taken is None else taken(result)
        proven = self.standing.proven(device, judged)
        finite = all(np.isfinite(part).all() for part in (result if isinstance(result, tuple) else (result,)))
        if proven and finite and not self._to_check(took, cpu_s):
            return result, device
        expected = from_cpu()
        error = relative_error(result, expected)
        self.checks += 1
        if error == math.inf:
            self.standing.failed(device, judged, "its result has numbers that are none, or lacks some")
        else:
            self.standing.measured(device, judged, error)
        if proven and error <= tolerance:
            return result, device
        return expected, Device.CPU

    def _ask(self, device: Device, name: str, given: tuple[Any, ...], patience: float) -> Result | None:
        """Give the device's result; None where it has none, and then it is left alone for a while."""
        try:
            return self.lanes[device].run(name, given, patience)
        except NotForDeviceError:
            return None
        except (StalledError, DiedError) as error:
            self.standing.failed(device, None, f"it failed in {name}: {error}")
        except Exception as error:  # noqa: BLE001  a device that fails, however it does, is one not to ask
            self.standing.failed(device, name, f"{type(error).__name__}: {error}")
        return None

    def _to_check(self, took: float, cpu_s: float) -> bool:
        """Whether the checks so far cost so little that one more is due."""
        with self._lock:
            self._device_s += took
            if self._checked_s + cpu_s > CHECKED_TIME * self._device_s:
                return False
            self._checked_s += cpu_s
            return True

    def prefer(self, name: str, sizes: tuple[int, ...], tolerance: float) -> Preference:
        """Say what would be chosen, how sure that is and what it gains; nothing is run."""
        kernel = KERNELS[name]
        work, moved = kernel.work(*sizes), kernel.moved(*sizes)
        return self.model.prefer(name, sizes, work, moved, self.candidates(name, tolerance))

    def excluded(self, name: str, tolerance: float) -> dict[str, str]:
        """Say of each device that may not run a kernel now, why."""
        allowed = self.candidates(name, tolerance)
        out: dict[str, str] = {}
        for device, found in detect().items():
            if device in allowed:
                continue
            if device not in self.lanes:
                out[device.value] = f"missing: {found.reason}"
                continue
            error = self.standing.error(device, name)
            if error is not None and error > tolerance:
                out[device.value] = f"it errs by {error:.1e}, more than {tolerance:.0e}"
            elif not self.lanes[device].ready:
                out[device.value] = "it is not up"
            else:
                told = {row["component"]: str(row["reason"]) for row in self.standing.told()}
                whole, part = f"device:{device.value}", f"device:{device.value}:{name}"
                out[device.value] = told.get(whole) or told.get(part) or "it failed a short while ago"
        return out

    def told(self) -> dict[str, Any]:
        """Give what `/health` and `/routing` show: what devices there are, who answered what share, measured errors."""
        answered = dict(self.answered)
        calls = sum(answered.values())
        return {
            "found": {
                device.value: found.name if found.available else f"missing: {found.reason}"
                for device, found in detect().items()
            },
            "answered": answered,
            "share": {device: count / calls for device, count in answered.items()},
            "explored": self.model.explored,
            "checks": self.checks,
            "fallbacks": dict(self.fallbacks),
            "restarts": {device.value: lane.restarts for device, lane in self.lanes.items()},
            "errors": {device.value: self.standing.errors(device) for device in self.lanes},
        }

    def close(self) -> None:
        """End what runs beside this process."""
        for lane in self.lanes.values():
            lane.close()


def _by_cpu(name: str, arguments: Callable[[], tuple[Any, ...]], on_cpu: Callable[[], Any] | None) -> Any:
    """Compute on the CPU, by its quicker way where there is one."""
    return on_cpu() if on_cpu is not None else getattr(cpu, name)(*arguments())
