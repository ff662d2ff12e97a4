"""Which devices may be asked: not one that is missing, errs beyond the tolerance, or failed a short while ago."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from contracts.work import Device

FIRST_BACK_S = 30.0
LONGEST_BACK_S = 1800.0
"""How long a device is left alone after it failed: twice as long each time, until it succeeds again."""
ERRORS_KEPT = 8
"""Measured errors that are remembered of a kernel on a device; the greatest of them counts."""


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


class Standing:
    """Keeps what speaks against each device; for use by several threads.

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
        return any(
            found is not None and now < found.until
            for found in (self.quarantined.get((device, None)), self.quarantined.get((device, kernel)))
        )

    def _accurate(self, device: Device, kernel: str, tolerance: float) -> bool:
        found = self._measured.get((device, kernel))
        return found is None or not found.errors or max(found.errors) <= tolerance

    def proven(self, device: Device, kernel: str) -> bool:
        """Whether its error in this kernel was measured, and nothing is open against it."""
        if device is Device.CPU:
            return True
        found = self._measured.get((device, kernel))
        held = (device, None) in self.quarantined or (device, kernel) in self.quarantined
        return found is not None and bool(found.errors) and not held

    def error(self, device: Device, kernel: str) -> float | None:
        """Give the greatest error that was measured lately, relative to the CPU's; None: never measured."""
        found = self._measured.get((device, kernel))
        return max(found.errors) if found is not None and found.errors else None

    def measured(self, device: Device, kernel: str, error: float) -> None:
        """Take in a comparison with the CPU's result; a finite one ends a quarantine that has run out."""
        with self._lock:
            self._measured.setdefault((device, kernel), _Measured()).errors.append(error if error >= 0.0 else math.inf)
            for key in ((device, None), (device, kernel)):
                self.quarantined.pop(key, None)

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
            wait = min(FIRST_BACK_S * 2 ** (count - 1), LONGEST_BACK_S)
            made = Quarantine(reason, before.since if before else now, now + wait, count)
            self.quarantined[device, kernel] = made
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
