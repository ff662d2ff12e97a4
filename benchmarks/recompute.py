"""Recompute everything of a history without an engine: one process on one core beside so many as there are cores.

Makes a model of a market (the file beside the project where it is, else a sample), then recomputes scores, returns,
covariance, specific risk, the library and attribution twice: in one process that may use one core, and in single-
threaded processes on so many cores. Two gates: the latter takes at most 1.3 times the former divided by the cores; and
two processes are at least 1.7 times as fast as one where one takes more than a minute. With the wall stands what the
processors did (`cpu`), which says more on a machine that others use too, and what those took. Beside it stands a
floor: so many copies of the one process as there are cores, at once. Cores that share memory, cache and disk do less
than so many times the work of one, and what they lose so is not lost by the splitting.

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
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import polars as pl
import psutil

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
    others: float = 0.0
    """The share of the machine's processors that other programs took meanwhile."""


def make_model(store: Path, data: Path | None, names: int = NAMES, days: int = DAYS) -> str:
    """Commit the model; gives what its market is."""
    table = sample_market(n_assets=names, n_days=days).panel if data is None else pl.read_parquet(data)
    model = FactorModel().fit(table)
    ModelStore(store).commit("main", state_of(model), base=0, request_id="benchmark", operation="create_model")
    shape = f"{len(model.dates_):,} days x {len(model.symbols_):,} names"
    return f"{shape} of {data.name if data else 'the sample'}"


def run(folder: Path, outs: Sequence[Path], workers: int, what: str | None) -> Took:
    """Recompute once for each place of results, all at the same time. One process (`workers` 0) is held on one core."""
    for out in outs:
        shutil.rmtree(out, ignore_errors=True)
    environment = {**os.environ, "FACTOR_ENGINE_RUN_DIR": str(folder), "MESSAGEBUS_ENABLED": "false"}
    environment |= dict.fromkeys(ONE_THREAD, "1")
    busy, before, began = busy_s(), resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    started = []
    for number, out in enumerate(outs):
        words = ["--model", "main", "--out", str(out), "--workers", str(workers), *(["--what", what] if what else [])]
        with held_on(None if workers else number):
            command = [sys.executable, "-m", "jobs.recompute", *words]
            started.append(
                subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            )
    told = [one.communicate() for one in started]
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    for one, (said, wrong) in zip(started, told, strict=True):
        if one.returncode:
            raise SystemExit(said + wrong)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    took = Took(wall, cpu, max(busy_s() - busy - cpu, 0.0) / wall / (os.cpu_count() or 1))
    several = f" ({len(outs)} at once)" if len(outs) > 1 else ""
    told_of = f"{took.wall:.1f} s, cpu {took.cpu:.1f} s, others {took.others:.0%} of the processors"
    print(f"workers {workers}{several}: {told_of}", flush=True)
    if not several:
        print(told[0][0][told[0][0].rindex("what ") :])
    return took


def busy_s() -> float:
    """Give the seconds that all processors have worked since the machine was started."""
    times = psutil.cpu_times()
    return float(sum(getattr(times, name, 0.0) for name in ("user", "nice", "system", "irq", "softirq", "steal")))


@contextmanager
def held_on(number: int | None) -> Iterator[None]:
    """Have processes that begin meanwhile use one core, the one of a number; None, or a system without: any."""
    every = os.sched_getaffinity(0) if number is not None and hasattr(os, "sched_getaffinity") else set()
    if every:
        os.sched_setaffinity(0, {sorted(every)[(number or 0) % len(every)]})
    try:
        yield
    finally:
        if every:
            os.sched_setaffinity(0, every)


def met_or_missed(met: bool) -> str:
    """Say whether a gate holds."""
    return "met" if met else "missed"


def judge(alone: Took, beside: Took, copies: Took, cores: int) -> list[str]:
    """Hold the times against the gates, and what splitting gains against what the machine allows.

    Parameters
    ----------
    alone, beside
        One process, and one for each core.
    copies
        The work of `alone` once on each core, at the same time.
    """
    ratio, faster = beside.wall / (alone.wall / cores), alone.wall / beside.wall
    machine, slower = cores * alone.wall / copies.wall, copies.cpu / cores / alone.cpu
    lines = [
        f"one process {alone.wall:.1f} s (cpu {alone.cpu:.1f}), {cores} {beside.wall:.1f} s (cpu {beside.cpu:.1f})",
        f"{ratio:.2f} x the work of one process divided by {cores} cores; gate {GATE}: {met_or_missed(ratio <= GATE)}",
        f"{cores} copies at once {copies.wall:.1f} s (cpu {copies.cpu:.1f}, {slower:.2f} x one for each)",
        f"the machine does {machine:.2f} x one core's work, the splitting {faster:.2f} x: {faster / machine:.0%} of it",
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
    parser.add_argument("--repeat", type=int, default=1, help="rounds, of which the fastest of each kind counts")
    options = parser.parse_args()
    data = options.data or (REAL if options.names is None and REAL.exists() else None)
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        print(make_model(folder / "store", data, options.names or NAMES, options.days), flush=True)
        alone, beside, copies = [], [], []
        places = [folder / f"copy-{number}" for number in range(options.cores)]
        for _ in range(options.repeat):
            alone.append(run(folder, [folder / "alone"], 0, options.what))
            beside.append(run(folder, [folder / "tasks"], options.cores, options.what))
            copies.append(run(folder, places, 0, options.what))
        one, many = (read_manifest(folder / name) for name in ("alone", "tasks"))
        same = one is not None and many is not None and one["parts"] == many["parts"]
        for line in judge(min(alone), min(beside), min(copies), options.cores):
            print(line)
        print(f"the bytes are {'the same' if same else 'DIFFERENT'}")


if __name__ == "__main__":
    main()
