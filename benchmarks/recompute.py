"""Recompute everything of a history: one process on one core beside Ray's tasks, without an engine.

Makes a model of a market (the file beside the project where it is, else a sample of 481 names and 1,258 days), then
recomputes scores, returns, covariance, specific risk, the library and attribution twice: in one process, and by tasks
on so many cores. Prints the ratio of the latter to the former divided by the cores, which shall be at most 1.3.

    python benchmarks/recompute.py [--data FILE] [--cores 2] [--what A,B] [--repeat 1]
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import polars as pl

from actors.reading.states import state_of
from factors import FactorModel, sample_market
from jobs.parts import read_manifest
from store import ModelStore

GATE = 1.3
NAMES, DAYS = 481, 1258
ONE = ("POLARS_MAX_THREADS", "NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
REAL = Path(__file__).parents[1].parent / "shared" / "data" / "sp500_2014_2018.parquet"


def make_model(store: Path, data: Path | None) -> str:
    """Commit the model; gives what its market is."""
    if data is not None:
        model = FactorModel().fit(pl.read_parquet(data))
    else:
        model = FactorModel().fit(sample_market(n_assets=NAMES, n_days=DAYS).panel)
    ModelStore(store).commit("main", state_of(model), base=0, request_id="benchmark", operation="create_model")
    shape = f"{len(model.dates_):,} days x {len(model.symbols_)} names"
    return f"{shape} of {data.name if data else 'the sample'}"


def run(folder: Path, out: Path, workers: int, what: str | None) -> float:
    """Recompute once; gives the seconds on the wall."""
    shutil.rmtree(out, ignore_errors=True)
    environment = {**os.environ, "FACTOR_ENGINE_RUN_DIR": str(folder), "MESSAGEBUS_ENABLED": "false"}
    environment |= dict.fromkeys(ONE, "1")
    words = ["--model", "main", "--out", str(out), "--workers", str(workers), *(["--what", what] if what else [])]
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "jobs.recompute", *words], env=environment, capture_output=True, text=True, check=False
    )
    took = time.perf_counter() - began
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    print(f"workers {workers}: {took:.1f} s, load {os.getloadavg()[0]:.1f}", flush=True)
    table = done.stdout.rindex("what ")
    print(done.stdout[table:])
    return took


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=REAL if REAL.exists() else None)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--what")
    parser.add_argument("--repeat", type=int, default=1, help="pairs, of which the fastest of each counts")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        print(make_model(folder / "store", options.data), flush=True)
        alone, beside = [], []
        for _ in range(options.repeat):
            alone.append(run(folder, folder / "alone", 0, options.what))
            beside.append(run(folder, folder / "tasks", options.cores, options.what))
        one, many = (read_manifest(folder / name) for name in ("alone", "tasks"))
        same = one is not None and many is not None and one["parts"] == many["parts"]
        ratio = min(beside) / (min(alone) / options.cores)
        print(f"one process {min(alone):.1f} s, {options.cores} tasks {min(beside):.1f} s (with the start of Ray)")
        print(f"{ratio:.2f} x the work of one process divided by {options.cores} cores; gate {GATE}", end=": ")
        print("met" if ratio <= GATE else "missed", f"; the bytes are {'the same' if same else 'DIFFERENT'}")


if __name__ == "__main__":
    main()
