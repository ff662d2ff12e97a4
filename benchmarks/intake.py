"""What the look at every table costs: the same fits and the same days under the policies `off` and `warn`.

Pairs alternate within one process, each timed by the CPU that its thread took, so that what else runs on the machine
moves neither side alone. A third model, `off` again, tells how far apart two that are the same come out: by where their
arrays lie in memory, by up to 2 %. So the look is also timed where it stands, within the fits and days under `warn`:
its share of the rest is what is held against the aim. `--four` is for models of four styles only.

    python benchmarks/intake.py [--pairs 400] [--fits 15] [--four] [--json FILE]
"""

from __future__ import annotations

import argparse
import gc
import itertools
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from day import COLUMNS

from factors import FactorModel, ModelSettings, Panel, sample_market
from factors.factor_model.settings import StyleSettings
from factors.panel.intake import Intake, Policy
from factors.panel.quality.watch import Watch

N_ASSETS, N_DAYS = (504, 3000), 320
COLD = 4
"""Pairs left out: the first ones load what every later one finds loaded."""
AT_MOST = 1.03
RUNS: dict[str, Policy] = {"off": "off", "again": "off", "warn": "warn"}
Samples = dict[str, list[tuple[float, float]]]


def settings(policy: Policy) -> ModelSettings:
    """One thread, so that its CPU is all that there is."""
    styles = StyleSettings(names=("beta", "momentum", "size", "value") if "--four" in sys.argv else None)
    return ModelSettings(threads=1, intake=Intake(policy=policy), style_factors=styles)


class Look:
    """Stands around `Watch.after` and adds up what it takes."""

    def __init__(self) -> None:
        self.ms, self._work = 0.0, Watch.after
        look = self

        def after(watch: Watch, *arguments: Any, **more: Any) -> Watch:
            start = time.thread_time()
            try:
                return look._work(watch, *arguments, **more)
            finally:
                look.ms += 1e3 * (time.thread_time() - start)

        Watch.after = after  # type: ignore[method-assign]


LOOK = Look()


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Milliseconds of CPU that this thread took, and those of the look among them."""
    before, start = LOOK.ms, time.thread_time()
    work()
    return 1e3 * (time.thread_time() - start), LOOK.ms - before


def compared(samples: Samples) -> dict[str, dict[str, float]]:
    """Beside `off`: its minimum and median in ms, and the ratios to them; the median of pairs has its 95 % interval."""
    off = np.array(samples["off"][COLD:])[:, 0]
    found: dict[str, dict[str, float]] = {"off": {"min_ms": float(off.min()), "median_ms": float(np.median(off))}}
    for name in ("again", "warn"):
        its, look = np.array(samples[name][COLD:]).T
        ratios = np.sort(its / off)
        half = 0.98 * np.sqrt(len(ratios))  # of a binomial with a half
        low, high = (int(np.clip(len(ratios) / 2 + side, 0, len(ratios) - 1)) for side in (-half, half))
        found[name] = {
            "of_minima": float(its.min() / off.min()), "of_medians": float(np.median(its) / np.median(off)),
            "of_pairs": float(np.median(ratios)), "low": float(ratios[low]), "high": float(ratios[high]),
            "look_ms": float(np.median(look)), "look": 1.0 + float(np.median(look / (its - look))),
        }  # fmt: skip
    return found


def in_turn(number: int) -> tuple[str, ...]:
    """Each order as often as the others: who comes after whom counts too."""
    orders = list(itertools.permutations(RUNS))
    return orders[number % len(orders)]


def days(panel: Panel) -> Samples:
    """Update three models by the same days, one after the other."""
    history = panel.select(dates=slice(0, N_DAYS))
    models = {name: FactorModel(settings(policy)).fit(history) for name, policy in RUNS.items()}
    took: Samples = {name: [] for name in RUNS}
    gc.collect()
    gc.freeze()  # as the actors do once they are prepared
    for number in range(panel.n_dates - N_DAYS):
        day = panel.select(dates=slice(N_DAYS + number, N_DAYS + number + 1))
        for name in in_turn(number):
            took[name].append(timed(lambda model=models[name], day=day: model.update(day).latest()))  # type: ignore[misc]
    return took


def fits(panel: Panel, pairs: int) -> Samples:
    """Fit the same panel over and over."""
    took: Samples = {name: [] for name in RUNS}
    for number in range(pairs + COLD):
        for name in in_turn(number):
            took[name].append(timed(lambda policy=RUNS[name]: FactorModel(settings(policy)).fit(panel)))  # type: ignore[misc]
    return took


def main() -> int:
    """Print each ratio; ends with 1 when one is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=400, help="days of the sample market, one pair each")
    parser.add_argument("--fits", type=int, default=15)
    parser.add_argument("--four", action="store_true", help="four styles, of which a fit takes half of the time")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    found: dict[str, Any] = {}
    for n_assets in N_ASSETS:
        whole = sample_market(n_assets, N_DAYS + options.pairs + COLD).panel
        panel = whole.select(fields=[name for name in whole.fields if name in {*COLUMNS, "returns"}])
        found[f"fit of {N_DAYS} days, {n_assets} names"] = compared(
            fits(panel.select(dates=slice(0, N_DAYS)), options.fits)
        )
        found[f"a day, {n_assets} names"] = compared(days(panel))
    missed = 0
    print(f"CPU of one thread under `warn`, over that under `off`; in brackets `off` over `off` (aim {AT_MOST})")
    print(f"{'':32}{'off, ms':>10}{'of minima':>18}{'of medians':>18}{'of pairs (95 %)':>34}{'the look':>10}")
    for what, row in found.items():
        warn, again = row["warn"], row["again"]
        missed += warn["look"] > AT_MOST
        pairs = f"{warn['of_pairs']:.4f} ({warn['low']:.4f}-{warn['high']:.4f}) [{again['of_pairs']:.4f}]"
        parts = [f"{warn[name]:.4f} [{again[name]:.4f}]" for name in ("of_minima", "of_medians")]
        print(f"{what:32}{row['off']['median_ms']:10.3f}{parts[0]:>18}{parts[1]:>18}{pairs:>34}{warn['look']:>10.4f}")
    if options.json:
        options.json.write_text(json.dumps(found, indent=2))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
