"""The kernels for the Neural Engine: Core ML programs in float16, fixed shapes, built once per bucket of shapes.

Core ML only permits the Neural Engine, it does not promise it; `placement` tells where each operation would run, and
measurement decides. Arguments are scaled by powers of two to at most 1, products are cut into blocks of `prepare.BLOCK`
terms, and blocks are added in float64 on the CPU: so nothing overflows, and the error does not grow with the number of
names. On Linux programs cannot be predicted, but a program function called with constants evaluates through ``.val``:
`evaluate` does that, for tests of the arithmetic.
"""

from __future__ import annotations

import logging
import tempfile
import time
import warnings
from collections import deque
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from devices import compiled
from devices.detect import device_folder
from devices.prepare import BLOCK, in_blocks, padded, unit, unit_rows, up_to_bucket
from factors.portfolio.risk import known_exposures

Array = NDArray[np.float64]
Known = NDArray[np.bool_]
Shapes = tuple[tuple[int, ...], ...]
PROGRAMS_KEPT = 32
LARGEST = 16_000.0
"""Half of where the Neural Engine's products overflow."""
SMALLEST = 6.2e-5
"""The least normal float16, below the least mean square of a row that is scaled to 1."""
INPUTS = ("x", "y", "z")
"""Names of a program's inputs; a compiled model has no list of them."""
INPUTS_KEPT_S = 3.0
"""Core ML frees the inputs of a prediction on another thread after it (coremltools PR 2827): they are held longer."""

_inputs: deque[tuple[float, Any]] = deque()


class OutOfRangeError(Exception):
    """The numbers may overflow float16: the CPU has to compute this call. It says nothing against the device."""


def exposures(weights: Array, X: Array) -> Array:
    """Exposures of many books; see `devices.cpu.exposures`."""
    return _product(weights, known_exposures(weights, X))


def book_risk(weights: Array, X: Array, F: Array) -> tuple[Array, Array]:
    """Exposures of many books and gradients of their factor variances; see `devices.cpu.book_risk`."""
    known = known_exposures(weights, X)
    exposed = _product(weights, known)
    gradient = _product(exposed @ F, known.T)  # with F, K x K, in float64: it is small, and costs no digits
    gradient[:, np.isnan(X).any(axis=1)] = np.nan
    return exposed, gradient


def revalue(book_exposures: Array, shocks: Array) -> Array:
    """Profit and loss of books in scenarios; see `devices.cpu.revalue`."""
    return _product(book_exposures, shocks.T)


def grams(X: Array, weights: Array, y: Array) -> tuple[Array, Array]:
    """Weighted Gram matrices and right sides; see `devices.cpu.grams`."""
    weighted = (X * weights[:, :, None]).transpose(0, 2, 1)
    both = _product(weighted, np.concatenate([X, y[:, :, None]], axis=2), by_column=True)
    return both[:, :, :-1], both[:, :, -1]


def covariances(returns: Array, weights: Array) -> Array:
    """Weighted second moments of many histories; see `devices.cpu.covariances`."""
    scaled = weights / weights.sum(axis=1, keepdims=True)
    return _product((returns * scaled[:, :, None]).transpose(0, 2, 1), returns)


def standardize(values: Array, known: Known, bound: float) -> Array:
    """Clipped scores; see `devices.cpu.standardize`. Values are centred and scaled in float64 first."""
    n_dates, n_assets = values.shape
    blocks = -(-n_assets // BLOCK)
    inside = padded(unit_rows(values, known), 1, blocks * BLOCK).reshape(n_dates, blocks, BLOCK)
    count = np.maximum(known.sum(axis=1), 1).astype(np.float64)
    rows = up_to_bucket(n_dates)
    (made,) = _run(
        "standardize",
        padded(inside, 0, rows),
        padded((1.0 / count)[:, None, None], 0, rows),
        np.full((1, 1, 1), min(bound, LARGEST)),
    )
    scores = made[:n_dates].reshape(n_dates, -1)[:, :n_assets]
    return np.where(known, np.clip(scores, -bound, bound), np.nan)


def network(inputs: Array, activations: str, *layers: Array) -> Array:
    """Answer of a network of dense layers; see `devices.cpu.network`.

    Raises
    ------
    OutOfRangeError
        When the sizes of inputs and weights allow an intermediate result beyond float16.
    """
    largest = float(np.abs(inputs).max(initial=0.0))
    for i, letter in enumerate(activations):
        weights, offsets = layers[2 * i], layers[2 * i + 1]
        largest = largest * float(np.abs(weights).sum(axis=0).max()) + float(np.abs(offsets).max())
        if not largest <= LARGEST:
            raise OutOfRangeError(f"layer {i + 1} may reach {largest:.0f}")
        if letter in "ts":
            largest = 1.0
    (made,) = _run(f"network {activations}", padded(inputs, 0, up_to_bucket(len(inputs))), constants=layers)
    return made[: len(inputs)]


def _product(left: Array, right: Array, *, by_column: bool = False) -> Array:
    """Give ``left @ right``, batched over leading axes, with rows of `left` (and columns of `right`) scaled to 1."""
    rows, row_scale = unit(left, -1)
    columns, column_scale = unit(right, -2 if by_column else (-2, -1))
    m, k = rows.shape[-2], columns.shape[-1]
    rows = padded(rows, -2, up_to_bucket(m))
    columns = padded(columns, -1, up_to_bucket(k, 8))
    first, second = in_blocks(rows, columns)
    if first.ndim == 4:
        batch = up_to_bucket(first.shape[0])
        first, second = padded(first, 0, batch), padded(second, 0, batch)
    (made,) = _run("product", first, second)
    total = made.sum(axis=-3)
    if left.ndim == 3:
        total = total[: left.shape[0]]
    answer: Array = total[..., :m, :k] * row_scale * column_scale
    return answer


def _build_product(mb: Any, x: Any, y: Any) -> Any:
    return mb.matmul(x=x, y=y)


def _build_standardize(mb: Any, inside: Any, inverse_count: Any, bound: Any) -> Any:
    squares = mb.reduce_sum(x=mb.mul(x=inside, y=inside), axes=[2], keep_dims=True)
    mean = mb.reduce_sum(x=mb.mul(x=squares, y=inverse_count), axes=[1], keep_dims=True)
    spread = mb.sqrt(x=mb.maximum(x=mean, y=_like(mean, SMALLEST)))
    scores = mb.real_div(x=inside, y=spread)
    return mb.maximum(x=mb.minimum(x=scores, y=bound), y=mb.mul(x=bound, y=_like(bound, -1.0)))


def _like(value: Any, number: float) -> Any:
    """Give a number in the type of a program's value."""
    from coremltools.converters.mil.mil.types import nptype_from_builtin

    return nptype_from_builtin(value.dtype)(number)


def _build_network(activations: str, mb: Any, inputs: Any, *layers: Any) -> Any:
    behind = {"r": mb.relu, "t": mb.tanh, "s": mb.sigmoid, "i": mb.identity}
    now = inputs
    for i, letter in enumerate(activations):
        now = behind[letter](x=mb.add(x=mb.matmul(x=now, y=layers[2 * i]), y=layers[2 * i + 1]))
    return now


def builder(body: str) -> Callable[..., Any]:
    """Give what builds a body: `product`, `standardize`, or `network` with the letters of its activations behind."""
    name, _, activations = body.partition(" ")
    return partial(_build_network, activations) if name == "network" else BODIES[name]


BODIES: dict[str, Callable[..., Any]] = {"product": _build_product, "standardize": _build_standardize}


def coremltools() -> Any:
    """Import coremltools without its warnings about libraries that only a Mac has."""
    logging.getLogger("coremltools").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import coremltools as ct
    return ct


def evaluate(
    body: str, *arrays: Array, constants: tuple[Array, ...] = (), dtype: type[np.floating[Any]] = np.float16
) -> tuple[Array, ...]:
    """Run a program's body on constants by Core ML's own value inference; works anywhere.

    In float32 it shows that the program is right where float16's rounding would hide a small fault.
    """
    coremltools()
    from coremltools.converters.mil import Builder as mb  # noqa: N813
    from coremltools.converters.mil.mil import Function

    # A sigmoid of -12 takes float16's exp beyond its range, and is 0 as it should be.
    with Function({}), np.errstate(over="ignore"):
        result = builder(body)(mb, *(mb.const(val=array.astype(dtype)) for array in (*arrays, *constants)))
    return (np.asarray(result.val, dtype=np.float64),)


class _Constants:
    """Arrays as the key of a cache: by their bytes."""

    def __init__(self, arrays: tuple[Array, ...]) -> None:
        self.arrays = tuple(array.astype(np.float16) for array in arrays)
        self._key = tuple((array.shape, array.tobytes()) for array in self.arrays)

    def told(self) -> list[bytes]:
        """Give shapes and bytes, as part of the key of a compiled model."""
        return [part for shape, content in self._key for part in (repr(shape).encode(), content)]

    def __hash__(self) -> int:
        return hash(self._key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Constants) and self._key == other._key


def program(body: str, shapes: Shapes, constants: _Constants | None = None, *, load: bool = False) -> Any:
    """Build the Core ML model of a body for these input shapes; float16, CPU and Neural Engine permitted.

    With `load` Core ML compiles it too, for this process alone.
    """
    ct = coremltools()
    from coremltools.converters.mil import Builder as mb  # noqa: N813
    from coremltools.converters.mil.mil import types

    build = builder(body)
    held = constants.arrays if constants is not None else ()
    specs = [mb.TensorSpec(shape=shape, dtype=types.fp16) for shape in shapes]
    made: Any
    # Core ML names a program's inputs by the function's own parameters: `INPUTS`.
    if len(shapes) == 1:

        def made(x: Any) -> Any:
            return build(mb, x, *held)
    elif len(shapes) == 2:

        def made(x: Any, y: Any) -> Any:
            return build(mb, x, y, *held)
    else:

        def made(x: Any, y: Any, z: Any) -> Any:
            return build(mb, x, y, z, *held)

    return ct.convert(
        mb.program(input_specs=specs, opset_version=ct.target.macOS13)(made),
        convert_to="mlprogram",
        compute_units=ct.ComputeUnit.CPU_AND_NE,
        minimum_deployment_target=ct.target.macOS13,
        skip_model_load=not load,
    )


@lru_cache(maxsize=PROGRAMS_KEPT)
def loaded(body: str, shapes: Shapes, constants: _Constants | None = None) -> Any:
    """Load the compiled model of a body; it is compiled once for all processes of a run, where its folder allows that.

    The text of this module is part of the key, so a program that is built in another way is another entry.
    """
    coremltools()
    told = constants.told() if constants is not None else []
    name = compiled.key(Path(__file__).read_bytes(), body.encode(), repr(shapes).encode(), *told)
    made = compiled.load(
        device_folder() / "compiled", name, lambda package: program(body, shapes, constants).save(package)
    )
    return program(body, shapes, constants, load=True) if made is None else made


def placement(body: str, shapes: Shapes, constants: tuple[Array, ...] = ()) -> dict[str, str]:
    """Tell, per operation of a program, the device that Core ML prefers; macOS 14.4 and later only."""
    ct = coremltools()
    from coremltools.models.compute_plan import MLComputePlan

    model = program(body, shapes, _Constants(constants) if constants else None)
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/{body}.mlpackage"
        model.save(path)
        compiled = ct.models.utils.compile_model(path)
        plan = MLComputePlan.load_from_path(path=compiled, compute_units=ct.ComputeUnit.CPU_AND_NE)
        main = plan.model_structure.program.functions["main"]
        usage = {
            op.operator_name: plan.get_compute_device_usage_for_mlprogram_operation(op) for op in main.block.operations
        }
    return {name: type(use.preferred_compute_device).__name__ for name, use in usage.items() if use is not None}


def _run(body: str, *arrays: Array, constants: tuple[Array, ...] = ()) -> tuple[Array, ...]:
    model = loaded(body, tuple(array.shape for array in arrays), _Constants(constants) if constants else None)
    given = {n: a.astype(np.float16) for n, a in zip(INPUTS, arrays, strict=False)}
    now = time.monotonic()
    _inputs.append((now, given))
    while _inputs[0][0] < now - INPUTS_KEPT_S:
        _inputs.popleft()
    output = model.predict(given)
    return tuple(np.asarray(value, dtype=np.float64) for value in output.values())
