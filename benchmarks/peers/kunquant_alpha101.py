"""KunQuant's 82 predefined alphas, timed in the oracle environment with its own best settings (float32).

    python kunquant_alpha101.py batch|stream PANEL.npz THREADS

Prints one line of JSON: {"seconds": s, "cpu": s} for the batch, {"ms": [...]} per bar for the stream.
Exit status 3: no compiler.
"""

import json
import shutil
import sys
import time
from typing import Any

import numpy as np

LANES = 8  # floats in one AVX2 register
FIELDS = ("open", "high", "low", "close", "volume", "vwap")


def module_of(layout: str) -> tuple[Any, Any]:
    from KunQuant.Driver import KunCompilerConfig
    from KunQuant.jit import cfake
    from KunQuant.Op import Builder, Input, Output
    from KunQuant.predefined import Alpha101
    from KunQuant.Stage import Function

    builder = Builder()
    with builder:
        data = Alpha101.AllData(**{name: Input(name) for name in FIELDS})
        for alpha in Alpha101.all_alpha:
            Output(alpha(data), alpha.__name__)
    settings = KunCompilerConfig(
        dtype="float", blocking_len=LANES, partition_factor=4, input_layout=layout, output_layout=layout,
        options={"opt_reduce": layout != "STREAM", "fast_log": True},
    )  # fmt: skip
    name = f"bench_{layout.lower()}"
    library = cfake.compileit([(name, Function(builder.ops), settings)], name, cfake.CppCompilerConfig())
    return library, library.getModule(name)


def batch(inputs: dict[str, np.ndarray], threads: int) -> dict[str, Any]:
    from KunQuant.runner import KunRunner

    library, module = module_of("TS")
    executor = KunRunner.createMultiThreadExecutor(threads)
    rows, names = inputs["close"].shape
    buffers = {name: np.empty((rows, names), np.float32) for name in module.getOutputNames()}
    KunRunner.runGraph(executor, module, inputs, 0, rows, buffers)
    start, begun = time.perf_counter(), time.process_time()
    KunRunner.runGraph(executor, module, inputs, 0, rows, buffers)
    spent = {"seconds": time.perf_counter() - start, "cpu": time.process_time() - begun}
    del library
    return spent


def stream(inputs: dict[str, np.ndarray], threads: int) -> dict[str, Any]:
    from KunQuant.runner import KunRunner

    library, module = module_of("STREAM")
    executor = KunRunner.createMultiThreadExecutor(threads) if threads > 1 else KunRunner.createSingleThreadExecutor()
    rows, names = inputs["close"].shape
    context = KunRunner.StreamContext(executor, module, names)
    handles = {name: context.queryBufferHandle(name) for name in FIELDS}
    outputs = [context.queryBufferHandle(name) for name in module.getOutputNames()]
    times = []
    for t in range(rows):
        start = time.perf_counter()
        for name, handle in handles.items():
            context.pushData(handle, inputs[name][t])
        context.run()
        for handle in outputs:
            context.getCurrentBuffer(handle)
        times.append(1e3 * (time.perf_counter() - start))
    del library
    return {"ms": times}


def main(kind: str, panel: str, threads: str) -> None:
    if shutil.which("g++") is None:
        sys.exit(3)
    with np.load(panel) as arrays:
        inputs = {name: np.ascontiguousarray(arrays[name], np.float32) for name in FIELDS}
    print(json.dumps((batch if kind == "batch" else stream)(inputs, int(threads))))


if __name__ == "__main__":
    main(*sys.argv[1:])
