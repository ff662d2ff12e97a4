"""How far a recompute goes: measured over names, days, factors and cores, and predicted for more of each.

Runs recomputes of sample markets, one process on one core each, fits the cost model of `scaling_model` to them, then
runs a larger one, which the fit has not seen, in one process per core, and prints its costs beside what was predicted.
Time is the processor's, which others on the machine disturb less than the wall's. Writes the measured part of
docs/scaling.md.

    python benchmarks/scaling.py [--quick] [--keep]      (about ten minutes on two quiet cores)

`--quick` takes sizes of a few seconds, and `--keep` leaves the page alone.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import math
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psutil
from recompute import busy_s, make_model
from scaling_model import Fitted, Node, Size, fit, forecast, makespan
from scaling_page import Checked, checked_table, duration, forecast_table, model_table, put, runs_table

from contracts.settings import settings
from factors.numeric.threads import count_threads
from jobs import recompute as job
from jobs.chains import prepare, run_chain
from jobs.plan import Chain, Plan, formulas_of, group_factors, library_groups
from jobs.processes import ONE_THREAD, Processes
from jobs.progress import Progress
from jobs.source import Place, StoredSource, open_source
from jobs.work import WHAT, Work
from jobs.workers import Inline

RUNS = (
    (250, 512, 1), (500, 512, 1), (1000, 256, 1), (2000, 128, 1), (250, 1024, 2), (1000, 512, 2), (500, 768, 4),
    (2000, 512, 4), (1000, 512, 0),
)  # fmt: skip
"""Names, days, and one factor of so many; 0 for none of the library."""
LARGER = (3000, 504, 1)
QUICK_RUNS, QUICK_LARGER = tuple((n // 4, d // 2, every) for n, d, every in RUNS), (700, 320, 1)
WANTED = (60_000, 25 * 252, 600)
NODES = (1, 10, 100)
NETWORK_BYTES_PER_S = 1.25e9
"""Between nodes: assumed, ten gigabits a second."""
DISK_BYTES = 256 << 20
SAMPLED_S = 0.05
FLOAT_BYTES = 8


class Run(NamedTuple):
    """One recompute, measured."""

    size: Size
    costs: dict[str, float]
    """By the names of `scaling_model.TERMS`."""
    chains: dict[str, float]
    """Seconds of the processor, by chain."""
    groups: dict[str, int]
    """Factors of each chain of the library."""
    lookbacks: list[int]
    """Of each factor, days."""
    wall_s: float
    others: float
    """The share of the processors that other programs took meanwhile."""


def cpu_of_chain(plan: Plan, chain: Chain, tick: Callable[[], None] = lambda: None) -> float:
    """Run a chain; give the seconds of the processor that it took."""
    began = time.process_time()
    run_chain(plan, chain, tick)
    return time.process_time() - began


class Timed:
    """Workers that tell the processor's time of each chain."""

    def __init__(self, inner: Inline | Processes) -> None:
        self.inner = inner
        self.seconds: dict[str, float] = {}

    def run(
        self, _function: Callable[..., float], arguments: Sequence[tuple[Any, ...]], look: Callable[[], None]
    ) -> list[float]:
        """Run and note."""
        seconds = self.inner.run(cpu_of_chain, arguments, look)
        self.seconds |= {one[1].name: took for one, took in zip(arguments, seconds, strict=True)}
        return seconds

    def close(self) -> None:
        """Close."""
        self.inner.close()


class Clocked(Progress):
    """Tells the processor's time of each stage."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: dict[str, float] = {}
        self._last = ("", 0.0)

    def stage(self, name: str) -> None:
        """End a stage and begin another."""
        now = time.process_time()
        self.seconds[self._last[0]] = now - self._last[1]
        self._last = (name, now)
        super().stage(name)


def child(every: int, workers: int, out: str) -> None:
    """Recompute in this process, the one that is measured, and print what only it knows."""
    timed = Timed(Processes(workers) if workers > 1 else Inline())
    read = 0
    plain = StoredSource.panel

    def counted(self: StoredSource, days: slice, fields: tuple[str, ...] | None = None) -> Any:
        nonlocal read
        panel = plain(self, days, fields)
        read += sum(values.nbytes for values in panel.fields.values())
        read += sum(category.codes.nbytes for category in panel.categories.values())
        return panel

    StoredSource.panel = counted  # type: ignore[method-assign]
    progress = Clocked()
    work = chosen(every, out)
    prepare(settings())
    progress.of(work)
    manifest = job.recompute(work, progress, timed)
    groups = [len(ids) for ids in manifest["groups"].values()]
    back = formulas_of(settings()).library.lookback
    told = {
        "chains": timed.seconds,
        "planning": progress.seconds["planning"],
        "groups": {name: len(ids) for name, ids in manifest["groups"].items()},
        "lookbacks": [back[name] for ids in manifest["groups"].values() for name in ids],
        "widest": max(groups, default=0),
        "read": read,
        "written": written_bytes(),
        "stored": sum(part["bytes"] for part in manifest["parts"]),
        "cpu": time.process_time(),
    }
    timed.close()
    print("\n" + json.dumps(told), flush=True)


def chosen(every: int, out: str) -> Work:
    """Give the work on one of so many factors of each kind."""
    if not every:
        return Work("main", what=tuple(name for name in WHAT if name != "library"), out=out)
    whole = Work("main", out=out)
    source = open_source(Place(whole, None), settings())
    groups, _ = library_groups(whole, source, settings())
    ids = [name for group in groups for name in group.ids]
    return Work("main", factors=tuple(ids[::every]), out=out) if every > 1 else whole


def written_bytes() -> int:
    """Give what this process wrote to files so far; where the system does not tell, 0."""
    try:
        lines = Path("/proc/self/io").read_text().splitlines()
    except OSError:
        return 0
    return int(next(line for line in lines if line.startswith("wchar")).split()[1])


class Watch:
    """Looks at a process and its children again and again: the most memory of their own that they had together."""

    def __init__(self, pid: int) -> None:
        self.peak = 0
        self._process = psutil.Process(pid)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        while not self._over.wait(SAMPLED_S):
            try:
                family = [self._process, *self._process.children(recursive=True)]
            except psutil.Error:
                return
            self.peak = max(self.peak, sum(map(own_bytes, family)))

    def done(self) -> int:
        """Stop looking."""
        self._over.set()
        self._thread.join()
        return self.peak


def own_bytes(process: psutil.Process) -> int:
    """Give the memory that is a process's own: without the files that it maps, which the system may drop."""
    try:
        for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
            if line.startswith("RssAnon"):
                return int(line.split()[1]) << 10
        return int(process.memory_info().rss)
    except (OSError, psutil.Error):
        return 0


def measured(folder: Path, shape: tuple[int, int, int], workers: int = 1) -> Run:
    """Make a market, recompute it in a process of its own, and measure that."""
    names, days, every = shape
    shutil.rmtree(folder, ignore_errors=True)
    store = folder / "store"
    make_model(store, None, names, days)
    taken = sum(path.stat().st_size for path in store.rglob("*") if path.is_file())
    environment = {**os.environ, "FACTOR_ENGINE_RUN_DIR": str(folder), "MESSAGEBUS_ENABLED": "false"}
    environment |= dict.fromkeys(ONE_THREAD, "1")
    words = [sys.executable, __file__, "--child", str(every), str(workers), str(folder / "out")]
    busy, began = busy_s(), time.perf_counter()
    process = subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    watch = Watch(process.pid)
    said, wrong = process.communicate()
    peak, wall = watch.done(), time.perf_counter() - began
    if process.returncode:
        raise SystemExit(said + wrong)
    told = json.loads(said.strip().splitlines()[-1])
    chains: dict[str, float] = told["chains"]
    library = {name: seconds for name, seconds in chains.items() if name != "model"}
    own = sum(chains.values()) if workers > 1 else told["cpu"]
    others = max(busy_s() - busy - own, 0.0) / wall / count_threads(None)
    costs = {
        "start_s": told["cpu"] - sum(chains.values()) - told["planning"] if workers == 1 else 0.0,
        "plan_s": told["planning"],
        "model_s": chains["model"],
        "library_s": sum(library.values()),
        "memory_bytes": peak,
        "read_bytes": told["read"],
        "written_bytes": told["written"],
        "stored_bytes": told["stored"],
        "input_bytes": taken,
    }
    back: list[int] = told["lookbacks"]
    size = Size(names, days, len(back), len(library), told["widest"], full_days(days, back))
    run = Run(size, costs, chains, told["groups"], back, wall, others)
    seconds = sum(chains.values())
    print(f"{names:,} names x {days:,} days x {size.factors} factors, {workers} at once: chains {seconds:.1f} s, "
          f"wall {wall:.1f} s, memory {peak / 1e6:,.0f} MB, others {100 * others:.0f} %", flush=True)  # fmt: skip
    return run


def full_days(days: int, lookbacks: Sequence[int]) -> float:
    """Give the days behind a factor's look-back, in the mean."""
    return float(np.mean([max(days - back, 0) for back in lookbacks])) if lookbacks else 0.0


def disk_bytes_per_s(folder: Path) -> float:
    """Measure how fast a file is written through to the disk."""
    content = np.random.default_rng(0).bytes(DISK_BYTES)
    began = time.perf_counter()
    with (folder / "disk").open("wb") as out:
        out.write(content)
        out.flush()
        os.fsync(out.fileno())
    took = time.perf_counter() - began
    (folder / "disk").unlink()
    return DISK_BYTES / took


def check(fitted: Fitted, run: Run, cores: int) -> list[Checked]:
    """Hold what was predicted of the larger run against it."""
    size, costs = run.size, run.costs
    before = fitted.predict("start_s", size) + fitted.predict("plan_s", size)
    seconds = before + makespan(fitted.chains(size), cores)
    quiet = run.others < 0.05
    return [
        Checked("processor, all chains, s", sum(fitted.chains(size)), sum(run.chains.values())),
        Checked("longest chain, s", max(fitted.chains(size)), max(run.chains.values())),
        Checked(f"wall on {cores} cores, s", seconds, run.wall_s, judged=quiet),
        Checked(
            f"memory of {cores} processes, MB", cores * fitted.predict("memory_bytes", size) / 1e6,
            costs["memory_bytes"] / 1e6,
        ),
        Checked("stored, MB", fitted.predict("stored_bytes", size) / 1e6, costs["stored_bytes"] / 1e6),
        Checked("input, MB", fitted.predict("input_bytes", size) / 1e6, costs["input_bytes"] / 1e6),
    ]  # fmt: skip


def main() -> None:
    """Measure, fit, check, predict, and write the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="sizes of a few seconds")
    parser.add_argument("--keep", action="store_true", help="leave docs/scaling.md as it is")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(int(options.child[0]), int(options.child[1]), options.child[2])
        return
    cores, began, load = count_threads(None), time.perf_counter(), os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as made:
        runs = [measured(Path(made) / "run", shape) for shape in (QUICK_RUNS if options.quick else RUNS)]
        larger = measured(Path(made) / "run", QUICK_LARGER if options.quick else LARGER, cores)
        disk = disk_bytes_per_s(Path(made))
    sizes, costs = [run.size for run in runs], {name: [run.costs[name] for run in runs] for name in runs[0].costs}
    text = report(runs, sizes, costs, larger, Node(cores, psutil.virtual_memory().total, disk, NETWORK_BYTES_PER_S))
    memory = psutil.virtual_memory().total / 1e9
    others = ", ".join(f"{100 * run.others:.0f}" for run in [*runs, larger])
    said = (
        f"python benchmarks/scaling.py{' --quick' if options.quick else ''}`, {dt.datetime.now(dt.UTC):%Y-%m-%d %H:%M}"
    )
    machine = f"{platform.system()} {platform.machine()}, {cores} cores, {memory:.0f} GB of memory"
    head = (
        f"`{said} UTC, {machine}, Python {platform.python_version()}. It took "
        f"{duration(time.perf_counter() - began)}; the load was {load:.1f} when it began. Other programs took these "
        f"shares of the processors during the runs, in order, %: {others}.\n\n"
    )
    print(head + text)
    if not options.keep:
        put(head + text)


def report(
    runs: Sequence[Run], sizes: Sequence[Size], costs: dict[str, Sequence[float]], larger: Run, node: Node
) -> str:
    """Fit, check and predict; give it as text."""
    whole = [run for run in runs if run.size.chains > 1 and run.size.factors == larger.size.factors]
    together = [sum(run.chains[name] for run in whole) for name in whole[0].groups]
    longest = max(together) / (sum(together) / len(together))
    fitted = fit(sizes, costs, longest)
    wanted = wanted_size(larger)
    forecasts = [forecast(fitted, wanted, node, nodes) for nodes in NODES]
    size = larger.size
    chains = f"The longest chain of the library takes {longest:.2f} times the mean of its chains."
    run = (
        f"{size.names:,} names x {size.days:,} days x {size.factors} factors, in {node.cores} processes. The fit "
        "has not seen it."
    )
    future = (
        f"{wanted.names:,} names x {wanted.days:,} days x {wanted.factors} factors, in {wanted.chains + 1} chains of "
        f"at most {wanted.widest} factors. A node has {node.cores} cores, {node.memory_bytes / 1e9:.0f} GB memory and "
        f"a disk that takes {node.disk_bytes_per_s / 1e6:,.0f} MB/s, as here; the network between nodes is assumed to "
        f"carry {node.network_bytes_per_s / 1e9:.2f} GB/s. The input takes "
        f"{fitted.predict('input_bytes', wanted) / 1e9:,.0f} GB in the store."
    )
    parts = ["### The runs", runs_table(sizes, costs), "### The cost model", model_table(fitted), chains]
    parts += ["### The largest run", run, checked_table(check(fitted, larger, node.cores))]
    return "\n\n".join([*parts, "### Predicted", future, forecast_table(forecasts)])


def wanted_size(larger: Run) -> Size:
    """Give the size that is predicted: so many factors of each tier as the larger run has, in groups for its names."""
    names, days, factors = WANTED
    tiers: dict[str, int] = {}
    for name, n in larger.groups.items():
        tier = name.rpartition("-")[0]
        tiers[tier] = tiers.get(tier, 0) + n
    share = factors / larger.size.factors
    widest = group_factors(names)
    chains = sum(math.ceil(n * share / widest) for n in tiers.values())
    return Size(names, days, factors, chains, widest, full_days(days, larger.lookbacks))


if __name__ == "__main__":
    main()
