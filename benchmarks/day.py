"""One new day at 3,000 assets: what each workload of a running engine computes of it, and what the library does.

Starts an engine of its own with a model of every style, appends days one by one and asks each workload for the new day.
The times are those that the actors measured of themselves (`timings_ms` of the answers): `compute` is held against the
target of the design, beside it stand the stages of the write. Then the library alone, stage by stage, and the update
after ever longer histories. Nothing here is a gate: absolute times belong to a machine.

With `--live RATE` so many days follow in the same engine while ticks of the running day come in at this rate, with a
watch that somebody reads. With `--policy off` nothing is looked at in the tables that come in, so that two runs tell
what the look costs.

    python benchmarks/day.py [--days 120] [--library-only] [--live 1000] [--policy off] [--json FILE]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Self

import nats
import numpy as np
import orjson
import polars as pl
import psutil

sys.path.insert(0, str(Path(__file__).parent))
from latency import LOAD, MODEL, N_ASSETS, N_DAYS, running_engine

from clients.http import HttpEngine
from contracts import requests as rq
from contracts.frames import encode
from factors import FactorModel, ModelSettings, Panel, sample_market
from factors.factor_model.settings import StyleSettings
from factors.panel.intake import Intake, Policy
from factors.panel.panel import Categories

COLUMNS = ["date", "symbol", "asset_returns", "market_cap", "sector", "close", "volume", "shares", "book_price",
           "sales_price", "cf_price", "earnings", "cash_flow", "sales", "dividends", "book", "debt", "long_term_debt",
           "assets"]  # fmt: skip
TARGETS_MS = {
    "style_factor_calculation": 3.0,
    "factor_returns_estimation": 5.0,
    "factor_model_creation": 8.0,
    "covariance_matrix_computation": 4.0,
    "factor_exposure_analysis": 2.0,
    "momentum_factor": 3.0,
    "value_factor": 3.0,
    "size_factor": 3.0,
    "risk_model_construction": 10.0,
    "portfolio_factor_attribution": 3.0,
}
HISTORIES = (320, 1000, 2500)
COLD = 2
"""Days left out of the quantiles: the first ones load what every later one finds loaded."""
WARM_S, BURST_S = 5.0, 0.02
"""The feed runs so long before days are appended; ticks of so long leave together."""
REST_S, REST_SHARE, LONGEST_REST_S = 2.0, 0.25, 90.0
"""The engine rests when its processes took less than this share of one core for so long: it saves the library first."""
Ask = Callable[[], Awaitable[Any]]


def wait_for_rest(process: int) -> None:
    """Wait until the start is over: what is measured is a new day of a running engine."""
    end = time.monotonic() + LONGEST_REST_S
    before, share = _cpu_s(process), 1.0
    while share > REST_SHARE and time.monotonic() < end:
        time.sleep(REST_S)
        now = _cpu_s(process)
        before, share = now, (now - before) / REST_S
    if share > REST_SHARE:
        print(f"the engine is not at rest: its processes take {share:.2f} of a core")


def _cpu_s(process: int) -> float:
    """Seconds of CPU that a process and those below it have taken."""
    total = 0.0
    for one in (psutil.Process(process), *psutil.Process(process).children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            times = one.cpu_times()
            total += times.user + times.system
    return total


def quantiles(samples: list[float]) -> dict[str, float]:
    """Median, 99th percentile and largest of samples in ms, without the cold ones."""
    kept = np.array(samples[COLD:])
    return {"p50": float(np.median(kept)), "p99": float(np.percentile(kept, 99)), "max": float(kept.max())}


def questions(engine: HttpEngine, weights: dict[str, float], day: Any) -> dict[str, Ask]:
    """One question to each workload about a model's new day."""
    return {
        "style_factor_calculation": lambda: engine.style_factors(rq.StyleFactors(model_id=MODEL)),
        "factor_returns_estimation": lambda: engine.factor_returns(rq.FactorReturns(model_id=MODEL)),
        "covariance_matrix_computation": lambda: engine.covariance(rq.Covariance(model_id=MODEL)),
        "factor_exposure_analysis": lambda: engine.factor_exposures(
            rq.FactorExposures(model_id=MODEL, portfolio_weights=weights)
        ),
        "momentum_factor": lambda: engine.momentum(rq.MomentumFactor(model_id=MODEL)),
        "value_factor": lambda: engine.value(rq.ValueFactor(model_id=MODEL)),
        "size_factor": lambda: engine.size(rq.SizeFactor(model_id=MODEL)),
        "risk_model_construction": lambda: engine.risk_model(rq.RiskModel(model_id=MODEL)),
        "portfolio_factor_attribution": lambda: engine.portfolio_attribution(
            rq.PortfolioAttribution(model_id=MODEL, portfolio_weights=weights, start_date=day, end_date=day)
        ),
    }


class Feed:
    """Ticks of the day that runs, at a rate, and somebody who reads what a watch makes of them.

    Attributes
    ----------
    sent, read : int
        Ticks published, and values that came.
    """

    def __init__(self, run_dir: Path, per_s: float, first: pl.DataFrame) -> None:
        self.per_s, self._run_dir = per_s, run_dir
        self.sent, self.read = 0, 0
        self.day = first

    async def __aenter__(self) -> Self:
        """Put the watch and begin."""
        access = json.loads((self._run_dir / "nats" / "access.json").read_text())
        self._nc = await nats.connect(access["url"], user=access["user"], password=access["password"])
        self._tasks: list[asyncio.Task[None]] = []
        if not self.per_s:
            return self

        async def take(_: Any) -> None:
            self.read += 1

        await self._nc.subscribe("factor.live.load", cb=take)
        wish = orjson.dumps({"watch_id": "load", **LOAD})
        answer = orjson.loads((await self._nc.request("ml.factor_features.put_watch", wish, timeout=60.0)).data)
        if not answer["success"]:
            raise SystemExit(f"the watch was refused: {answer}")
        self._tasks.append(asyncio.create_task(self._publish()))
        await asyncio.sleep(WARM_S)
        return self

    async def __aexit__(self, *_: object) -> None:
        """End it."""
        for task in self._tasks:
            task.cancel()
        await self._nc.close()

    async def _publish(self) -> None:
        """Let names trade one after the other, in small bursts; what comes late is not made up for."""
        rng = np.random.default_rng(0)
        each = max(int(self.per_s * BURST_S), 1)
        while True:
            began = time.perf_counter()
            symbols, closes = self.day["symbol"], self.day["close"]
            moment = f"{self.day['date'][0]}T15:00:00Z"
            for at in rng.integers(0, len(symbols), each).tolist():
                if closes[at] is None:
                    continue
                price = closes[at] * (1 + 0.002 * float(rng.standard_normal()))
                row = {"symbol": symbols[at], "price": price, "size": 100, "time": moment}
                await self._nc.publish(f"market_data.tick.{symbols[at]}", orjson.dumps(row))
                self.sent += 1
            await asyncio.sleep(max(each / self.per_s - (time.perf_counter() - began), 0.001))


async def ask_engine(
    url: str, days: list[pl.DataFrame], weights: dict[str, float], feed: Feed
) -> dict[str, dict[str, list[float]]]:
    """Append each day and ask every workload for it; milliseconds by workload and stage."""
    measured: dict[str, dict[str, list[float]]] = {}

    def note(workload: str, answer: Any) -> Any:
        for stage, ms in answer.calculation_result.timings_ms.items():
            measured.setdefault(workload, {}).setdefault(stage, []).append(ms)
        return answer.calculation_result

    async with HttpEngine(url) as engine, feed:
        began = time.perf_counter()
        for number, frame in enumerate(days):
            day = frame["date"][0]
            request = rq.AppendDay(model_id=MODEL, feature_data=encode(frame))
            version = note("factor_model_creation", await engine.append_day(request)).model_version
            feed.day = days[min(number + 1, len(days) - 1)]
            for workload, ask in questions(engine, weights, day).items():
                result = note(workload, await ask())
                if result.model_version != version:
                    raise SystemExit(f"{workload} answered from version {result.model_version}, not {version}")
        if feed.per_s:
            took = time.perf_counter() - began + WARM_S
            print(f"{feed.sent / took:.0f} ticks a second came in, {feed.read / took:.1f} values went out")
            if not feed.read:
                raise SystemExit("the watch gave no value: nothing was live")
    return measured


def in_engine(n_days: int, policy: Policy, live: float) -> dict[str, Any]:
    """Print what each workload computes of a new day, beside its target; then the same while a day runs."""
    turns = (0.0, live) if live else (0.0,)
    whole = sample_market(N_ASSETS, N_DAYS + n_days * len(turns)).panel.to_frame().select(COLUMNS)
    dates = whole["date"].unique().sort()
    days = [whole.filter(pl.col("date") == date) for date in dates[N_DAYS:]]
    held = days[-1].filter(pl.col("market_cap").is_not_null())["symbol"].head(100).to_list()
    with tempfile.TemporaryDirectory(prefix="factor-engine-bench-") as name:
        path = Path(name) / "market.parquet"
        whole.filter(pl.col("date") <= dates[N_DAYS - 1]).write_parquet(path)
        del whole
        settings = Path(name) / "model.toml"
        settings.write_text(f'[intake]\npolicy = "{policy}"\n')
        with running_engine(Path(name), path, ("--settings", str(settings))) as engine:
            wait_for_rest(engine["process"].pid)
            found: dict[str, Any] = {}
            weights = dict.fromkeys(held, 1.0 / len(held))
            for turn, per_s in enumerate(turns):
                some = days[turn * n_days : (turn + 1) * n_days]
                measured = asyncio.run(
                    ask_engine(engine["http"], some, weights, Feed(engine["run_dir"], per_s, some[0]))
                )
                found["live" if per_s else "quiet"] = told(measured, n_days, per_s)
    return found


def told(measured: dict[str, dict[str, list[float]]], n_days: int, per_s: float) -> dict[str, Any]:
    """Print a table of what was measured, and give it."""
    beside = f", beside {per_s:g} ticks a second" if per_s else ""
    print(
        f"a new day at {N_ASSETS} assets after {N_DAYS} days, every style, {n_days} days one by one{beside}; "
        "compute in ms:"
    )
    print(f"{'workload':32}{'p50':>8}{'p99':>8}{'max':>8}{'target':>8}")
    found: dict[str, Any] = {}
    for workload, target in TARGETS_MS.items():
        stages = {stage: quantiles(samples) for stage, samples in measured[workload].items()}
        found[workload] = stages
        row = stages["compute"]
        verdict = "met" if row["p99"] < target else "MISSED"
        print(f"{workload:32}{row['p50']:8.2f}{row['p99']:8.2f}{row['max']:8.2f}{target:8.1f}  {verdict}")
    for stage in ("decode", "commit", "queue", "dispatch"):
        row = found["factor_model_creation"][stage]
        print(f"  of the write, {stage:16}{row['p50']:8.2f}{row['p99']:8.2f}{row['max']:8.2f}")
    return found


class Clock:
    """Milliseconds of each stage, summed by day."""

    def __init__(self) -> None:
        self.days: list[dict[str, float]] = []

    def timed(self, stage: str, work: Callable[..., Any]) -> Callable[..., Any]:
        """Give the same work, its time added to the stage of the last day."""

        def run(*arguments: Any) -> Any:
            start = time.perf_counter()
            answer = work(*arguments)
            if self.days:
                self.days[-1][stage] = self.days[-1].get(stage, 0.0) + 1e3 * (time.perf_counter() - start)
            return answer

        return run


def in_library(n_days: int, policy: Policy) -> dict[str, Any]:
    """Print the stages of `update` at 3,000 assets with every style; the answers are part of their stage."""
    panel = sample_market(N_ASSETS, N_DAYS + n_days).panel
    panel = panel.select(fields=[name for name in panel.fields if name in {*COLUMNS, "returns"}])
    model = FactorModel(ModelSettings(threads=1, intake=Intake(policy=policy))).fit(
        panel.select(dates=slice(0, N_DAYS))
    )
    # The stages have no clocks of their own.
    steps, clock = model._held, Clock()  # noqa: SLF001
    risk = steps.risk
    assert risk.covariance is not None
    assert risk.specific is not None
    parts = ((steps, "_score", "styles"), (steps, "_regress", "factor returns"),
             (risk.covariance, "update", "covariance"), (risk.specific, "update", "specific risk"))  # fmt: skip
    for owner, method, stage in parts:
        setattr(owner, method, clock.timed(stage, getattr(owner, method)))
    covariance = clock.timed("covariance", lambda: model.factor_covariance_)
    specific = clock.timed("specific risk", lambda: model.specific_variance_)

    def whole(day: Panel) -> None:
        model.update(day)
        covariance()
        specific()
        model.latest()

    one_day = clock.timed("whole update", whole)
    gc.collect()
    gc.freeze()  # as the actors do once they are prepared
    for row in range(N_DAYS, N_DAYS + n_days):
        clock.days.append({})
        one_day(panel.select(dates=slice(row, row + 1)))
    print(f"the library alone, {len(model.style_names_)} styles, {len(model.factor_names_)} factors, one thread, ms:")
    found = {stage: quantiles([day[stage] for day in clock.days]) for stage in clock.days[0]}
    for stage, row in found.items():
        print(f"  {stage:30}{row['p50']:8.2f}{row['p99']:8.2f}{row['max']:8.2f}")
    return found


def random_panel(n_dates: int) -> Panel:
    """Random returns, caps and ratios, as long as one likes."""
    rng = np.random.default_rng(0)
    shape = (n_dates, N_ASSETS)
    fields = {"returns": 0.02 * rng.standard_normal(shape), "market_cap": np.exp(rng.normal(22.0, 1.3, shape))}
    fields |= {name: np.exp(rng.standard_normal(shape)) for name in ("book_price", "sales_price", "cf_price")}
    codes = np.ascontiguousarray(np.broadcast_to((np.arange(N_ASSETS) % 11).astype(np.int16), shape))
    sectors = {"sector": Categories(codes, tuple(f"s{k:02d}" for k in range(11)))}
    return Panel(np.datetime64("2010-01-01") + np.arange(n_dates), tuple(f"S{k:05d}" for k in range(N_ASSETS)),
                 fields, sectors)  # fmt: skip


def after_histories(n_days: int, policy: Policy) -> dict[str, Any]:
    """Print the update of one day after ever longer histories, 4 styles."""
    styles = StyleSettings(names=("beta", "momentum", "size", "value"))
    settings = ModelSettings(threads=1, intake=Intake(policy=policy), style_factors=styles)
    found = {}
    for n_history in HISTORIES:
        panel = random_panel(n_history + n_days)
        model = FactorModel(settings).fit(panel.select(dates=slice(0, n_history)))
        samples = []
        for row in range(n_history, n_history + n_days):
            day = panel.select(dates=slice(row, row + 1))
            start = time.perf_counter()
            model.update(day).latest()
            samples.append(1e3 * (time.perf_counter() - start))
        found[str(n_history)] = row_ = quantiles(samples)
        print(f"update after {n_history:5} days, 4 styles: p50 {row_['p50']:.2f} ms, p99 {row_['p99']:.2f} ms")
    first, last = found[str(HISTORIES[0])]["p50"], found[str(HISTORIES[-1])]["p50"]
    print(f"  {HISTORIES[-1] / HISTORIES[0]:.1f} times the history, {last / first:.2f} times the cost")
    return found


def main() -> int:
    """Print every figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=int, default=120, help="new days, one by one")
    parser.add_argument("--library-only", action="store_true", help="start no engine")
    parser.add_argument("--live", type=float, default=0.0, help="then as many days again beside so many ticks a second")
    parser.add_argument("--policy", choices=("strict", "warn", "off"), default="warn", help="of the quality report")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    found: dict[str, Any] = {}
    if not options.library_only:
        found["engine"] = in_engine(options.days, options.policy, options.live)
    found["library"] = in_library(options.days, options.policy)
    found["histories"] = after_histories(min(options.days, 40), options.policy)
    if options.json:
        options.json.write_text(json.dumps(found, indent=2))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
