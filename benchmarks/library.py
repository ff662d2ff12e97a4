"""The factor library against KunQuant on the 82 alphas both have, and alone: batch, streaming, scaling.

    python benchmarks/library.py [--dates 1260] [--names 3008] [--threads 2] [--bars 300]

KunQuant runs by subprocess in the environment of FACTOR_ENGINE_ORACLE_PYTHON (default .venv-oracles/bin/python), with
float32 and as many threads; ours is float64. All figures are of one run on one machine: read the ratios.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np

from factors.library import Catalogue, Library, compile_library
from factors.library.names import FIELDS, GROUPS

ORACLE = os.environ.get("FACTOR_ENGINE_ORACLE_PYTHON", ".venv-oracles/bin/python")
PEER = Path(__file__).parent / "peers" / "kunquant_alpha101.py"
# KunQuant leaves out what needs an industry or a market value
LEFT_OUT = {48, 56, 58, 59, 63, 67, 69, 70, 76, 79, 80, 82, 87, 89, 90, 91, 93, 97, 100}
COMMON = [f"alpha101_{k:03d}" for k in range(1, 102) if k not in LEFT_OUT]


def market(dates: int, names: int) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], np.ndarray]:
    rng = np.random.default_rng(0)
    shape = (dates, names)
    close = 50 * np.exp(np.cumsum(rng.standard_normal(shape) * 0.02, axis=0))
    fields = {name: close * np.exp(rng.standard_normal(shape) * 0.01) for name in FIELDS}
    fields["close"], fields["volume"] = close, np.exp(rng.standard_normal(shape) * 0.5 + 13)
    fields["high"] = np.maximum(fields["open"], close) * (1 + np.abs(rng.standard_normal(shape)) * 0.005)
    fields["low"] = np.minimum(fields["open"], close) * (1 - np.abs(rng.standard_normal(shape)) * 0.005)
    fields["vwap"] = (fields["high"] + fields["low"] + close) / 3
    fields["returns"] = np.vstack([np.full((1, names), np.nan), close[1:] / close[:-1] - 1])
    codes = np.tile(np.arange(names), (dates, 1))
    return fields, dict.fromkeys(GROUPS, codes % 60), np.datetime64("2014-01-01") + np.arange(dates)


def batch(library: Library, data: tuple, threads: int) -> tuple[float, float]:
    """Seconds, and the share of missing values."""
    fields, groups, dates = data
    start, missing, cells = time.perf_counter(), 0, 0
    for _, block in library.run_blocks(fields, groups=groups, dates=dates, threads=threads):
        missing += int(np.isnan(block).sum())
        cells += block.size
    return time.perf_counter() - start, missing / cells


def stream(library: Library, data: tuple, bars: int) -> np.ndarray:
    """Milliseconds of each bar after the first fifth."""
    fields, groups, dates = data
    live = library.stream(fields["close"].shape[1])
    times = []
    for t in range(min(bars, len(dates))):
        row, code = {k: v[t] for k, v in fields.items()}, {k: v[t] for k, v in groups.items()}
        start = time.perf_counter()
        live.update(row, code, dates[t])
        times.append(1e3 * (time.perf_counter() - start))
    return np.array(times[len(times) // 5 :])


def peer(kind: str, data: tuple, threads: int, rows: int) -> dict | None:
    if not Path(ORACLE).exists():
        print(f"  KunQuant: no {ORACLE}")
        return None
    with tempfile.TemporaryDirectory() as folder:
        panel = Path(folder) / "panel.npz"
        np.savez(panel, **{k: data[0][k][:rows] for k in ("open", "high", "low", "close", "volume", "vwap")})
        done = subprocess.run([ORACLE, PEER, kind, panel, str(threads)], capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"  KunQuant: exit {done.returncode}: {done.stderr.strip()[-300:]}")
        return None
    return json.loads(done.stdout.strip().splitlines()[-1])


def told(label: str, ms: np.ndarray) -> None:
    print(f"  {label}: p50 {np.median(ms):.2f} ms, p99 {np.percentile(ms, 99):.2f} ms a bar")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (("dates", 1260), ("names", 3008), ("threads", 2), ("bars", 300)):
        parser.add_argument(f"--{name}", type=int, default=value)
    chosen = parser.parse_args()
    catalogue = Catalogue.load()
    alphas = compile_library({k: catalogue.entries[k] for k in COMMON})
    whole = compile_library(catalogue.entries)
    start = time.perf_counter()
    batch(alphas, market(4, 16), 1)
    batch(alphas, market(4, 16), 2)
    print(f"kernels ready in {time.perf_counter() - start:.1f} s")
    data = market(chosen.dates, chosen.names)
    cells = len(COMMON) * chosen.dates * chosen.names / 1e6
    seconds, missing = batch(alphas, data, chosen.threads)
    print(f"batch, {len(COMMON)} alphas, {chosen.dates} x {chosen.names}, {chosen.threads} threads")
    print(f"  ours (float64): {seconds:.2f} s, {cells / seconds:.1f} M cells/s, {missing:.1%} missing")
    other = peer("batch", data, chosen.threads, chosen.dates)
    if other:
        print(f"  KunQuant (float32): {other['seconds']:.2f} s; ours is {other['seconds'] / seconds:.2f} x as fast")
    for names in (min(504, chosen.names), chosen.names):
        part = ({k: v[:, :names] for k, v in data[0].items()}, {k: v[:, :names] for k, v in data[1].items()}, data[2])
        print(f"streaming, {names} names")
        ours = stream(alphas, part, chosen.bars)
        told(f"ours, {len(COMMON)} alphas, one thread", ours)
        for threads in (1, 2):
            other = peer("stream", part, threads, chosen.bars)
            if other:
                theirs = np.array(other["ms"][len(other["ms"]) // 5 :])
                told(f"KunQuant, {threads} threads", theirs)
                print(f"    ours takes {np.median(ours) / np.median(theirs):.2f} of that")
        told(f"ours, whole library ({len(whole.ids)} factors)", stream(whole, part, chosen.bars))
    print("scaling of the batch, one thread: seconds")
    for ids in (COMMON[:20], COMMON[:41], COMMON):
        few = compile_library({k: catalogue.entries[k] for k in ids})
        row = []
        for dates, names in ((120, 504), (240, 504), (120, 1008)):
            row.append(f"{dates} x {names}: {batch(few, market(dates, names), 1)[0]:.2f}")
        print(f"  {len(ids)} factors, {few.n_nodes} nodes: {', '.join(row)}")


if __name__ == "__main__":
    main()
