"""Run the programs of the Neural Engine on Apple's Core AI, which computes float16 on Linux too.

    python core_ai_programs.py        (in the oracle environment)

A line of JSON on standard input has ``in`` and ``out``, names of files, and ``body``: ``product``, ``standardize``, or
``network`` with a letter for the activation of each layer. The first file, npz, holds the inputs ``x0``, ``x1``, ... and
of a network the constants ``c0``, ``c1``, ...; they are taken as float16. The second gets ``made``. A line of JSON comes
back for each. The bodies say with Core AI's operations what `devices.neural_engine` says with Core ML's.
"""

import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from coreai import authoring as ca
from coreai.authoring import AIProgram, Module, TensorType, Value
from coreai.authoring.graph import graph
from coreai.runtime import NDArray

SMALLEST = 6.2e-5
ACTIVATIONS = {"r": ca.relu, "t": ca.tanh, "s": ca.sigmoid, "i": lambda x: x}
Shape = tuple[int, ...]


def fixed(number: float) -> np.ndarray:
    return np.full((1, 1, 1), number, np.float16)


def product(x: Any, y: Any) -> Any:
    return ca.broadcasting_batch_matmul(x, y)


def standardize(inside: Any, inverse_count: Any, bound: Any) -> Any:
    squares = ca.reduce_sum(ca.mul(inside, inside), [2])
    mean = ca.reduce_sum(ca.broadcasting_mul(squares, inverse_count), [1])
    spread = ca.sqrt(ca.broadcasting_maximum(mean, fixed(SMALLEST)))
    scores = ca.broadcasting_divide(inside, spread)
    return ca.broadcasting_maximum(ca.broadcasting_minimum(scores, bound), ca.broadcasting_mul(bound, fixed(-1.0)))


def network(activations: str, layers: list[np.ndarray], inputs: Any) -> Any:
    now = inputs
    for letter, weights, offsets in zip(activations, layers[::2], layers[1::2], strict=True):
        now = ca.broadcasting_add(ca.broadcasting_batch_matmul(now, weights), offsets[None, :])
        now = ACTIVATIONS[letter](now)
    return now


def body_of(name: str, arrays: list[np.ndarray], constants: list[np.ndarray]) -> tuple[Callable[..., Any], Shape]:
    """Give what builds a body, and the shape of what it makes."""
    name, _, activations = name.partition(" ")
    if name == "network":
        return partial(network, activations, constants), (len(arrays[0]), constants[-1].size)
    if name == "product":
        return product, (*arrays[0].shape[:-1], arrays[1].shape[-1])
    return standardize, arrays[0].shape


def program(build: Callable[..., Any], arrays: list[np.ndarray], shape: Shape) -> AIProgram:
    """Build a program; Core AI names its inputs by the function's own parameters."""
    x_type, y_type, z_type = [TensorType(a.shape, np.float16) for a in arrays] + [None] * (3 - len(arrays))
    made = TensorType(shape, np.float16, name="made")
    module = Module.create()
    with module:
        if len(arrays) == 1:

            @graph(provided_name="main")
            def main(x: Annotated[Value, x_type]) -> Annotated[Value, made]:
                return build(x)
        elif len(arrays) == 2:

            @graph(provided_name="main")
            def main(x: Annotated[Value, x_type], y: Annotated[Value, y_type]) -> Annotated[Value, made]:
                return build(x, y)
        else:

            @graph(provided_name="main")
            def main(
                x: Annotated[Value, x_type], y: Annotated[Value, y_type], z: Annotated[Value, z_type]
            ) -> Annotated[Value, made]:
                return build(x, y, z)

    return AIProgram(module)


async def run(body: str, arrays: list[np.ndarray], constants: list[np.ndarray]) -> np.ndarray:
    build, shape = body_of(body, arrays, constants)
    with tempfile.TemporaryDirectory() as folder:
        asset = program(build, arrays, shape).save_asset(Path(folder) / "program.aimodel")
        async with asset.executable() as model:
            given = {name: NDArray(array) for name, array in zip("xyz", arrays, strict=False)}
            out = await model.load_function("main")(given)
            return np.array(out["made"].numpy())


def main() -> None:
    # Core AI writes to standard output: the answers go to a copy of it, and what it writes to standard error.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    for line in sys.stdin:
        asked = json.loads(line)
        with np.load(asked["in"]) as data:
            given, constants = (
                [data[f"{kind}{i}"].astype(np.float16) for i in range(sum(name[0] == kind for name in data.files))]
                for kind in "xc"
            )
        made = asyncio.run(run(asked["body"], given, constants))
        np.savez(asked["out"], made=made)
        answers.write(json.dumps({"dtype": str(made.dtype)}) + "\n")


if __name__ == "__main__":
    main()
