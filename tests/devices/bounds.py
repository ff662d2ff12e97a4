"""Holding a device's kernel to the error bound that it states."""

import numpy as np
import pytest

from contracts.work import Device
from devices import cpu, metal, neural_engine
from devices.kernels import KERNELS

MODULES = {Device.METAL_GPU: metal, Device.NEURAL_ENGINE: neural_engine}


def needs(device):
    pytest.importorskip("mlx.core" if device is Device.METAL_GPU else "coremltools")


def several(result):
    return result if isinstance(result, tuple) else (result,)


def within_bounds(device, name, arguments, bound_of=None):
    """Compare a kernel with that of the CPU; by default to the bound of the device itself."""
    kernel = KERNELS[name]
    expected = several(getattr(cpu, name)(*arguments))
    result = several(getattr(MODULES[device], name)(*arguments))
    bounds = kernel.bound(bound_of or device, kernel.sizes(*arguments))
    magnitudes = kernel.magnitude(*arguments)
    for right, given_, bound, magnitude in zip(expected, result, bounds, magnitudes, strict=True):
        assert given_.shape == right.shape
        assert given_.dtype == np.float64
        np.testing.assert_array_equal(np.isnan(given_), np.isnan(right))
        off = np.nanmax(np.abs(given_ - right), initial=0.0)
        assert off <= bound * magnitude + 1e-37, (off, bound * magnitude)
