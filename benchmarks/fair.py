"""Fair shares: what one caller's heavy work does to another caller's small reads.

Starts an engine of its own (a 3,000-asset model). One caller asks for the exposures of a portfolio of 100 names at a
steady pace over one connection; a second one sends heavy work, one request after another, of one kind at a time. Each
kind is measured between two stretches in which the first caller is alone, and its p99 is compared with theirs.

    python benchmarks/fair.py [--seconds 20] [--rate 50] [--json FILE]
"""

import argparse
import asyncio
import io
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import polars as pl
from latency import make_market, running_engine

AT_MOST = 3.0
TIMEOUT_S = 300.0
EXPOSURES = "/factor-exposures/calculate"
PARQUET = "application/vnd.apache.parquet"
JSON_ROWS = 200_000
"""Rows of posted JSON tables, three columns each: 14 MB."""


def table(n_dates: int, n_names: int, n_rows: int | None = None) -> pl.DataFrame:
    """Make a table of returns and caps: dense, or a row for each date, of one name after the other."""
    rng = np.random.default_rng(2)
    days = np.datetime64("2015-01-01") + np.arange(n_dates)
    n = n_dates * n_names if n_rows is None else n_rows
    cells = np.arange(n) if n_rows is None else np.arange(n) * (n_dates * n_names // n + 1)
    return pl.DataFrame(
        {
            "date": days[cells // n_names],
            "symbol": pl.Series([f"F{i:04d}" for i in range(n_names)]).gather(cells % n_names),
            "asset_returns": rng.normal(0.0, 0.02, n),
            "market_cap": np.exp(rng.normal(20.0, 1.0, n)),
        }
    )


def parquet(frame: pl.DataFrame) -> bytes:
    """Write a table as Parquet."""
    sink = io.BytesIO()
    frame.write_parquet(sink)
    return sink.getvalue()


def heavy_kinds() -> dict[str, tuple[str, str, dict[str, str], bytes]]:
    """Give method, path, headers and body of each kind of heavy work, all within the limits."""
    as_json = {"content-type": "application/json"}
    posted = table(400, 500).select(pl.col("date").cast(pl.String), "symbol", "asset_returns").to_dict(as_series=False)
    momentum = json.dumps({"returns_data": posted}).encode()
    many = json.dumps({"model_id": "none", "feature_data": {"x": [0] * 4_900_000}}).encode()
    return {
        "a model of 500 dates x 1,000 names in Parquet": (
            "PUT", "/factor-model/heavy/data", {"content-type": PARQUET}, parquet(table(500, 1000)),
        ),
        "momentum of 400 dates x 500 names posted as JSON": (
            "POST", "/individual-factors/momentum", as_json, momentum,
        ),
        "15 MB of JSON that is refused": ("POST", "/factor-model/create", as_json, many),
        "60 million equal rows of Parquet (refused)": (
            "PUT", "/factor-model/heavy/data", {"content-type": PARQUET}, equal_rows(),
        ),
        "12,000 dates x 12,000 names, a row each (refused)": (
            "PUT", "/factor-model/heavy/data", {"content-type": PARQUET}, parquet(table(12_000, 12_000, 12_000)),
        ),
    }  # fmt: skip


def equal_rows() -> bytes:
    """Write rows that are all the same: hardly any bytes."""
    n = 60_000_000
    same = {"date": pl.repeat("2024-01-02", n), "symbol": pl.repeat("A", n), "asset_returns": pl.repeat(0.01, n)}
    return parquet(pl.select(**same, market_cap=pl.repeat(1e9, n)))


async def small_reads(url: str, portfolio: dict[str, float], rate: float, stop: Callable[[], bool]) -> list[float]:
    """Ask at a steady pace until told to stop; gives milliseconds from when each was due, so that none is left out."""
    took: list[float] = []
    async with httpx.AsyncClient(base_url=url, timeout=60.0) as client:
        due = time.perf_counter()
        while not stop():
            answer = await client.post(EXPOSURES, json={"portfolio_weights": portfolio})
            answer.raise_for_status()
            took.append((time.perf_counter() - due) * 1e3)
            due = max(due + 1.0 / rate, time.perf_counter() - 1.0)
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
    return took


async def heavy_work(
    url: str, kind: tuple[str, str, dict[str, str], bytes], stop: Callable[[], bool]
) -> dict[str, int]:
    """Send one kind again and again; counts the answers by status."""
    method, path, headers, body = kind
    answers: dict[str, int] = {}
    async with httpx.AsyncClient(base_url=url, timeout=TIMEOUT_S) as client:
        while not stop():
            answer = await client.request(method, path, headers=headers, content=body)
            name = str(answer.status_code) if answer.is_success else answer.json()["code"]
            answers[name] = answers.get(name, 0) + 1
    return answers


def p99(took: list[float]) -> float:
    """Give the 99th percentile."""
    return float(np.quantile(took, 0.99))


async def measure(engine: dict[str, Any], portfolio: dict[str, float], seconds: float, rate: float) -> dict[str, Any]:
    """Measure each kind between two quiet stretches."""
    url = engine["http"]
    out: dict[str, Any] = {}

    async def stretch(*more: Callable[[Callable[[], bool]], Awaitable[Any]]) -> list[Any]:
        end = time.monotonic() + seconds

        def stop() -> bool:
            return time.monotonic() > end

        return await asyncio.gather(small_reads(url, portfolio, rate, stop), *(work(stop) for work in more))

    await stretch()
    (before,) = await stretch()
    for name, kind in heavy_kinds().items():
        beside, answers = await stretch(lambda stop, kind=kind: heavy_work(url, kind, stop))
        (after,) = await stretch()
        alone = p99(before + after)
        out[name] = {
            "alone_p99_ms": alone, "alone_p50_ms": float(np.median(before + after)), "beside_p99_ms": p99(beside),
            "beside_p50_ms": float(np.median(beside)), "ratio": p99(beside) / alone, "reads": len(beside),
            "answers": answers,
        }  # fmt: skip
        before = after
    return out


def main() -> int:
    """Print each ratio; ends with 1 when one is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--rate", type=float, default=50.0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temp:
        market, portfolios = make_market(Path(temp))
        with running_engine(Path(temp), market) as engine:
            rows = asyncio.run(measure(engine, portfolios[0], options.seconds, options.rate))
    print(f"{platform.platform()}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}; small reads, ms")
    print(f"{'heavy work beside':52} {'p50':>12} {'p99 alone':>10} {'p99 beside':>11} {'ratio':>6}")
    missed = 0
    for name, row in rows.items():
        met = row["ratio"] <= AT_MOST
        missed += not met
        print(
            f"{name:52} {row['alone_p50_ms']:5.1f}/{row['beside_p50_ms']:6.1f} {row['alone_p99_ms']:10.1f} "
            f"{row['beside_p99_ms']:11.1f} {row['ratio']:6.1f} {'met' if met else 'missed'} (at most {AT_MOST:g}); "
            f"heavy answers: {row['answers']}"
        )
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
