"""Which devices may be asked: not one that is missing, errs beyond the tolerance, or failed a short while ago."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from contracts.backoff import backoff_s
from contracts.work import Device

BACK_S = (30.0, 60.0, 120.0, 240.0, 480.0, 960.0, 1800.0)
"""How long a device is left alone after it failed, longer each time, until it succeeds again."""
ERRORS_KEPT = 8
"""Measured errors that are remembered of a kernel on a device; the greatest of them counts."""


MEASURED_KEPT = 512
"""Kernels, and networks, whose errors are remembered; one that is forgotten is compared again."""


@dataclass
class Quarantine:
    """Why a device is left alone, since when and until when, seconds of the clock."""

    reason: str
    since: float
    until: float
    failures: int = 1


@dataclass
class _Measured:
    errors: deque[float] = field(default_factory=lambda: deque(maxlen=ERRORS_KEPT))


def _against(device: Device, kernel: str) -> tuple[tuple[Device, str | None], ...]:
    """Name what may stand against a device in a kernel: the device whole, the kernel, the kernel of these weights."""
    return (device, None), (device, kernel.partition(" ")[0]), (device, kernel)


class Standing:
    """Keeps what speaks against each device; for use by several threads.

    A kernel is named with what its errors depend on behind a blank, where that is more than the kernel: the network
    that it computes.

    Parameters
    ----------
    devices
        Those that are there beside the CPU.
    clock
        Seconds; another than the time in simulations.
    """

    def __init__(self, devices: Sequence[Device], clock: Callable[[], float] = time.time) -> None:
        self._lock = threading.Lock()
        self._clock = clock
        self.devices = tuple(device for device in devices if device is not Device.CPU)
        self.quarantined: dict[tuple[Device, str | None], Quarantine] = {}
        self._measured: dict[tuple[Device, str], _Measured] = {}
        self.failures = 0

    def candidates(self, kernel: str, tolerance: float) -> tuple[Device, ...]:
        """Give the devices that may run a kernel within a tolerance, the CPU first.

        One whose error was never measured is among them: its first call must be checked (`proven`).
        """
        if not self.devices:
            return (Device.CPU,)
        now = self._clock()
        with self._lock:
            return (
                Device.CPU,
                *(d for d in self.devices if not self._held(d, kernel, now) and self._accurate(d, kernel, tolerance)),
            )

    def _held(self, device: Device, kernel: str, now: float) -> bool:
        if not self.quarantined:  # nearly always, and every call of a kernel comes here
            return False
        found = [self.quarantined.get(key) for key in _against(device, kernel)]
        return any(one is not None and now < one.until for one in found)

    def _accurate(self, device: Device, kernel: str, tolerance: float) -> bool:
        found = self._measured.get((device, kernel))
        return found is None or not found.errors or max(found.errors) <= tolerance

    def proven(self, device: Device, kernel: str) -> bool:
        """Whether its error in this kernel was measured, and nothing is open against it."""
        if device is Device.CPU:
            return True
        found = self._measured.get((device, kernel))
        held = any(key in self.quarantined for key in _against(device, kernel))
        return found is not None and bool(found.errors) and not held

    def error(self, device: Device, kernel: str) -> float | None:
        """Give the greatest error that was measured lately, relative to the CPU's; None: never measured."""
        found = self._measured.get((device, kernel))
        return max(found.errors) if found is not None and found.errors else None

    def measured(self, device: Device, kernel: str, error: float) -> None:
        """Take in a comparison with the CPU's result; a finite one ends a quarantine that has run out."""
        with self._lock:
            self._measured.setdefault((device, kernel), _Measured()).errors.append(error if error >= 0.0 else math.inf)
            while len(self._measured) > MEASURED_KEPT:
                self._measured.pop(next(iter(self._measured)))
            for key in _against(device, kernel):
                self.quarantined.pop(key, None)

    def errors(self, device: Device) -> dict[str, float]:
        """Give the errors of a device that were measured, by kernel."""
        with self._lock:
            return {
                kernel: max(m.errors) for (which, kernel), m in self._measured.items() if which is device and m.errors
            }

    def forget_errors(self) -> None:
        """Measure every device's error anew at its next call."""
        with self._lock:
            self._measured.clear()

    def failed(self, device: Device, kernel: str | None, reason: str) -> Quarantine:
        """Leave a device alone for a while, in one kernel or (None) in all."""
        now = self._clock()
        with self._lock:
            self.failures += 1
            before = self.quarantined.get((device, kernel))
            count = before.failures + 1 if before is not None else 1
            made = Quarantine(reason, before.since if before else now, now + backoff_s(BACK_S, count - 1), count)
            self.quarantined[device, kernel] = made
            while len(self.quarantined) > MEASURED_KEPT:
                self.quarantined.pop(next(iter(self.quarantined)))
            return made

    def told(self) -> list[dict[str, Any]]:
        """Give what is in quarantine, as `/health` shows it."""
        with self._lock:
            return [
                {
                    "component": f"device:{device.value}" + (f":{kernel}" if kernel else ""),
                    "reason": f"{found.reason}; the CPU computes instead",
                    "again_at": found.until,
                    "failures": found.failures,
                }
                for (device, kernel), found in self.quarantined.items()
            ]
