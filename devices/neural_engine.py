"""The kernels for the Neural Engine: Core ML programs in float16, fixed shapes, built once per shape.

Core ML only permits the Neural Engine, it does not promise it; `placement` tells where each operation would run, and
measurement decides. On Linux programs cannot be predicted, but a program function called with constants evaluates
through ``.val``: `evaluate` does that, for tests of the arithmetic.
"""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Shapes = tuple[tuple[int, ...], ...]
PROGRAMS_KEPT = 16


def project(weights: Array, exposures: Array) -> Array:
    """Exposures of portfolios; see `devices.cpu.project`."""
    return _predict("project", weights, np.nan_to_num(exposures))


def second_moment(returns: Array, weights: Array) -> Array:
    """Weighted second moment of factor returns; see `devices.cpu.second_moment`.

    Returns are scaled to unit size first: daily variances (1e-4) would lose their digits in float16.
    """
    size = float(np.abs(returns).max()) or 1.0
    root = np.sqrt(weights / weights.sum())[:, None]
    moment: Array = _predict("second_moment", returns / size * root) * size**2
    return moment


def weighted_sum(values: Array, weights: Array) -> Array:
    """Weighted sum over a window of days; see `devices.cpu.weighted_sum`."""
    total: Array = _predict("weighted_sum", values, weights[None, :])[0]
    return total


def _project(mb: Any, weights: Any, exposures: Any) -> Any:
    return mb.matmul(x=weights, y=exposures)


def _second_moment(mb: Any, rooted: Any) -> Any:
    return mb.matmul(x=rooted, y=rooted, transpose_x=True)


def _weighted_sum(mb: Any, values: Any, weights: Any) -> Any:
    return mb.matmul(x=weights, y=values)


BODIES: dict[str, Callable[..., Any]] = {
    "project": _project,
    "second_moment": _second_moment,
    "weighted_sum": _weighted_sum,
}


def coremltools() -> Any:
    """Import coremltools without its warnings about libraries that only a Mac has."""
    logging.getLogger("coremltools").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import coremltools as ct
    return ct


def evaluate(kernel: str, *arrays: Array) -> Array:
    """Run a kernel's program function on float16 constants by Core ML's own value inference; works anywhere."""
    coremltools()
    from coremltools.converters.mil import Builder as mb  # noqa: N813
    from coremltools.converters.mil.mil import Function

    with Function({}):
        result = BODIES[kernel](mb, *(mb.const(val=array.astype(np.float16)) for array in arrays))
    return np.asarray(result.val, dtype=np.float64)


@lru_cache(maxsize=PROGRAMS_KEPT)
def program(kernel: str, shapes: Shapes) -> Any:
    """Build and load the Core ML model of a kernel for these input shapes; float16, CPU and Neural Engine permitted."""
    ct = coremltools()
    from coremltools.converters.mil import Builder as mb  # noqa: N813
    from coremltools.converters.mil.mil import types

    body = BODIES[kernel]
    specs = [mb.TensorSpec(shape=shape, dtype=types.fp16) for shape in shapes]

    if len(shapes) == 1:  # Core ML names a program's inputs by the function's own parameters

        @mb.program(input_specs=specs, opset_version=ct.target.macOS13)
        def built(x: Any) -> Any:
            return body(mb, x)
    else:

        @mb.program(input_specs=specs, opset_version=ct.target.macOS13)
        def built(x: Any, y: Any) -> Any:
            return body(mb, x, y)

    return ct.convert(
        built,
        convert_to="mlprogram",
        compute_units=ct.ComputeUnit.CPU_AND_NE,
        minimum_deployment_target=ct.target.macOS13,
    )


def placement(kernel: str, shapes: Shapes) -> dict[str, str]:
    """Tell, per operation of a kernel's program, the device that Core ML prefers; macOS 14.4 and later only."""
    ct = coremltools()
    from coremltools.models.compute_plan import MLComputePlan

    model = program(kernel, shapes)
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/{kernel}.mlpackage"
        model.save(path)
        compiled = ct.models.utils.compile_model(path)
        plan = MLComputePlan.load_from_path(path=compiled, compute_units=ct.ComputeUnit.CPU_AND_NE)
        main = plan.model_structure.program.functions["main"]
        usage = {
            op.operator_name: plan.get_compute_device_usage_for_mlprogram_operation(op) for op in main.block.operations
        }
    return {name: type(use.preferred_compute_device).__name__ for name, use in usage.items() if use is not None}


def _predict(kernel: str, *arrays: Array) -> Array:
    model = program(kernel, tuple(array.shape for array in arrays))
    names = [spec.name for spec in model.get_spec().description.input]
    output = model.predict({n: a.astype(np.float16) for n, a in zip(names, arrays, strict=True)})
    return np.asarray(next(iter(output.values())), dtype=np.float64)
