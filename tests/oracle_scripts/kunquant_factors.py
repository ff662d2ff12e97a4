"""Run KunQuant's predefined Alpha101 (82 alphas) or Alpha158 in float64, in the oracle environment.

    python kunquant_factors.py alpha101|alpha158 PANEL.npz OUT.npz

``PANEL.npz`` holds ``[n_dates, n_assets]`` arrays open, high, low, close, volume, vwap, with n_assets a multiple of 8.
``OUT.npz`` gets one array a factor, and ``unreliable``: a structured record of the leading rows KunQuant itself calls
unreliable. Needs a C++ compiler: exit status 3 says that there is none.
"""

import shutil
import sys

import numpy as np

LANES = 4  # doubles in one AVX2 register


def build(library):
    from KunQuant.Op import Builder, Input, Output
    from KunQuant.predefined import Alpha101, Alpha158
    from KunQuant.Stage import Function

    builder = Builder()
    with builder:
        fields = {name: Input(name) for name in ("open", "high", "low", "close", "volume")}
        if library == "alpha101":
            data = Alpha101.AllData(**fields, vwap=Input("vwap"))
            for alpha in Alpha101.all_alpha:
                Output(alpha(data), alpha.__name__)
        else:
            data = Alpha158.AllData(**fields, amount=Input("amount"))
            prices = [("OPEN", data.open), ("HIGH", data.high), ("LOW", data.low), ("VWAP", data.vwap)]
            factors, names = data.build({"kbar": {}, "price": {"windows": [0], "feature": prices}, "rolling": {}})
            for factor, name in zip(factors, names, strict=True):
                Output(factor, name)
    return Function(builder.ops)


def main(library, panel, out):
    if shutil.which("g++") is None:
        sys.exit(3)
    from KunQuant.Driver import KunCompilerConfig
    from KunQuant.jit import cfake
    from KunQuant.runner import KunRunner

    configuration = KunCompilerConfig(
        dtype="double",
        blocking_len=LANES,
        partition_factor=4,
        input_layout="TS",
        output_layout="TS",
        options={"opt_reduce": False, "fast_log": False, "no_fast_stat": True},
    )
    compiler = cfake.CppCompilerConfig(opt_level=1, machine=cfake.X64CPUFlags())
    loaded = cfake.compileit([(library, build(library), configuration)], f"oracle_{library}", compiler)
    module = loaded.getModule(library)
    with np.load(panel) as arrays:
        inputs = {name: np.ascontiguousarray(arrays[name]) for name in ("open", "high", "low", "close", "volume")}
        if library == "alpha101":
            inputs["vwap"] = np.ascontiguousarray(arrays["vwap"])
        else:
            inputs["amount"] = np.ascontiguousarray(arrays["vwap"] * arrays["volume"])
    n_dates, n_assets = inputs["close"].shape
    buffers = {name: np.full((n_dates, n_assets), np.nan) for name in module.getOutputNames()}
    KunRunner.runGraph(KunRunner.createSingleThreadExecutor(), module, inputs, 0, n_dates, buffers)
    unreliable = module.getOutputUnreliableCount()
    np.savez(out, **buffers, **{f"unreliable_{name}": rows for name, rows in unreliable.items()})


if __name__ == "__main__":
    main(*sys.argv[1:])
