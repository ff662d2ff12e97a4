"""What a look at a row that is not final costs, beside the step itself, in process time.

    python benchmarks/peek.py [--names 504,3008] [--parts few,all,day]

Parts: few (20 factors along time), all (the whole library), day (a model of every style, 10 portfolios of 100 names).
Each line: the median and the least of the rounds. `one` is a tick of one name, `thirty` of thirty.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from factors import FactorModel, sample_market
from factors.library import Catalogue, compile_library
from factors.library.language.names import FIELDS, GROUPS
from factors.live import LiveDay, LiveFactors, LiveRow

ROWS, ROUNDS = 90, 16
TICKS = 300
FEW = (
    "mean(close, 5) / close - 1", "ts_rank(close, 10)", "stddev(returns, 20)", "corr(close, volume, 10)",
    "ema(close, 12) - ema(close, 26)", "sum(returns, 60)", "ts_max(high, 20) / close", "ts_min(low, 20) / close",
    "decay_linear(returns, 10)", "skew(returns, 20)", "delta(close, 5)", "ts_argmax(close, 20)",
    "mean(volume, 20) / volume", "product(1 + returns, 5)", "rsquare(close, 10)", "kama(close, 10)",
    "median(close, 9)", "stddev(close, 80)", "mean(close, 120) / close", "ts_zscore(volume, 20)",
)  # fmt: skip


def timed(work: Callable[[], Any], rounds: int) -> str:
    """The median and the least process time of some rounds, in milliseconds."""
    work()
    taken = []
    for _ in range(rounds):
        begin = time.process_time()
        work()
        taken.append((time.process_time() - begin) * 1e3)
    return f"{statistics.median(taken):8.3f} ({min(taken):.3f})"


def of_library(name: str, formulas: Mapping[str, Any], names: int, rounds: int) -> None:
    """Print the costs of a library's step and peeks."""
    rng = np.random.default_rng(0)
    shape = (ROWS, names)
    close = 50 * np.exp(np.cumsum(rng.standard_normal(shape) * 0.02, axis=0))
    fields = {field: close * np.exp(rng.standard_normal(shape) * 0.01) for field in FIELDS} | {"close": close}
    fields["returns"] = np.vstack([np.full((1, names), np.nan), close[1:] / close[:-1] - 1])
    groups = dict.fromkeys(GROUPS, np.tile(np.arange(names) % 60, (ROWS, 1)))
    dates = np.busday_offset("2014-01-02", np.arange(ROWS))
    stream = compile_library(formulas).stream(names)
    warm = ROWS - ROUNDS - 2
    stream.warm({k: v[:warm] for k, v in fields.items()}, {k: v[:warm] for k, v in groups.items()}, dates[:warm])

    def row(t: int) -> Any:
        return {k: v[t] for k, v in fields.items()}, {k: v[t] for k, v in groups.items()}, dates[t]

    days = iter(range(warm, ROWS - 1))
    step = timed(lambda: stream.update(*row(next(days))), min(rounds, ROUNDS))
    now = row(ROWS - 1)
    peek = timed(lambda: stream.peek(*now), min(rounds, ROUNDS))
    one = timed(lambda: stream.peek(*now, changed=[names // 2]), rounds)
    thirty = np.arange(5, names, names // 30)
    some = timed(lambda: stream.peek(*now, changed=thirty), rounds)
    print(f"{names:>6} {name:<12} step {step}   peek {peek}   one {one}   thirty {some} ms", flush=True)


def of_day(names: int) -> None:
    """Print the costs of a model's running day."""
    panel = sample_market(names, 280, seed=3).panel
    model = FactorModel().fit(panel.select(slice(0, 279)))
    before, day = panel.select(slice(0, 279)), panel.select(slice(279, 280))
    live, row = LiveDay(model, day.dates[0]), LiveRow.after(before, day.dates[0])
    plan = LiveFactors({f"f{i}": text for i, text in enumerate(FEW)}, before)
    row.take(panel.symbols, {"price": day.fields["close"][0], "size": day.fields["volume"][0]})
    live.tick(*row.changed())
    weights = np.zeros((10, names))
    rng = np.random.default_rng(0)
    for book in weights:
        book[rng.choice(names, min(100, names // 2), replace=False)] = 0.01
    which = panel.symbols[7:8]
    price = day.fields["close"][0, 7:8]

    def tick() -> None:
        row.take(which, {"price": price * (1 + 0.001 * rng.random()), "size": [1.0]})
        live.tick(*row.changed())

    def look() -> None:
        tick()
        live.portfolios(weights)

    plan.peek(live.adjusted(), live.categories, live.date)

    def factors() -> None:
        tick()
        plan.peek(live.adjusted(), live.categories, live.date, np.array([7]))

    part = timed(lambda: model.peek(live.close()), 30)
    for what, taken in (
        ("a tick into the row", timed(tick, TICKS)),
        ("a tick to 20 factors of its name", timed(factors, TICKS)),
        ("the model's part of a look", part),
        ("a tick, the model, 10 portfolios", timed(look, 30)),
    ):
        print(f"{names:>6} {what:<34} {taken} ms", flush=True)


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--names", default="504,3008")
    parser.add_argument("--parts", default="few,all,day")
    chosen = parser.parse_args()
    for names in map(int, chosen.names.split(",")):
        if "few" in chosen.parts:
            of_library("20 along time", {f"f{i}": text for i, text in enumerate(FEW)}, names, TICKS)
        if "all" in chosen.parts:
            of_library("all", Catalogue.load().entries, names, ROUNDS)
        if "day" in chosen.parts:
            of_day(names)


if __name__ == "__main__":
    main()
