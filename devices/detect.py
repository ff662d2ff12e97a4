"""Which devices this machine really has. A missing one is reported with the reason; nothing is simulated."""

from __future__ import annotations

import contextlib
import platform
import subprocess
import sys
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from contracts.settings import settings
from contracts.work import Device

SYSCTL_S = 10.0


@dataclass(frozen=True)
class Detection:
    """What was found of one device."""

    device: Device
    available: bool
    name: str | None
    reason: str
    """Why it is not available, or how it was found."""


@lru_cache(maxsize=1)
def detect() -> dict[Device, Detection]:
    """Look for every device once per process."""
    return {
        Device.CPU: Detection(Device.CPU, True, chip(), "always there"),
        Device.METAL_GPU: _metal(),
        Device.NEURAL_ENGINE: _neural_engine(),
    }


@lru_cache(maxsize=1)
def chip() -> str:
    """Name the chip, on a Mac with the build of its system: what was measured or compiled holds for these.

    Python says "arm" of every Mac.
    """
    if _apple_silicon():
        asked = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string", "kern.osversion"]
        with contextlib.suppress(OSError, ValueError, subprocess.SubprocessError):
            name, build = subprocess.check_output(asked, text=True, timeout=SYSCTL_S).splitlines()
            return f"{name}, macOS {platform.mac_ver()[0]} {build}"
    return platform.processor() or platform.machine()


def device_folder() -> Path:
    """Give the folder of a run where calibrations, what actors learned, and compiled models lie."""
    return settings().run_dir.resolve() / "devices"


def _apple_silicon() -> bool:
    return sys.platform == "darwin" and platform.machine() == "arm64"


def _missing(device: Device, reason: str) -> Detection:
    return Detection(device, False, None, reason)


def _metal() -> Detection:
    if not settings().metal_gpu_enabled:
        return _missing(Device.METAL_GPU, "switched off by FACTOR_ENGINE_METAL_GPU_ENABLED")
    if not _apple_silicon():
        return _missing(Device.METAL_GPU, f"needs Apple silicon, this is {sys.platform} {platform.machine()}")
    try:
        import mlx.core as mx
    except ImportError as error:
        return _missing(Device.METAL_GPU, f"MLX cannot be imported: {error}")
    if not mx.metal.is_available():
        return _missing(Device.METAL_GPU, "MLX finds no Metal device")
    return Detection(Device.METAL_GPU, True, str(mx.device_info().get("device_name", "Metal")), "found by MLX")


def _neural_engine() -> Detection:
    if not settings().neural_engine_enabled:
        return _missing(Device.NEURAL_ENGINE, "switched off by NEURAL_ENGINE_ENABLED")
    if not _apple_silicon():
        return _missing(Device.NEURAL_ENGINE, f"needs Apple silicon, this is {sys.platform} {platform.machine()}")
    try:
        from coremltools.models.compute_device import MLNeuralEngineComputeDevice
        from coremltools.models.model import MLModel
    except ImportError as error:
        return _missing(Device.NEURAL_ENGINE, f"coremltools cannot be imported: {error}")
    for found in MLModel.get_available_compute_devices():
        if isinstance(found, MLNeuralEngineComputeDevice):
            return Detection(Device.NEURAL_ENGINE, True, f"{found.total_core_count} cores", "found by Core ML")
    return _missing(Device.NEURAL_ENGINE, "Core ML finds no Neural Engine")
