"""The engine under an even load for minutes: no error, flat memory, and latencies that do not grow.

Starts an engine of its own (a 3,000-asset model) and sends, on a timetable that waits for no answer (open loop), 200
requests a second mixed over HTTP and NATS, and a bar every two seconds. A late answer counts from when its request was
due. Prints what was met and missed, and ends with 1 when something was missed:

* no error;
* the processes' own memory in the last minute within 5 % of what it was after the first two minutes (pages of files
  that they map are printed too: the history grows by a day with every bar, and the kernel takes such pages back);
* p50 and p99 of the last minute within 1.2 x of the third's (of the first full minute's, when there are fewer).

    python benchmarks/soak.py [--minutes 10] [--rate 200]
"""

import argparse
import asyncio
import contextlib
import datetime as dt
import json
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import nats
import numpy as np
import orjson
import polars as pl
import psutil
import uvloop
from latency import MODEL, make_market, running_engine, ticking
from latency_client import HttpConnection

from contracts.access import read_access

BAR_EVERY_S = 2.0
MEMORY_EVERY_S = 5.0
SETTLED_S = 120.0
"""From then on memory has to be flat."""
MEMORY_GROWTH, LATENCY_GROWTH = 1.05, 1.2
GROWN = 6
"""So many of the processes that grew most are named."""
TIMEOUT_S = 10.0
MINUTE_S = 60.0
ATTRIBUTION = "/portfolio-attribution/calculate"
ATTRIBUTED_DAYS = 360
QUESTIONS = (
    ("/factor-exposures/calculate", "risk.factor_request.factor_exposures", True, 6),
    ("/portfolio-risk/calculate", "risk.factor_request.portfolio_risk", True, 2),
    (ATTRIBUTION, "portfolio.factor_exposure.attribution", True, 1),
    ("/individual-factors/size", "strategy.factor_analysis.size", False, 1),
)
"""Route, subject, whether it takes a portfolio, and its share of the load."""


class Memory(NamedTuple):
    """What a process has: memory of its own and pages of files that it maps, bytes, and the processor's time, s."""

    own: int
    mapped: int
    cpu_s: float


class Connections:
    """Kept-alive HTTP connections that cost this process little: it shares the processors with the engine.

    Parameters
    ----------
    url
        Of the engine.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._free: list[HttpConnection] = []

    async def post(self, route: str, body: bytes) -> bytes:
        """Send a body over a connection that nobody uses; gives the answer's."""
        connection = self._free.pop() if self._free else HttpConnection(self._url)
        try:
            async with asyncio.timeout(TIMEOUT_S):
                answer = await connection.post(route, body)
        except BaseException:
            connection.close()
            raise
        self._free.append(connection)
        return answer

    def close(self) -> None:
        """Close those that nobody uses."""
        for connection in self._free:
            connection.close()


class Soak:
    """The load and what became of it."""

    def __init__(
        self, engine: dict[str, Any], market: Path, portfolios: list[dict[str, float]], bar_every_s: float = BAR_EVERY_S
    ) -> None:
        self._bar_every_s = bar_every_s
        self._engine = engine
        self._url = engine["http"]
        frame = pl.read_parquet(market)
        self._last = frame.filter(pl.col("date") == frame["date"].max())
        self._bodies = [orjson.dumps({"portfolio_weights": portfolio}) for portfolio in portfolios]
        self.errors: Counter[str] = Counter()
        self.took: list[tuple[float, str, float]] = []
        """When it was due (seconds from the beginning), its route, and how long it took."""
        self.memory: list[tuple[float, dict[str, Memory]]] = []
        self.late_s: list[float] = []
        """By how much this process itself was late to send."""
        self.bars = 0
        self.began = 0.0

    async def run(self, seconds: float, rate: float) -> None:
        """Keep the load up for so long."""
        access = read_access(self._engine["run_dir"])
        assert access is not None
        nc = await nats.connect(**access.options())
        with contextlib.closing(Connections(self._url)) as http:
            self.began = time.monotonic()
            beside = [asyncio.create_task(work) for work in (self._send_bars(nc), self._weigh())]
            asked: set[asyncio.Task[None]] = set()
            for number in range(int(seconds * rate)):
                due = self.began + number / rate
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                self.late_s.append(time.monotonic() - due)
                task = asyncio.create_task(self._ask(http, nc, due))
                asked.add(task)
                task.add_done_callback(asked.discard)
            if asked:
                await asyncio.wait(asked)
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)
        await nc.close()

    async def _ask(self, http: Connections, nc: Any, due: float) -> None:
        route, subject, takes_portfolio, _ = random.choices(QUESTIONS, [share for *_, share in QUESTIONS])[0]
        body = random.choice(self._bodies) if takes_portfolio else b"{}"
        if route == ATTRIBUTION:  # of a period as long in the last minute as in the first
            start = self._last["date"][0] + dt.timedelta(days=self.bars - ATTRIBUTED_DAYS)
            body = body[:-1] + b',"start_date":"%s"}' % str(start).encode()
        over = random.choice(("HTTP", "NATS"))
        try:
            if over == "HTTP":
                content = await http.post(route, body)
            else:
                content = (await nc.request(subject, body, timeout=TIMEOUT_S)).data
            answer = orjson.loads(content)
            if answer.get("success") is not True:
                self.errors[f"{over} {route}: {answer.get('code', 'no success')}"] += 1
        except (OSError, EOFError, RuntimeError, nats.errors.Error, ValueError) as error:
            self.errors[f"{over} {route}: {type(error).__name__}"] += 1
        self.took.append((due - self.began, route, time.monotonic() - due))

    async def _send_bars(self, nc: Any) -> None:
        """Send a bar every two seconds, each a day after the one before it."""
        day = self._last["date"][0]
        rng = np.random.default_rng(2)
        js = nc.jetstream()
        while True:
            await asyncio.sleep(max(0.0, self.began + (self.bars + 1) * self._bar_every_s - time.monotonic()))
            day += dt.timedelta(days=1)
            moved = pl.Series(rng.standard_normal(self._last.height) * 0.01)
            bar = self._last.with_columns(date=pl.lit(str(day)), asset_returns=moved)
            body = await asyncio.to_thread(
                lambda bar=bar: orjson.dumps({"model_id": MODEL, "rows": bar.to_dict(as_series=False)})
            )
            try:
                await js.publish("market_data.bar.all", body, timeout=TIMEOUT_S)
            except (nats.errors.Error, TimeoutError) as error:
                self.errors[f"bar: {type(error).__name__}"] += 1
            self.bars += 1

    async def _weigh(self) -> None:
        while True:
            self.memory.append(
                (time.monotonic() - self.began, await asyncio.to_thread(memory_of, self._engine["process"].pid))
            )
            await asyncio.sleep(MEMORY_EVERY_S)


def memory_of(pid: int) -> dict[str, Memory]:
    """Give the memory of a process and all below it by process, bytes; what several share counts in parts (PSS)."""
    found = {}
    for process in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]:
        with contextlib.suppress(psutil.Error, OSError):
            name = (process.cmdline() or [process.name()])[0].partition(" ")[0].rpartition("/")[2]
            rows = Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines()
            kib = {row.partition(":")[0]: int(row.split()[1]) for row in rows[1:]}
            own = kib["Pss_Anon"] + kib["Pss_Shmem"]
            times = process.cpu_times()
            found[f"{name} {process.pid}"] = Memory(own * 1024, kib["Pss_File"] * 1024, times.user + times.system)
    return found


def minute(soak: Soak, number: int, route: str | None = None) -> list[float]:
    """Give the times of one minute's requests, or of those of one route, in ms; -1: the last one."""
    end = max((due for due, _, _ in soak.took), default=0.0)
    begin = end - MINUTE_S if number < 0 else number * MINUTE_S
    return sorted(
        took * 1e3 for due, of, took in soak.took if begin <= due <= begin + MINUTE_S and (route is None or of == route)
    )


def quantile(values: list[float], share: float) -> float:
    """Give a quantile of sorted values; NaN of none."""
    return values[min(len(values) - 1, int(len(values) * share))] if values else float("nan")


def judge(soak: Soak, lag: dict[str, Any]) -> bool:
    """Print what was met and missed."""
    whole_minutes = int(max((due for due, _, _ in soak.took), default=0.0) // MINUTE_S)
    first = 2 if whole_minutes >= 4 else 0
    early = minute(soak, first)
    last = minute(soak, -1)
    settled = [seen for at, seen in soak.memory if at >= min(SETTLED_S, soak.memory[-1][0] / 2)]
    rows = [("errors", f"{sum(soak.errors.values())} {dict(soak.errors) or ''}", not soak.errors)]
    for kind, limited in (("own", True), ("mapped", False)):
        sums = [sum(getattr(memory, kind) for memory in seen.values()) for seen in settled]
        before, after = float(np.median(sums[:6])), float(np.median(sums[-6:]))
        text = f"{before / 2**20:,.0f} to {after / 2**20:,.0f} MiB, x {after / before:.3f}"
        text += f" (limit {MEMORY_GROWTH})" if limited else " of files, which the kernel takes back when it wants"
        rows.append((f"memory, {kind}", text, not limited or after / before <= MEMORY_GROWTH))
    for name, share in (("p50", 0.5), ("p99", 0.99)):
        before, after = quantile(early, share), quantile(last, share)
        text = f"{before:.1f} to {after:.1f} ms, x {after / before:.2f} (limit {LATENCY_GROWTH})"
        rows.append((f"latency {name}", text, after <= before * LATENCY_GROWTH))
    rows.append(("bars", f"{soak.bars} sent, the model's last day is {lag['last_date']}", True))
    print(f"{len(soak.took)} requests in {whole_minutes} whole minutes")
    for name, text, met in rows:
        print(f"  {name:<14} {'met   ' if met else 'MISSED'}  {text}")
    for route, *_ in QUESTIONS:
        times = [minute(soak, number, route) for number in (first, -1)]
        texts = [" / ".join(f"{quantile(values, share):.1f}" for share in (0.5, 0.99)) for values in times]
        print(f"  {route:<32} p50 / p99 {texts[0]} to {texts[1]} ms")
    late = quantile(sorted(soak.late_s), 0.99)
    print(f"  this program was late to send by {late * 1e3:.1f} ms (p99): what it is late counts as the engine's")
    grown = {name: settled[-1][name].own - memory.own for name, memory in settled[0].items() if name in settled[-1]}
    for name, size in sorted(grown.items(), key=lambda row: -row[1])[:GROWN]:
        print(f"  {name} took {size / 2**20:+,.0f} MiB more, {settled[-1][name].own / 2**20:,.0f} in all")
    used = {name: memory.cpu_s - settled[0][name].cpu_s for name, memory in settled[-1].items() if name in settled[0]}
    span = soak.memory[-1][0] - soak.memory[-len(settled)][0]
    print("  processors, share of one: ", end="")
    print(", ".join(f"{name} {cpu / span:.2f}" for name, cpu in sorted(used.items(), key=lambda row: -row[1])[:GROWN]))
    return all(met for _, _, met in rows)


def main() -> int:
    """Soak the engine and print what was met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--rate", type=float, default=200.0)
    parser.add_argument("--bar-every", type=float, default=BAR_EVERY_S, help="seconds")
    parser.add_argument("--ticks", type=float, default=0.0, help="ticks a second that flow beside")
    options = parser.parse_args()
    random.seed(0)
    with tempfile.TemporaryDirectory(prefix="factor-engine-soak-") as folder:
        market, portfolios = make_market(Path(folder), ("close",) if options.ticks else ())
        with running_engine(Path(folder), market) as engine:
            soak = Soak(engine, market, portfolios, options.bar_every)
            with ticking(engine, options.ticks):
                uvloop.run(soak.run(options.minutes * MINUTE_S, options.rate))
            bus = json.loads(httpx.get(f"{engine['http']}/messagebus/status", trust_env=False).content)
            print("live:", json.dumps(bus.get("messagebus", bus).get("live", {})))
            status = json.loads(httpx.get(f"{engine['http']}/factor-models/{MODEL}/status", trust_env=False).content)
    return 0 if judge(soak, status) else 1


if __name__ == "__main__":
    sys.exit(main())
