"""From a tick to the values at a subscriber, beside a bare NATS message, a Ray call and the bare step, in one run.

Starts an engine of its own in a temporary directory. A client in this process publishes one tick at a time and waits
for the watch's value; the bare parts are measured in the same minutes: a one-way message between two connections to
the same server, an empty call to the same actor, and the step of the same formulas in this process.

    python benchmarks/live.py [--names 504] [--days 320] [--ticks 300] [--what factors,returns,library,bar,place]
"""

import argparse
import asyncio
import contextlib
import datetime as dt
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import nats
import numpy as np
import orjson
import polars as pl
from latency import MODEL, running_engine

ROOT = Path(__file__).parents[1]
WAIT_S = 60.0
N_FACTORS = 20
SINGLE_FROM = 1500
AIMS = {
    "factors": ("20 factors", 1.7, "step + Ray call + message"),
    "returns": ("returns, exposures, 10 books", 2.0, "step + Ray call + message"),
    "library": ("whole library", 2.0, "step"),
    "bar": ("final bar to library values", 4.0, "step"),
}


def percentile(values: list[float], share: float) -> float:
    """Give a percentile of what was measured."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def market(folder: Path, n_assets: int, n_days: int) -> tuple[Path, pl.DataFrame]:
    """Write the market; give its last day."""
    from factors.sample.market import sample_market

    frame = sample_market(n_assets, n_days).panel.to_frame()
    path = folder / "market.parquet"
    frame.write_parquet(path)
    return path, frame.filter(pl.col("date") == pl.col("date").max())


class Watcher:
    """Publishes a tick and waits for the value that has it."""

    def __init__(self, nc: Any, last: pl.DataFrame) -> None:
        self.nc = nc
        self.last = last.filter(pl.col("close").is_not_null())
        self.symbols = self.last["symbol"].to_list()
        self.closes = self.last["close"].to_list()
        self.date = last["date"][0] + dt.timedelta(days=1)
        self.clock = dt.datetime.combine(self.date, dt.time(14, 0), dt.UTC)
        self.rng = np.random.default_rng(0)

    def tick(self, i: int) -> tuple[str, bytes]:
        """Give a trade of a name."""
        self.clock += dt.timedelta(milliseconds=50)
        price = self.closes[i] * (1 + 0.002 * float(self.rng.standard_normal()))
        row = {"symbol": self.symbols[i], "price": price, "size": 100, "time": self.clock.isoformat()}
        return f"market_data.tick.{self.symbols[i]}", orjson.dumps(row)

    async def whole_day(self) -> None:
        """Let every name trade once."""
        for i in range(len(self.symbols)):
            await self.nc.publish(*self.tick(i))
        await self.nc.flush()

    async def measure(self, watch: dict[str, Any], n: int) -> dict[str, Any]:
        """Put a watch, publish ticks one at a time, and give the times until their values came, ms."""
        reply = await self.nc.request("ml.factor_features.put_watch", orjson.dumps(watch), timeout=WAIT_S)
        answer = orjson.loads(reply.data)
        if not answer.get("success"):
            raise SystemExit(f"the watch was refused: {answer}")
        came: asyncio.Queue[tuple[float, Any]] = asyncio.Queue()

        async def take(msg: Any) -> None:
            came.put_nowait((time.perf_counter(), msg))

        subscription = await self.nc.subscribe(f"factor.live.{watch['watch_id']}", cb=take)
        await self.until_live(watch["watch_id"])
        await self.whole_day()
        await self.quiet(came)
        times, compute, size = [], [], 0
        for k in range(n):
            while not came.empty():
                came.get_nowait()
            subject, body = self.tick(k % len(self.symbols))
            began = time.perf_counter()
            await self.nc.publish(subject, body)
            await self.nc.flush(WAIT_S) if k < 0 else await self.nc._flush_pending()  # noqa: SLF001
            async with asyncio.timeout(WAIT_S):
                when, msg = await came.get()
            times.append((when - began) * 1e3)
            compute.append(float(msg.headers["factor-compute-ms"]))
            size = len(msg.data)
            await asyncio.sleep(0.002)
        await subscription.unsubscribe()
        page = await self.page(watch["watch_id"])
        await self.nc.request(
            "ml.factor_features.delete_watch", orjson.dumps({"watch_id": watch["watch_id"]}), timeout=WAIT_S
        )
        return {"ms": times[n // 10 :], "compute_ms": compute, "bytes": size, "page": page}

    async def quiet(self, came: asyncio.Queue[Any]) -> None:
        """Wait until no value came for a second: one of the day's ticks is no answer to the first timed one."""
        with contextlib.suppress(TimeoutError):
            while True:
                async with asyncio.timeout(1.0):
                    await came.get()

    async def page(self, watch_id: str) -> dict[str, Any]:
        """Show the watch."""
        asked = orjson.dumps({"watch_id": watch_id})
        answer: dict[str, Any] = orjson.loads(
            (await self.nc.request("ml.factor_features.get_watch", asked, timeout=WAIT_S)).data
        )
        return answer

    async def until_live(self, watch_id: str) -> None:
        """Wait until the watch is at work."""
        end = time.monotonic() + 300.0
        while (page := await self.page(watch_id))["state"] not in ("waiting", "live"):
            if time.monotonic() > end or page["state"] == "faulted":
                raise SystemExit(f"the watch does not begin: {page}")
            await asyncio.sleep(0.2)


async def bare_message(access: dict[str, Any], n: int = 300) -> list[float]:
    """Time a message from one connection to another, ms."""
    options = {"servers": access["url"], "user": access["user"], "password": access["password"]}
    one, other = await nats.connect(**options), await nats.connect(**options)
    came: asyncio.Queue[float] = asyncio.Queue()

    async def take(_: Any) -> None:
        came.put_nowait(time.perf_counter())

    await other.subscribe("bare.message", cb=take)
    await other.flush()
    times = []
    for _ in range(n):
        began = time.perf_counter()
        await one.publish("bare.message", b"x" * 120)
        await one._flush_pending()  # noqa: SLF001
        times.append((await came.get() - began) * 1e3)
        await asyncio.sleep(0.002)
    await one.close()
    await other.close()
    return times


def bare_call(n: int = 300) -> list[float]:
    """Time a call of the same actor that does nothing, from an event loop, ms."""
    import ray

    from router.packing import pack_items

    handle = ray.get_actor("factor_library", namespace="factor_engine")
    nothing = pack_items([])

    async def calls() -> list[float]:
        times = []
        for _ in range(n):
            began = time.perf_counter()
            await handle.call_light.remote(nothing)
            times.append((time.perf_counter() - began) * 1e3)
            await asyncio.sleep(0.002)
        return times

    return asyncio.run(calls())


def bare_step(path: Path, ids: tuple[str, ...] | None, n: int = 60) -> list[float]:
    """Time the library's step of some factors, or all, on the market's last days in this process, ms."""
    from factors.library import Catalogue, compile_library
    from factors.library.definitions.fields import computable, library_fields
    from factors.panel.panel import Panel

    panel = Panel.from_frame(pl.read_parquet(path))
    fields = library_fields(panel)
    entries = Catalogue.load().entries
    able, _ = computable(compile_library(entries), fields.available)
    chosen = able if ids is None else ids
    library = compile_library({name: entries[name] for name in chosen})
    stream = library.stream(panel.n_assets)
    stream.warm(fields.fields, fields.groups, panel.dates)
    day = panel.dates[-1]
    row = {name: values[-1] for name, values in fields.fields.items()}
    groups = {name: codes[-1] for name, codes in fields.groups.items()}
    times = []
    for k in range(n):
        began = time.perf_counter()
        stream.update(row, groups, day + np.timedelta64(k + 1, "D"))
        times.append((time.perf_counter() - began) * 1e3)
    return times[n // 10 :]


def bare_day(path: Path, n_books: int = 10, n: int = 30) -> list[float]:
    """Time what the model gives of a running day, and books on it, when one name moved, in this process, ms."""
    from factors.factor_model.model import FactorModel
    from factors.live import LiveDay
    from factors.panel.panel import Panel

    panel = Panel.from_frame(pl.read_parquet(path))
    model = FactorModel().fit(panel.select(dates=panel.dates[:-1]))
    day = LiveDay(model, panel.dates[-1])
    row = {name: values[-1] for name, values in panel.fields.items()}
    columns = day.columns(panel.symbols)
    day.tick(columns, row)
    weights = np.random.default_rng(0).dirichlet(np.ones(len(day.symbols)), n_books)
    times = []
    for k in range(n):
        one = columns[k : k + 1]
        day.tick(one, {name: values[k : k + 1] for name, values in row.items()})
        began = time.perf_counter()
        day.peek()
        day.portfolios(weights)
        times.append((time.perf_counter() - began) * 1e3)
    return times[n // 10 :]


def some_factors(path: Path) -> tuple[str, ...]:
    """Choose factors along time and across names that the market can compute."""
    from factors.library import Catalogue, compile_library
    from factors.library.definitions.fields import computable, library_fields
    from factors.panel.panel import Panel

    panel = Panel.from_frame(pl.read_parquet(path)).last(5)
    entries = Catalogue.load().entries
    able, _ = computable(compile_library(entries), library_fields(panel).available)
    step = max(len(able) // N_FACTORS, 1)
    return able[::step][:N_FACTORS]


def report(name: str, times: list[float], parts: dict[str, list[float]]) -> dict[str, Any]:
    """Print a line: times, what it is held against, and whether the gate is met."""
    title, gate, of = AIMS[name]
    bare = sum(statistics.median(parts[part]) for part in parts)
    ratio = statistics.median(times) / bare
    verdict = "met" if ratio <= gate else "missed"
    print(
        f"{title:30} p50 {percentile(times, 0.5):8.2f} ms  p99 {percentile(times, 0.99):8.2f} ms  "
        f"{ratio:5.2f} x ({of}: {bare:.2f} ms)  gate {gate:g}: {verdict}"
    )
    return {
        "p50": percentile(times, 0.5),
        "p99": percentile(times, 0.99),
        "ratio": ratio,
        "gate": gate,
        "met": ratio <= gate,
    }


def inside(got: dict[str, Any], step: list[float]) -> None:
    """Print where the time of a line goes."""
    page, compute = got["page"], statistics.median(got["compute_ms"])
    plan = "none" if page["plan_ms"] is None else f"{page['plan_ms']:.3f}"
    print(
        f"  step p50 {statistics.median(step):.3f} ms; in the actor {compute:.3f} ms, of it plan {plan} ms, "
        f"message {page['cost_ms']:.3f} ms; {got['bytes']} bytes"
    )


async def final_bars(nc: Any, last: pl.DataFrame, first: dt.date, n: int) -> list[float]:
    """Publish final bars one at a time; give the times until the library's values were published, ms."""
    came: asyncio.Queue[tuple[float, str]] = asyncio.Queue()

    async def take(msg: Any) -> None:
        came.put_nowait((time.perf_counter(), (msg.headers or {}).get("ce-type", "")))

    await nc.subscribe("factor.library.*", cb=take)
    await nc.subscribe("factor.rejected.*", cb=take)
    js = nc.jetstream()
    times = []
    for k in range(n):
        rows = last.with_columns(pl.lit(str(first + dt.timedelta(days=k))).alias("date")).to_dict(as_series=False)
        body = orjson.dumps({"model_id": MODEL, "rows": rows})
        began = time.perf_counter()
        await js.publish("market_data.bar.all", body)
        kind = ""
        while kind != "FACTOR_LIBRARY_UPDATED":
            async with asyncio.timeout(WAIT_S):
                when, kind = await came.get()
            if kind == "FACTOR_REQUEST_REJECTED":
                raise SystemExit("the bar was rejected")
        times.append((when - began) * 1e3)
    return times


async def measured(
    engine: dict[str, Any], path: Path, last: pl.DataFrame, options: argparse.Namespace
) -> dict[str, Any]:
    """Measure each line of the table that was asked for."""
    access = json.loads((engine["run_dir"] / "nats" / "access.json").read_text())
    nc = await nats.connect(access["url"], user=access["user"], password=access["password"], pending_size=64 * 2**20)
    wanted = options.what.split(",")
    watcher = Watcher(nc, last)
    found: dict[str, Any] = {}
    message = await bare_message(access)
    call = await asyncio.to_thread(bare_call)
    base = {"message": message, "call": call}
    print(f"bare message p50 {statistics.median(message):.3f} ms, bare Ray call p50 {statistics.median(call):.3f} ms")
    common = {"model_id": MODEL, "rate_ms": 0}
    if "factors" in wanted:
        ids = some_factors(path)
        got = await watcher.measure(
            {**common, "watch_id": "f", "factors": list(ids), "encoding": "arrow"}, options.ticks
        )
        step = bare_step(path, ids)
        found["factors"] = report("factors", got["ms"], {"step": step, **base})
        inside(got, step)
    if "returns" in wanted:
        books = await put_books(nc, watcher.symbols)
        watch = {**common, "watch_id": "r", "factor_returns": True, "styles": ["*"], "portfolios": books}
        got = await watcher.measure(watch, options.ticks // 3)
        step = bare_day(path)
        found["returns"] = report("returns", got["ms"], {"step": step, **base})
        inside(got, step)
    if "library" in wanted:
        got = await watcher.measure(
            {**common, "watch_id": "l", "factors": ["*"], "encoding": encoding_of(options.names)}, options.ticks // 3
        )
        step = bare_step(path, None)
        found["library"] = report("library", got["ms"], {"step": step})
        inside(got, step)
    if "place" in wanted:
        found["place"] = await place(watcher, {**common, "encoding": "arrow"}, some_factors(path), options.ticks)
    if "bar" in wanted:
        times = await final_bars(nc, last, watcher.date, options.bars)
        found["bar"] = report("bar", times[1:], {"step": bare_step(path, None)})
    await nc.close()
    return found


async def place(watcher: Watcher, watch: dict[str, Any], ids: tuple[str, ...], n: int) -> dict[str, float]:
    """Time ticks beside requests to the same actor, and beside as much work in another process; p50, ms.

    What the requests cost more than the process is the price of one interpreter for the running days and the library.
    """
    answered = 0

    async def asking() -> None:
        nonlocal answered
        asked = orjson.dumps({"model_id": MODEL, "factors": list(ids), "symbols": watcher.symbols[:1]})
        while True:
            await watcher.nc.request("ml.factor_features.factor_cross_section", asked, timeout=WAIT_S)
            answered += 1

    medians = {}
    for name in ("nothing", "requests to the same actor", "a process that computes"):
        began = time.perf_counter()
        task = asyncio.create_task(asking()) if name.startswith("requests") else None
        busy = "import os; os.nice(15)\nwhile True: sorted(range(10000))"
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", busy) if name[0] == "a" else None
        try:
            got = await watcher.measure({**watch, "watch_id": "p", "factors": list(ids)}, n)
        finally:
            if task is not None:
                task.cancel()
            if process is not None:
                process.kill()
                await process.wait()
        medians[name] = statistics.median(got["ms"])
        rate = answered / (time.perf_counter() - began)
        print(
            f"20 factors beside {name:28} p50 {medians[name]:8.2f} ms  p99 {percentile(got['ms'], 0.99):8.2f} ms"
            + (f"  ({rate:.0f} answers a second)" if task is not None else "")
        )
    return medians


def encoding_of(n_names: int) -> str:
    """Give the encoding of the whole library: at 3,000 names only single precision fits a message of the server."""
    return "arrow" if n_names < SINGLE_FROM else "arrow_float32"


async def put_books(nc: Any, symbols: list[str]) -> list[str]:
    """Store ten books of a hundred names."""
    rng = np.random.default_rng(1)
    names = [f"book-{k}" for k in range(10)]
    for name in names:
        chosen = rng.choice(symbols, min(100, len(symbols)), replace=False)
        held = {str(symbol): 1.0 / len(chosen) for symbol in chosen}
        body = {"portfolio_id": name, "holdings": {"always": held}, "kind": "weights"}
        await nc.request("portfolio.factor_exposure.put_portfolio", orjson.dumps(body), timeout=WAIT_S)
    return names


def main() -> None:
    """Run everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--names", type=int, default=504)
    parser.add_argument("--days", type=int, default=320)
    parser.add_argument("--ticks", type=int, default=300)
    parser.add_argument("--bars", type=int, default=12)
    parser.add_argument("--what", default="factors,returns,library,bar")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="factor-engine-live-") as name:
        path, last = market(Path(name), options.names, options.days)
        with running_engine(Path(name), path) as engine:
            connect_ray(engine)
            print(f"{options.names} names, {options.days} days")
            found = asyncio.run(measured(engine, path, last, options))
    if options.json is not None:
        options.json.write_text(json.dumps(found, indent=1))
    sys.exit(0)


def connect_ray(engine: dict[str, Any]) -> None:
    """Join the engine's Ray, for the bare call."""
    # Ray reads how it authenticates when it is imported, so this comes first.
    os.environ["RAY_AUTH_MODE"] = "token"
    os.environ["RAY_AUTH_TOKEN_PATH"] = str(engine["run_dir"] / "ray" / "token")
    from engine.cluster import LOOPBACK_ONLY

    os.environ[LOOPBACK_ONLY] = "0"  # the engine's Ray is one of this machine only
    import ray

    ray.init(address=engine["ray"], namespace="factor_engine", log_to_driver=False, logging_level="ERROR")


if __name__ == "__main__":
    main()
