"""Recompute everything of a history without an engine: one process on one core beside so many as there are cores.

Makes a model of a market (the file beside the project where it is, else a sample), then recomputes scores, returns,
covariance, specific risk, the library and attribution twice: in one process that may use one core, and in single-
threaded processes on so many cores. Two gates: the latter takes at most 1.3 times the former divided by the cores; and
two processes are at least 1.7 times as fast as one where one takes more than a minute. With the wall stands what the
processors did (`cpu`), which says more on a machine that others use too.

    python benchmarks/recompute.py [--data FILE | --names 3000 --days 756] [--cores 2] [--what A,B] [--repeat 1]
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import polars as pl

from actors.reading.states import state_of
from factors import FactorModel, sample_market
from jobs.parts import read_manifest
from jobs.processes import ONE_THREAD
from store import ModelStore

GATE, SPEEDUP, LONG_S = 1.3, 1.7, 60.0
NAMES, DAYS = 481, 1258
REAL = Path(__file__).parents[1].parent / "shared" / "data" / "sp500_2014_2018.parquet"


class Took(NamedTuple):
    """Seconds on the wall, and of all processors together."""

    wall: float
    cpu: float


def make_model(store: Path, data: Path | None, names: int = NAMES, days: int = DAYS) -> str:
    """Commit the model; gives what its market is."""
    table = sample_market(n_assets=names, n_days=days).panel if data is None else pl.read_parquet(data)
    model = FactorModel().fit(table)
    ModelStore(store).commit("main", state_of(model), base=0, request_id="benchmark", operation="create_model")
    shape = f"{len(model.dates_):,} days x {len(model.symbols_):,} names"
    return f"{shape} of {data.name if data else 'the sample'}"


def run(folder: Path, out: Path, workers: int, what: str | None) -> Took:
    """Recompute once. One process (`workers` 0) is held on one core."""
    shutil.rmtree(out, ignore_errors=True)
    environment = {**os.environ, "FACTOR_ENGINE_RUN_DIR": str(folder), "MESSAGEBUS_ENABLED": "false"}
    environment |= dict.fromkeys(ONE_THREAD, "1")
    words = ["--model", "main", "--out", str(out), "--workers", str(workers), *(["--what", what] if what else [])]
    every = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    if every and not workers:
        os.sched_setaffinity(0, {min(every)})
    try:
        done = subprocess.run(
            [sys.executable, "-m", "jobs.recompute", *words],
            env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
    finally:
        if every:
            os.sched_setaffinity(0, every)
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    took = Took(wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    print(f"workers {workers}: {took.wall:.1f} s, cpu {took.cpu:.1f} s, load {os.getloadavg()[0]:.1f}", flush=True)
    table = done.stdout.rindex("what ")
    print(done.stdout[table:])
    return took


def met_or_missed(met: bool) -> str:
    """Say whether a gate holds."""
    return "met" if met else "missed"


def judge(alone: Took, beside: Took, cores: int) -> list[str]:
    """Hold the times against the gates."""
    ratio, faster = beside.wall / (alone.wall / cores), alone.wall / beside.wall
    lines = [
        f"one process {alone.wall:.1f} s (cpu {alone.cpu:.1f}), {cores} {beside.wall:.1f} s (cpu {beside.cpu:.1f})",
        f"{ratio:.2f} x the work of one process divided by {cores} cores; gate {GATE}: {met_or_missed(ratio <= GATE)}",
    ]
    if cores == 2 and alone.wall > LONG_S:
        lines.append(f"two processes are {faster:.2f} x one; gate {SPEEDUP}: {met_or_missed(faster >= SPEEDUP)}")
    return lines


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=None)
    parser.add_argument("--names", type=int, default=None, help="of a sample market instead of the file")
    parser.add_argument("--days", type=int, default=DAYS)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--what")
    parser.add_argument("--repeat", type=int, default=1, help="pairs, of which the fastest of each counts")
    options = parser.parse_args()
    data = options.data or (REAL if options.names is None and REAL.exists() else None)
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        print(make_model(folder / "store", data, options.names or NAMES, options.days), flush=True)
        alone, beside = [], []
        for _ in range(options.repeat):
            alone.append(run(folder, folder / "alone", 0, options.what))
            beside.append(run(folder, folder / "tasks", options.cores, options.what))
        one, many = (read_manifest(folder / name) for name in ("alone", "tasks"))
        same = one is not None and many is not None and one["parts"] == many["parts"]
        for line in judge(min(alone), min(beside), options.cores):
            print(line)
        print(f"the bytes are {'the same' if same else 'DIFFERENT'}")


if __name__ == "__main__":
    main()
