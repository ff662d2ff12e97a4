"""What a node's devices take and how they err, measured once and kept: by chip, system and library versions."""

from __future__ import annotations

import fcntl
import hashlib
import json
import platform
import time
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from contracts.files import replacing
from contracts.work import Device
from devices import cpu
from devices.detect import detect
from devices.dispatch import Dispatcher
from devices.kernels import KERNELS, Kernel, relative_error
from devices.lanes import DiedError, NotForDeviceError, StalledError

SIZES: dict[str, tuple[tuple[int, ...], ...]] = {
    "exposures": ((1, 100, 40), (64, 500, 40), (256, 3000, 40)),
    "book_risk": ((1, 500, 40), (16, 3000, 40), (100, 3000, 40)),
    "revalue": ((1, 1000, 40), (10, 10_000, 40), (100, 10_000, 40)),
    "grams": ((1, 500, 40), (5, 3000, 40), (40, 3000, 40)),
    "covariances": ((1, 504, 40), (200, 40, 40), (1260, 40, 40)),
    "standardize": ((1, 500), (5, 3000), (100, 3000)),
    "network": ((500, 16, 32, 3), (3000, 16, 32, 3), (20_000, 64, 64, 3)),
}
ROUNDS = 4
"""Timed calls of each kernel, size and device, after one that compiles."""
EACH_S = 0.5
"""No further call of a device in one size once its calls took so long together."""
CALL_S = 20.0
LIBRARIES = ("numpy", "mlx", "coremltools")


def key() -> str:
    """Name what a calibration holds for: the devices, the system, the Python and the libraries."""
    found = {device.value: about.name for device, about in detect().items() if about.available}
    parts = [platform.platform(), platform.python_version(), json.dumps(found)]
    for library in LIBRARIES:
        try:
            parts.append(f"{library} {metadata.version(library)}")
        except metadata.PackageNotFoundError:
            parts.append(f"no {library}")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def calibrate(dispatcher: Dispatcher, kernels: Iterable[str] | None = None) -> list[dict[str, Any]]:
    """Measure every device that is ready, and let the dispatcher's model and standing learn from it.

    Returns
    -------
    list of dict
        A row for each kernel, size and device: `ms` (median), `error` relative to the CPU, or `failed` with the reason.
    """
    rng = np.random.default_rng(0)
    dispatcher.standing.forget_errors()
    rows: list[dict[str, Any]] = []
    for name in kernels or KERNELS:
        kernel = KERNELS[name]
        for sizes in SIZES[name]:
            arguments = kernel.sample(sizes, rng)
            expected = getattr(cpu, name)(*arguments)
            for device in (Device.CPU, *dispatcher.lanes):
                about = {"kernel": name, "sizes": dict(zip(kernel.names, sizes, strict=True)), "device": device.value}
                rows.append({**about, **_measured(dispatcher, kernel, sizes, device, arguments, expected)})
    return rows


def _measured(
    dispatcher: Dispatcher,
    kernel: Kernel,
    sizes: tuple[int, ...],
    device: Device,
    arguments: tuple[Any, ...],
    expected: Any,
) -> dict[str, Any]:
    lane = dispatcher.lanes.get(device)
    took: list[float] = []
    result = expected
    try:
        for _ in range(1 + ROUNDS):
            began = time.perf_counter()
            result = lane.run(kernel.name, arguments, CALL_S) if lane else getattr(cpu, kernel.name)(*arguments)
            took.append(time.perf_counter() - began)
            if len(took) > 1 and sum(took[1:]) > EACH_S:
                break
    except NotForDeviceError as error:
        return {"failed": str(error)}
    except (StalledError, DiedError) as error:
        dispatcher.standing.failed(device, None, f"it failed in {kernel.name}: {error}")
        return {"failed": str(error)}
    except Exception as error:  # noqa: BLE001  a device that fails, however it does, is one not to ask
        dispatcher.standing.failed(device, kernel.name, f"{type(error).__name__}: {error}")
        return {"failed": f"{type(error).__name__}: {error}"}
    for seconds in took[1:]:
        dispatcher.model.learn(
            kernel.name, sizes, kernel.work(*sizes), kernel.moved(*sizes), device, seconds, warm=True
        )
    error_here = relative_error(result, expected)
    if lane is not None:
        dispatcher.standing.measured(device, kernel.name, error_here)
    return {"ms": sorted(took[1:])[len(took[1:]) // 2] * 1e3, "first_ms": took[0] * 1e3, "error": error_here}


def seeded(dispatcher: Dispatcher, folder: Path, *, anew: bool = False) -> list[dict[str, Any]]:
    """Let a dispatcher know what was measured on this machine; measure it where nobody has.

    One process of a node measures, the others wait for it. Who has a device that was not among the measured ones
    measures again. `anew` measures in any case.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"calibration-{key()}.json"
    with (folder / ".calibrating").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        kept = None if anew else _read(path)
        if kept is not None and {device.value for device in dispatcher.lanes} <= {r["device"] for r in kept["rows"]}:
            take(dispatcher, kept)
            return list(kept["rows"])
        rows = calibrate(dispatcher)
        with replacing(path) as out:
            out.write(json.dumps({**learned(dispatcher), "rows": rows}).encode())
    return rows


def learned(dispatcher: Dispatcher) -> dict[str, Any]:
    """Give what a dispatcher knows, as another takes it."""
    return {"at": time.time(), "table": dispatcher.model.table(), "errors": dispatcher.told()["errors"]}


def take(dispatcher: Dispatcher, kept: dict[str, Any]) -> None:
    """Take in what another dispatcher of this machine learned, where nothing was measured here."""
    dispatcher.model.take_table(kept["table"])
    for device, errors in kept["errors"].items():
        for name, error in errors.items():
            if dispatcher.standing.error(Device(device), name) is None:
                dispatcher.standing.measured(Device(device), name, float(error))


def _read(path: Path) -> dict[str, Any] | None:
    try:
        kept: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return kept if kept.keys() >= {"table", "errors", "rows"} else None


class Journal:
    """What each actor of a run learned, in a file of its own, so that one of them can say it of all."""

    EVERY_S = 5.0
    OLD_S = 3600.0

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._path = folder, folder / f"{name}.json"
        self._written_at = 0.0
        self._calls = -1

    def save(self, dispatcher: Dispatcher) -> None:
        """Write down what is new, not too often."""
        now = time.monotonic()
        if dispatcher.model.calls == self._calls or now - self._written_at < self.EVERY_S:
            return
        self._calls, self._written_at = dispatcher.model.calls, now
        self._folder.mkdir(parents=True, exist_ok=True)
        with replacing(self._path) as out:
            out.write(json.dumps(learned(dispatcher)).encode())

    def everything(self, own: Dispatcher) -> Dispatcher:
        """Give a dispatcher with the times that all actors learned, `own` first; it is asked, and runs nothing."""
        made = Dispatcher(own.lanes)
        made.standing = own.standing
        made.model.take_table(own.model.table())
        for path in sorted(self._folder.glob("*.json")):
            try:
                kept = json.loads(path.read_text())
                if time.time() - kept["at"] < self.OLD_S or path.name.startswith("calibration-"):
                    made.model.take_table(kept["table"])
            except (OSError, ValueError, KeyError):  # replaced by another release's, or not whole
                continue
        return made
