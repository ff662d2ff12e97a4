"""A network of dense layers as plain arrays: what any device can compute, whoever made it and in whatever file."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from factors.errors import FactorError
from factors.numeric.blas import one_blas_thread

Array = NDArray[np.float64]

ACTIVATIONS = {"r": "max(0, x)", "t": "tanh(x)", "s": "1 / (1 + exp(-x))", "i": "x"}
"""What may stand behind a layer, by the letter that names it."""
FORMAT = 1
HEAD_BYTES = 65_536
LAYERS_MOST = 32
DRAWN = 256


def activated(letter: str, x: Array) -> Array:
    """Give an activation by its letter, float64 [...] like `x`; no value overflows on the way."""
    if letter == "r":
        return np.maximum(x, 0.0)
    if letter == "t":
        return np.tanh(x)
    if letter == "s":
        return 0.5 * (1.0 + np.tanh(0.5 * x))
    return x


@one_blas_thread
def dense_layers(inputs: Array, activations: str, *layers: Array) -> Array:
    """Compute dense layers, float64 [n_rows, n_outputs].

    Parameters
    ----------
    inputs : float64 [n_rows, n_inputs]
    activations : str
        A letter of `ACTIVATIONS` for each layer.
    layers : float64 arrays
        Weights [n_in, n_out] and offsets [n_out] of each layer in turn.
    """
    now = inputs
    for i, letter in enumerate(activations):
        now = activated(letter, now @ layers[2 * i] + layers[2 * i + 1])
    return now


@dataclass(frozen=True)
class Scaler:
    """``(x - center) * scale`` of each column."""

    center: Array
    scale: Array

    def __call__(self, x: Array) -> Array:
        """Scale float64 [n_rows, n_columns]."""
        return (x - self.center) * self.scale


@dataclass(frozen=True)
class Places:
    """The place of each column's value in a distribution, 0 to 1: a quantile transform to the uniform distribution.

    Attributes
    ----------
    quantiles : float64 [n_quantiles, n_columns]
        Not decreasing in a column.
    references : float64 [n_quantiles]
        The places of the quantiles.
    """

    quantiles: Array
    references: Array

    def __call__(self, x: Array) -> Array:
        """Give places, float64 [n_rows, n_columns]; a value among equal quantiles has the place in their middle."""
        made = np.empty_like(x)
        for column, (values, own) in enumerate(zip(x.T, self.quantiles.T, strict=True)):
            up = np.interp(values, own, self.references)
            down = np.interp(-values, -own[::-1], -self.references[::-1])
            made[:, column] = 0.5 * (up - down)
            made[values == own[-1], column] = 1.0
            made[values == own[0], column] = 0.0
        return made


Step = Scaler | Places
_KINDS: dict[str, type[Step]] = {"scaler": Scaler, "places": Places}


@dataclass(frozen=True)
class DenseNetwork:
    """Scalers of the inputs, then dense layers.

    Attributes
    ----------
    steps : tuple
        What the inputs go through in float64, on whatever device the layers are.
    activations : str
        A letter of `ACTIVATIONS` for each layer.
    layers : tuple of float64 arrays
        Weights [n_in, n_out] and offsets [n_out] of each layer in turn.

    Raises
    ------
    FactorError
        Shapes that do not fit each other, an activation that is none, or a number that is none.
    """

    steps: tuple[Step, ...]
    activations: str
    layers: tuple[Array, ...] = field(repr=False)

    def __post_init__(self) -> None:
        """Look at the shapes and the numbers."""
        if not 0 < len(self.activations) <= LAYERS_MOST or len(self.layers) != 2 * len(self.activations):
            raise FactorError(f"a network has 1 to {LAYERS_MOST} layers", field="layers")
        if set(self.activations) - set(ACTIVATIONS):
            raise FactorError(f"activations are of {', '.join(ACTIVATIONS)}", field="activations")
        weights, offsets = self.layers[::2], self.layers[1::2]
        fits = all(W.ndim == 2 and W.size and b.shape == (W.shape[1],) for W, b in zip(weights, offsets, strict=True))
        if not fits or any(W.shape[1] != V.shape[0] for W, V in itertools.pairwise(weights)):
            raise FactorError("the layers' shapes do not fit each other", field="layers")
        wide = (self.n_inputs,)
        for step in self.steps:
            first, second = _arrays_of(step)
            if isinstance(step, Scaler):
                good = first.shape == second.shape == wide
            else:
                good = (
                    first.shape == second.shape + wide and len(second) > 1 and bool((np.diff(first, axis=0) >= 0).all())
                )
            if not good:
                raise FactorError(f"a step does not fit the {wide[0]} inputs", field="steps")
        if not all(np.isfinite(array).all() for array in self._arrays()):
            raise FactorError("a weight is no finite number", field="layers")

    @property
    def n_inputs(self) -> int:
        """Columns that it takes."""
        return int(self.layers[0].shape[0])

    @property
    def n_outputs(self) -> int:
        """Columns that it gives."""
        return int(self.layers[-1].shape[0])

    @property
    def shape(self) -> tuple[int, ...]:
        """Units: inputs, each layer, outputs."""
        return (self.n_inputs, *(int(b.size) for b in self.layers[1::2]))

    def scaled(self, x: Array) -> Array:
        """Give the inputs of the first layer, float64 [n_rows, n_inputs]."""
        for step in self.steps:
            x = step(x)
        return x

    def predict(self, x: Array) -> Array:
        """Compute it all on the CPU, float64 [n_rows, n_outputs]."""
        return dense_layers(self.scaled(x), self.activations, *self.layers)

    def drawn(self, n_rows: int = DRAWN, seed: int = 0) -> Array:
        """Draw inputs of the kind that its scalers were made for, or of the normal distribution, to try it out with."""
        z = np.random.default_rng(seed).standard_normal((n_rows, self.n_inputs))
        first = self.steps[0] if self.steps else None
        if isinstance(first, Scaler):
            return first.center + np.divide(z, first.scale, out=np.zeros_like(z), where=first.scale != 0.0)
        if isinstance(first, Places):
            at = 0.5 * (1.0 + np.vectorize(math.erf, otypes=[np.float64])(z))  # some beyond none of them
            return np.column_stack(
                [np.interp(p, first.references, own) for p, own in zip(at.T, first.quantiles.T, strict=True)]
            )
        return z

    # As bytes --------------------------------------------------------------------------------------------------------

    def _arrays(self) -> tuple[Array, ...]:
        return (*itertools.chain.from_iterable(_arrays_of(step) for step in self.steps), *self.layers)

    def to_bytes(self) -> bytes:
        """Write it down: a line of JSON, then the arrays in float64. Reading it runs nothing of what it says."""
        kinds = {kind: name for name, kind in _KINDS.items()}
        arrays = self._arrays()
        head = {
            "format": FORMAT,
            "steps": [kinds[type(step)] for step in self.steps],
            "activations": self.activations,
            "shapes": [array.shape for array in arrays],
        }
        return json.dumps(head).encode() + b"\n" + b"".join(np.ascontiguousarray(a, "<f8").tobytes() for a in arrays)

    @classmethod
    def from_bytes(cls, content: bytes) -> DenseNetwork:
        """Read what `to_bytes` wrote. Raises `FactorError` for anything else, whatever it is."""
        try:
            line, _, _ = content[:HEAD_BYTES].partition(b"\n")
            head = json.loads(line)
            if head["format"] != FORMAT:
                raise FactorError(f"the network is written in the format {head['format']}", field="format")
            arrays = _taken(content[len(line) + 1 :], head["shapes"])
            pairs = [arrays[i : i + 2] for i in range(0, 2 * len(head["steps"]), 2)]
            steps = tuple(_KINDS[name](*pair) for name, pair in zip(head["steps"], pairs, strict=True))
            return cls(steps, str(head["activations"]), tuple(arrays[2 * len(steps) :]))
        except FactorError:
            raise
        except (ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError) as error:
            raise FactorError(f"it is no network: {type(error).__name__}: {error}", field="network") from None


def _arrays_of(step: Step) -> tuple[Array, Array]:
    return (step.center, step.scale) if isinstance(step, Scaler) else (step.quantiles, step.references)


def _taken(content: bytes, shapes: Sequence[Any]) -> list[Array]:
    sizes = [math.prod(int(n) for n in shape) for shape in shapes]
    if min(sizes, default=0) < 0 or 8 * sum(sizes) != len(content):
        raise ValueError("its arrays are not as long as it says")
    ends = list(itertools.accumulate(sizes, initial=0))
    whole = np.frombuffer(content, "<f8").astype(np.float64)
    return [whole[a:b].reshape([int(n) for n in shape]) for a, b, shape in zip(ends, ends[1:], shapes, strict=False)]
