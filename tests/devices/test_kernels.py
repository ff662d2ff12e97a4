"""The kernels of every device say the same as those of the CPU, within what their number format allows."""

import inspect

import numpy as np
import pytest

from devices import cpu, metal, neural_engine

RNG = np.random.default_rng(0)
CASES = {
    "project": (RNG.dirichlet(np.ones(300), 4), RNG.standard_normal((300, 15))),
    "second_moment": (RNG.standard_normal((250, 15)) * 0.01, 0.5 ** (np.arange(250)[::-1] / 84)),
    "weighted_sum": (RNG.standard_normal((231, 300)) * 0.02, 0.5 ** (np.arange(231)[::-1] / 126)),
}


def public(module):
    return [
        n for n, f in inspect.getmembers(module, inspect.isfunction) if n in CASES and f.__module__ == module.__name__
    ]


def test_every_device_has_the_same_kernels():
    assert public(cpu) == public(metal) == public(neural_engine) == sorted(CASES)


@pytest.mark.parametrize("kernel", CASES)
def test_the_mlx_kernel_agrees_with_the_cpu_in_float32(kernel):
    pytest.importorskip("mlx.core")
    expected = getattr(cpu, kernel)(*CASES[kernel])
    result = getattr(metal, kernel)(*CASES[kernel])
    assert np.abs(result - expected).max() < 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize("kernel", CASES)
def test_the_core_ml_program_agrees_with_the_cpu_in_float16(kernel, monkeypatch):
    pytest.importorskip("coremltools")
    monkeypatch.setattr(neural_engine, "_predict", neural_engine.evaluate)
    expected = getattr(cpu, kernel)(*CASES[kernel])
    result = getattr(neural_engine, kernel)(*CASES[kernel])
    assert np.abs(result - expected).max() < 5e-3 * np.abs(expected).max()


def test_a_core_ml_program_converts_to_a_package_with_float16_inputs():
    pytest.importorskip("coremltools")
    model = neural_engine.program("project", ((4, 64), (64, 8)))
    inputs = model.get_spec().description.input
    assert [tuple(i.type.multiArrayType.shape) for i in inputs] == [(4, 64), (64, 8)]


def test_the_second_moment_is_that_of_the_definition():
    returns, weights = CASES["second_moment"]
    expected = sum(w * np.outer(f, f) for w, f in zip(weights, returns, strict=True)) / weights.sum()
    np.testing.assert_allclose(cpu.second_moment(returns, weights), expected, rtol=1e-12)
