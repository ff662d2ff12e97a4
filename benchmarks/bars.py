"""From a bar on the bus to the factor library's values on the bus, and the first request after a start.

Starts an engine of its own in a temporary directory, on the sample market at 504 names or on DATA, asks for all factors
of a symbol at once, and then publishes one bar after another, each the day after the last with that day's rows.

    python benchmarks/bars.py [--data FILE.parquet] [--bars 20]
"""

import argparse
import asyncio
import datetime as dt
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
import nats
import orjson
import polars as pl
from latency import MODEL, running_engine

N_ASSETS, N_DAYS = 504, 520
WAIT_S = 300.0


def market(folder: Path, data: Path | None) -> tuple[Path, pl.DataFrame]:
    """Give the market's file, and its last day."""
    if data is None:
        from factors.sample.market import sample_market

        data = folder / "market.parquet"
        sample_market(N_ASSETS, N_DAYS).panel.to_frame().write_parquet(data)
    frame = pl.read_parquet(data)
    return data, frame.filter(pl.col("date") == pl.col("date").max())


def first_requests(http: str, symbol: str) -> None:
    """Print how long all factors of a symbol take, at once after the start and again."""
    for name in ("first", "second"):
        began = time.perf_counter()
        answer = httpx.post(f"{http}/factors/calculate/{symbol}", json={}, timeout=WAIT_S)
        took = time.perf_counter() - began
        body = answer.json()
        print(
            f"POST /factors/calculate, {name}: {took:.3f} s, status {answer.status_code}: {body.get('message', body)}"
        )
    live = [actor["notes"] for actor in httpx.get(f"{http}/health", timeout=30.0).json()["actors"]]
    print("live models:", next(notes["live_models"] for notes in live if "live_models" in notes))


def percentile(values: list[float], share: float) -> float:
    """Give a percentile of what was measured."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


async def bars(engine: dict[str, Any], last: pl.DataFrame, n_bars: int) -> None:
    """Publish bars one at a time; print how long the model's and the library's events take to come."""
    access = json.loads((engine["run_dir"] / "nats" / "access.json").read_text())
    nc = await nats.connect(access["url"], user=access["user"], password=access["password"])
    seen: asyncio.Queue[tuple[str, float, dict[str, str], int]] = asyncio.Queue()

    async def take(message: Any) -> None:
        kind = (message.headers or {}).get("ce-type", "")
        await seen.put((kind, time.perf_counter(), message.headers or {}, len(message.data)))

    await nc.subscribe("factor.library.*", cb=take)
    await nc.subscribe(f"factor.model_created.{MODEL}", cb=take)
    await nc.subscribe("factor.rejected.*", cb=take)
    js = nc.jetstream()
    appended, published, sizes = [], [], []
    day = last["date"][0]
    for _ in range(n_bars):
        day += dt.timedelta(days=1)
        rows = last.with_columns(pl.lit(str(day)).alias("date")).to_dict(as_series=False)
        body = orjson.dumps({"model_id": MODEL, "rows": rows})
        began = time.perf_counter()
        await js.publish("market_data.bar.all", body)
        size = 0
        while True:
            kind, when, _headers, n_bytes = await asyncio.wait_for(seen.get(), WAIT_S)
            if kind == "FACTOR_REQUEST_REJECTED":
                raise SystemExit("the bar was rejected")
            if kind == "FACTOR_MODEL_UPDATED":
                appended.append((when - began) * 1e3)
            size += n_bytes * kind.startswith("FACTOR_LIBRARY")
            if kind == "FACTOR_LIBRARY_UPDATED":
                published.append((when - began) * 1e3)
                sizes.append(size)
                break
    await nc.close()
    print(f"{n_bars} bars of {last.height} names, {sizes[-1] / 1e6:.2f} MB of library events each; ms from publishing")
    for name, values in (("model appended", appended[1:]), ("library published", published[1:])):
        print(f"  {name:20} p50 {percentile(values, 0.5):8.1f}   p90 {percentile(values, 0.9):8.1f}")
    print(f"  the first bar {published[0]:.1f}")


def main() -> None:
    """Run everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--bars", type=int, default=20)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="factor-engine-bars-") as name:
        path, last = market(Path(name), options.data)
        began = time.perf_counter()
        with running_engine(Path(name), path) as engine:
            print(f"up after {time.perf_counter() - began:.1f} s")
            first_requests(engine["http"], str(last["symbol"][0]))
            asyncio.run(bars(engine, last, options.bars))


if __name__ == "__main__":
    main()
