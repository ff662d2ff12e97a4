"""What is known of each kernel beforehand: its sizes, its work, arguments to measure it with, and its error bounds."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contracts.work import ROUNDING, Device
from devices import cpu
from devices.prepare import BLOCK

Array = NDArray[np.float64]
Result = Array | tuple[Array, ...]


def gamma(n: float, rounding: float) -> float:
    """Give the bound ``n u / (1 - n u)`` of `n` roundings (Higham 2002, section 3.1); infinite where there is none."""
    return n * rounding / (1.0 - n * rounding) if n * rounding < 1.0 else np.inf


def sum_bound(device: Device, n: int) -> float:
    """Bound the error of a sum of `n` products, relative to the sum of their magnitudes.

    Two roundings of the factors and one of each addition, in whatever order the device adds. On the Neural Engine a
    block has `prepare.BLOCK` terms and the blocks are added in float64, so the bound does not grow beyond a block's.
    """
    if device is Device.NEURAL_ENGINE:
        return gamma(min(n, BLOCK) + 3, ROUNDING[device]) + gamma(n, ROUNDING[Device.CPU])
    return gamma(n + 3, ROUNDING[device])


def blocks_bound(device: Device, n: int) -> float:
    """Bound the error of a sum of `n` products that every device but the CPU makes in blocks, as `sum_bound` does."""
    if device is Device.CPU:
        return sum_bound(device, n)
    return gamma(min(n, BLOCK) + 3, ROUNDING[device]) + gamma(n, ROUNDING[Device.CPU])


@dataclass(frozen=True)
class Kernel:
    """One kernel.

    Attributes
    ----------
    name : str
        The function's, in every device's module.
    sizes : function
        Arguments to the sizes that its time depends on.
    names : tuple of str
        What the sizes are.
    work, moved : function
        Sizes to floating-point operations, and to bytes of arguments and results in float64.
    sample : function
        Sizes and a generator to arguments of that size, of the kind that the engine has.
    bound : function
        Device and sizes to the bound of the error of each result, relative to `magnitude`.
    magnitude : function
        Arguments to what errors are relative to, one number for each result.
    """

    name: str
    names: tuple[str, ...]
    sizes: Callable[..., tuple[int, ...]]
    work: Callable[..., float]
    moved: Callable[..., float]
    sample: Callable[..., tuple[Any, ...]]
    bound: Callable[..., tuple[float, ...]]
    magnitude: Callable[..., tuple[float, ...]]


def relative_error(result: Result, expected: Result) -> float:
    """Give the largest error of a result, relative to the largest magnitude expected; infinite for one NaN more.

    Where both are NaN the result is right: what is missing stays missing.
    """
    worst = 0.0
    for given, right in zip(_several(result), _several(expected), strict=True):
        if given.shape != right.shape:
            return np.inf
        missing = np.isnan(right)
        if (np.isnan(given) != missing).any():
            return np.inf
        known = right[~missing]
        scale = float(np.abs(known).max(initial=0.0)) or 1.0
        off = float(np.abs(given[~missing] - known).max(initial=0.0)) / scale
        worst = max(worst, off if off >= 0.0 else np.inf)
    return worst


def _several(result: Result) -> tuple[Array, ...]:
    return result if isinstance(result, tuple) else (result,)


def _largest(*results: Array) -> tuple[float, ...]:
    return tuple(float(np.nanmax(result, initial=0.0)) for result in results)


def _book(sizes: Sequence[int], rng: np.random.Generator) -> tuple[Array, Array]:
    books, assets, factors = sizes
    return rng.dirichlet(np.ones(assets), books), rng.standard_normal((assets, factors))


def _sample_risk(sizes: Sequence[int], rng: np.random.Generator) -> tuple[Array, ...]:
    weights, X = _book(sizes, rng)
    returns = rng.standard_normal((4 * sizes[2], sizes[2])) * 0.01
    return weights, X, returns.T @ returns / len(returns)


def _sample_grams(sizes: Sequence[int], rng: np.random.Generator) -> tuple[Array, ...]:
    dates, assets, factors = sizes
    return (
        rng.standard_normal((dates, assets, factors)),
        rng.uniform(0.1, 1.0, (dates, assets)),
        rng.standard_normal((dates, assets)) * 0.02,
    )


def _sample_network(sizes: Sequence[int], rng: np.random.Generator) -> tuple[Any, ...]:
    rows, inputs, hidden, layers = sizes
    wide = [inputs, *[hidden] * (layers - 1), 1]
    parts: list[Array] = []
    for n_in, n_out in itertools.pairwise(wide):
        parts += [rng.standard_normal((n_in, n_out)) / np.sqrt(n_in), rng.standard_normal(n_out) * 0.1]
    return (rng.standard_normal((rows, inputs)), "r" * (layers - 1) + "i", *parts)


def _magnitude_risk(weights: Array, X: Array, F: Array) -> tuple[float, ...]:
    """Of sums of magnitudes: what cancels in the result has been added all the same."""
    held, exposed = np.abs(weights), np.abs(np.nan_to_num(X))
    total = held @ exposed
    return _largest(total, (total @ np.abs(F)) @ exposed.T)


def _bound_risk(device: Device, sizes: Sequence[int]) -> tuple[float, ...]:
    _, assets, factors = sizes
    once = blocks_bound(device, assets)
    return once, (1.0 + once) * (1.0 + sum_bound(device, factors)) ** 2 - 1.0


def _absolute_network(inputs: Array, activations: str, *layers: Array) -> tuple[float, ...]:
    """Of sums of magnitudes; no activation makes a difference of two numbers larger.

    ``max(0, x)`` and tanh are no larger than what they are of. A sigmoid is at most ``1/2 + |x| / 4``, and a difference
    of two of them a quarter of that of their arguments.
    """
    now = np.abs(inputs)
    for i, letter in enumerate(activations):
        now = now @ np.abs(layers[2 * i]) + np.abs(layers[2 * i + 1])
        now = 0.5 + 0.25 * now if letter == "s" else now
    return _largest(now)


def _bound_network(device: Device, sizes: Sequence[int]) -> tuple[float, ...]:
    """A layer is one sum, not cut into blocks: the next needs it whole. An activation counts as four roundings."""
    _, inputs, hidden, layers = sizes
    grown = 1.0 + gamma(inputs + 8, ROUNDING[device])
    for _ in range(layers - 1):
        grown *= 1.0 + gamma(hidden + 8, ROUNDING[device])
    return (grown - 1.0,)


def _bound_standardize(device: Device, sizes: Sequence[int]) -> tuple[float, ...]:
    """The mean square, its root, a quotient; mean zero of rounded values is off by one rounding of the largest."""
    n = sizes[1]
    terms = min(n, BLOCK) + -(-n // BLOCK) if device is Device.NEURAL_ENGINE else n
    return (gamma(terms + 12, ROUNDING[device]),)


KERNELS: dict[str, Kernel] = {
    kernel.name: kernel
    for kernel in (
        Kernel(
            "exposures",
            ("books", "assets", "factors"),
            lambda weights, X: (*weights.shape, X.shape[1]),
            lambda p, n, k: 2.0 * p * n * k,
            lambda p, n, k: 8.0 * (p * n + n * k + p * k),
            _book,
            lambda device, sizes: (blocks_bound(device, sizes[1]),),
            lambda weights, X: _largest(np.abs(weights) @ np.abs(np.nan_to_num(X))),
        ),
        Kernel(
            "book_risk",
            ("books", "assets", "factors"),
            lambda weights, X, F: (*weights.shape, X.shape[1]),
            lambda p, n, k: 4.0 * p * n * k + 2.0 * p * k * k,
            lambda p, n, k: 8.0 * (2 * p * n + n * k + k * k + p * k),
            _sample_risk,
            _bound_risk,
            _magnitude_risk,
        ),
        Kernel(
            "revalue",
            ("books", "scenarios", "factors"),
            lambda exposed, shocks: (len(exposed), *shocks.shape),
            lambda p, s, k: 2.0 * p * s * k,
            lambda p, s, k: 8.0 * (p * k + s * k + p * s),
            lambda sizes, rng: (
                rng.standard_normal((sizes[0], sizes[2])),
                rng.standard_normal((sizes[1], sizes[2])) * 0.01,
            ),
            lambda device, sizes: (sum_bound(device, sizes[2]),),
            lambda exposed, shocks: _largest(np.abs(exposed) @ np.abs(shocks).T),
        ),
        Kernel(
            "grams",
            ("dates", "assets", "factors"),
            lambda X, weights, y: X.shape,
            lambda t, n, k: 2.0 * t * n * k * (k + 1) + t * n * k,
            lambda t, n, k: 8.0 * t * (n * k + 2 * n + k * k + k),
            _sample_grams,
            lambda device, sizes: (sum_bound(device, sizes[1] + 1),) * 2,
            lambda X, weights, y: _largest(*cpu.grams(np.abs(X), weights, np.abs(y))),
        ),
        Kernel(
            "covariances",
            ("histories", "dates", "factors"),
            lambda returns, weights: returns.shape,
            lambda b, t, k: 2.0 * b * t * k * k + b * t * k,
            lambda b, t, k: 8.0 * b * (t * k + t + k * k),
            lambda sizes, rng: (rng.standard_normal(sizes) * 0.01, rng.uniform(0.1, 1.0, tuple(sizes[:2]))),
            lambda device, sizes: (sum_bound(device, sizes[1] + 2),),
            lambda returns, weights: _largest(cpu.covariances(np.abs(returns), weights)),
        ),
        Kernel(
            "standardize",
            ("dates", "assets"),
            lambda values, known, bound: values.shape,
            lambda t, n: 8.0 * t * n,
            lambda t, n: 17.0 * t * n,
            lambda sizes, rng: (rng.standard_normal(sizes), rng.random(tuple(sizes)) < 0.95, 3.0),
            _bound_standardize,
            lambda values, known, bound: _largest(np.abs(cpu.standardize(values, known, bound))),
        ),
        Kernel(
            "network",
            ("rows", "inputs", "hidden", "layers"),
            lambda inputs, activations, *layers: (
                *inputs.shape,
                max((w.shape[1] for w in layers[:-2:2]), default=1),
                len(activations),
            ),
            lambda r, i, h, n: 2.0 * r * (i * h + (n - 2) * h * h + h) if n > 1 else 2.0 * r * i,
            lambda r, i, h, n: 8.0 * (r * i + r * h * max(n - 1, 1) + i * h + max(n - 2, 0) * h * h),
            _sample_network,
            _bound_network,
            _absolute_network,
        ),
    )
}
