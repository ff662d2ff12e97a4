"""The factor library against KunQuant and py-alpha-lib on the 82 alphas all have, and alone: batch, streaming, scaling.

    python benchmarks/library.py [--dates 1260] [--names 3008] [--threads 2] [--bars 300] [--parts batch,stream,...]

Parts: batch, stream, bar (the whole library), history (the whole library's batch), scaling. The peers run by subprocess
in the environment of FACTOR_ENGINE_ORACLE_PYTHON (default .venv-oracles/bin/python) with their own best settings and as
many threads: KunQuant in float32, py-alpha-lib, as ours, in float64. All figures are of one run on one machine: read
the ratios. Exit status 1: a ratio missed its target, or something was compiled while it was timed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from numba.core import event

from factors.library import Catalogue, Library, compile_library
from factors.library.kernels import drive
from factors.library.language.names import FIELDS, GROUPS

ORACLE = os.environ.get("FACTOR_ENGINE_ORACLE_PYTHON", ".venv-oracles/bin/python")
PEERS = Path(__file__).parent / "peers"
PARTS = ("batch", "stream", "bar", "history", "scaling")
ABSENT = {3: "no C++ compiler", 4: "py-alpha-lib is not in the oracle environment; it needs Python 3.12 or later"}
# KunQuant leaves out what needs an industry or a market value
LEFT_OUT = {48, 56, 58, 59, 63, 67, 69, 70, 76, 79, 80, 82, 87, 89, 90, 91, 93, 97, 100}
COMMON = [f"alpha101_{k:03d}" for k in range(1, 102) if k not in LEFT_OUT]
Panel = tuple[dict[str, np.ndarray], dict[str, np.ndarray], np.ndarray]


def market(dates: int, names: int) -> Panel:
    """Random fields, groups and consecutive business days."""
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
    return fields, dict.fromkeys(GROUPS, codes % 60), np.busday_offset("2014-01-02", np.arange(dates))


def narrow(data: Panel, names: int) -> Panel:
    """The first names of a panel."""
    fields, groups, dates = data
    few = [{k: np.ascontiguousarray(v[:, :names]) for k, v in part.items()} for part in (fields, groups)]
    return few[0], few[1], dates


def clocks() -> np.ndarray:
    """Seconds by the wall and of this process on all processors."""
    return np.array([time.perf_counter(), time.process_time()])


def batch(library: Library, data: Panel, threads: int) -> tuple[np.ndarray, float]:
    """Clocks of the batch, each block used again for the next, and the share of missing values (not timed)."""
    fields, groups, dates = data
    missing, cells, spent = 0, 0, np.zeros(2)
    start = clocks()
    for _, block in library.run_blocks(fields, groups=groups, dates=dates, threads=threads):
        spent += clocks() - start
        missing += int(np.isnan(block).sum())
        cells += block.size
        start = clocks()
    return spent + clocks() - start, missing / cells


def stream(library: Library, data: Panel, bars: int) -> tuple[np.ndarray, np.ndarray]:
    """Milliseconds by the wall and of CPU of each of the last bars; the ones before are taken at once."""
    fields, groups, dates = data
    live, first = library.stream(fields["close"].shape[1]), len(dates) - bars
    live.warm({k: v[:first] for k, v in fields.items()}, {k: v[:first] for k, v in groups.items()}, dates[:first])
    times = []
    for t in range(first, len(dates)):
        row, code = {k: v[t] for k, v in fields.items()}, {k: v[t] for k, v in groups.items()}
        start = clocks()
        live.update(row, code, dates[t])
        times.append(1e3 * (clocks() - start))
    wall, busy = np.array(times).T
    return wall, busy


def peer(name: str, before: list[str], data: Panel, rows: int, threads: int) -> dict | None:
    """What a peer's script says about the last rows, or None with a line that says why not."""
    label = name.split("_alpha101", maxsplit=1)[0]
    if not Path(ORACLE).exists():
        print(f"  {label}: no oracle environment at {ORACLE}; make oracles")
        return None
    with tempfile.TemporaryDirectory() as folder:
        panel = Path(folder) / "panel.npz"
        np.savez(panel, **{k: data[0][k][-rows:] for k in ("open", "high", "low", "close", "volume", "vwap")})
        command = [ORACLE, str(PEERS / name), *before, str(panel), str(threads)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        why = ABSENT.get(done.returncode, f"exit {done.returncode}: {done.stderr.strip()[-300:]}")
        print(f"  {label}: {why}")
        return None
    return json.loads(done.stdout.strip().splitlines()[-1])


def verdict(what: str, value: float, target: float, *, at_least: bool) -> bool:
    """Print a figure against its target."""
    met = value >= target if at_least else value <= target
    print(f"  {what}: {value:.2f}; {'at least' if at_least else 'at most'} {target:g}: {'met' if met else 'MISSED'}")
    return met


def spent(label: str, found: dict, million_cells: float) -> None:
    """Print what a batch took."""
    rate = million_cells / found["seconds"]
    gaps = f", {found['missing']:.1%} missing" if "missing" in found else ""
    print(f"  {label}: {found['seconds']:.2f} s, {found['cpu']:.2f} s of CPU, {rate:.1f} M cells/s{gaps}")


def told(label: str, ms: np.ndarray, cells: int) -> None:
    """Print a distribution over bars of so many cells."""
    middle, high = np.median(ms), np.percentile(ms, 99)
    print(
        f"  {label}: p50 {middle:.2f} ms ({1e6 * middle / cells:.0f} ns a cell), p99 {high:.2f}, max {ms.max():.2f} ms"
    )


def measure_batch(catalogue: Catalogue, alphas: Library, data: Panel, threads: int) -> bool:
    """The common alphas over the whole panel, three ways."""
    dates, names = data[0]["close"].shape
    cells = len(COMMON) * dates * names / 1e6
    print(f"batch, {len(COMMON)} alphas, {dates} x {names}, {threads} threads")
    (seconds, busy), missing = batch(alphas, data, threads)
    spent("ours (float64)", {"seconds": seconds, "cpu": busy, "missing": missing}, cells)
    with tempfile.TemporaryDirectory() as folder:
        texts = Path(folder) / "formulas.json"
        texts.write_text(json.dumps({k: catalogue.entries[k].formula for k in COMMON}))
        found = {
            "KunQuant (float32)": peer("kunquant_alpha101.py", ["batch"], data, dates, threads),
            "py-alpha-lib (float64)": peer("py_alpha_lib_alpha101.py", [str(texts)], data, dates, threads),
        }
    there = {label: other for label, other in found.items() if other}
    for label, other in there.items():
        spent(label, other, cells)
    met = [verdict("million cells a second", cells / seconds, 30, at_least=True)]
    for what, key, mine in (("as fast as", "seconds", seconds), ("less CPU than", "cpu", busy)):
        if there:
            ratio = min(other[key] for other in there.values()) / mine
            met.append(verdict(f"times {what} the better peer", ratio, 2, at_least=True))
    return all(met)


def measure_stream(alphas: Library, data: Panel, bars: int) -> bool:
    """One bar of the common alphas, against KunQuant."""
    met = []
    for names in sorted({min(504, data[0]["close"].shape[1]), data[0]["close"].shape[1]}):
        part = narrow(data, names)
        print(f"streaming, {len(COMMON)} alphas, {names} names")
        ours, busy = stream(alphas, part, bars)
        told("ours (float64), one thread", ours, len(COMMON) * names)
        told("ours, CPU alone", busy, len(COMMON) * names)
        theirs = []
        for threads in (1, 2):
            other = peer("kunquant_alpha101.py", ["stream"], part, bars, threads)
            if other:
                theirs.append(np.array(other["ms"][bars // 5 :]))
                told(f"KunQuant (float32), {threads} threads", theirs[-1], len(COMMON) * names)
        if theirs:
            fastest = min(np.median(ms) for ms in theirs)
            met.append(verdict("part of KunQuant's time", np.median(ours) / fastest, 1, at_least=False))
    return all(met)


def measure_bar(whole: Library, data: Panel, bars: int) -> bool:
    """One bar of the whole library."""
    for names in sorted({min(504, data[0]["close"].shape[1]), data[0]["close"].shape[1]}):
        ms, busy = stream(whole, narrow(data, names), bars)
        print(f"one bar of the whole library, {len(whole.ids)} factors, {names} names, one thread")
        told("ours (float64)", ms, len(whole.ids) * names)
        told("ours, CPU alone", busy, len(whole.ids) * names)
    return True


def measure_history(dates: int, names: int, threads: int) -> bool:
    """The whole library's batch, in a process of its own for its peak memory."""
    script = str(Path(__file__).parent / "library_history.py")
    done = subprocess.run(
        [sys.executable, script, str(dates), str(names), str(threads)], capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout)
    print(f"batch of the whole library, {found['factors']} factors, {dates} x {names}, {threads} threads")
    spent("ours (float64)", found, found["factors"] * dates * names / 1e6)
    print(f"  progress told {found['told']} times; inputs {found['inputs_gb']:.2f} GB of the peak")
    return verdict("peak memory, GB", found["peak_gb"], 8, at_least=False)


def exponent(sizes: list[int], seconds: list[float]) -> float:
    """Slope of log time on log size."""
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


def measure_scaling(catalogue: Catalogue, alphas: Library) -> bool:
    """CPU time against names, days and factors, one thread, the best of two; exponents fitted in logarithms."""
    print("scaling of the batch, one thread: seconds of CPU, and the exponent of the size")

    def fitted(label: str, sizes: list[int], runs: list[tuple[Library, Panel]]) -> float:
        seconds = [min(batch(library, data, 1)[0][1] for _ in range(2)) for library, data in runs]
        power = exponent(sizes, seconds)
        pairs = ", ".join(f"{size}: {s:.2f}" for size, s in zip(sizes, seconds, strict=True))
        print(f"  {label}: {pairs}; exponent {power:.2f}")
        return power

    names, days = [512, 1024, 2048], [128, 256, 512]
    by_names = fitted(f"{len(COMMON)} alphas, 96 days, by names", names, [(alphas, market(96, n)) for n in names])
    by_days = fitted(f"{len(COMMON)} alphas, 504 names, by days", days, [(alphas, market(d, 504)) for d in days])
    data, every = market(96, 504), sorted(catalogue.entries)
    counts, draws = [75, 150, 300, len(every)], (4, 4, 4, 1)
    seconds, nodes = [], []
    for count, drawn in zip(counts, draws, strict=True):
        # what factors cost differs, so a size is the mean of several random choices
        chosen = [np.random.default_rng(seed).permutation(every)[:count] for seed in range(drawn)]
        libraries = [compile_library({k: catalogue.entries[k] for k in ids}) for ids in chosen]
        nodes.append(float(np.mean([library.n_nodes for library in libraries])))
        seconds.append(float(np.mean([min(batch(x, data, 1)[0][1] for _ in range(2)) for x in libraries])))
    by_factors = exponent(counts, seconds)
    pairs = ", ".join(f"{c} of {n:.0f} nodes: {s:.2f}" for c, n, s in zip(counts, nodes, seconds, strict=True))
    print(
        f"  96 days, 504 names, by factors: {pairs}; exponent {by_factors:.2f}, of nodes {exponent(counts, nodes):.2f}"
    )
    return all(
        (
            verdict("exponent of names", by_names, 1.1, at_least=False),
            verdict("exponent of days", by_days, 1.1, at_least=False),
            verdict("exponent of factors", by_factors, 1.0, at_least=False),
        )
    )


def main() -> int:
    """Run the parts; 1 when a target was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (("dates", 1260), ("names", 3008), ("threads", 2), ("bars", 300)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--parts", default=",".join(PARTS))
    chosen = parser.parse_args()
    parts = chosen.parts.split(",")
    start = time.perf_counter()
    drive.ready()
    print(f"kernels ready in {time.perf_counter() - start:.1f} s")
    catalogue = Catalogue.load()
    alphas = compile_library({k: catalogue.entries[k] for k in COMMON})
    data = market(chosen.dates, chosen.names) if {"batch", "stream", "bar"} & set(parts) else None
    met = []
    with event.install_recorder("numba:compile") as compiled:
        if "batch" in parts:
            met.append(measure_batch(catalogue, alphas, data, chosen.threads))
        if "stream" in parts:
            met.append(measure_stream(alphas, data, chosen.bars))
        if "bar" in parts:
            met.append(measure_bar(compile_library(catalogue.entries), data, chosen.bars))
        if "scaling" in parts:
            met.append(measure_scaling(catalogue, alphas))
    data = None
    if "history" in parts:
        met.append(measure_history(chosen.dates, chosen.names, chosen.threads))
    if compiled.buffer:
        print(f"{len(compiled.buffer)} kernels were compiled inside the timings: MISSED")
    return 0 if all(met) and not compiled.buffer else 1


if __name__ == "__main__":
    sys.exit(main())
