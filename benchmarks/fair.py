"""Fair shares: what one caller's heavy work does to another caller's small reads.

Starts an engine of its own (a 3,000-asset model). One caller asks for the exposures of a portfolio of 100 names at a
steady pace over one connection; a second one, in a process of its own, sends heavy work, one request after another, of
one kind at a time. Stretches in which the first caller is alone alternate with ones in which both are there, and the
p99 of his reads is compared between the two.

    python benchmarks/fair.py [--seconds 20] [--rounds 2] [--rate 50] [--kind TEXT] [--json FILE]
"""

import argparse
import asyncio
import contextlib
import io
import itertools
import json
import multiprocessing
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import polars as pl
from latency import make_market, running_engine

Kind = tuple[str, str, dict[str, str], bytes]
"""Method, path, headers and body of a request."""
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


def heavy_kinds() -> dict[str, Kind]:
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


def heavy_caller(url: str, pipe: Connection) -> None:
    """Be the second caller, in a process of its own: send one kind again and again for so many seconds, when told to.

    Counts the answers by status, and gives the counts.
    """
    while (told := pipe.recv()) is not None:
        (method, path, headers, body), seconds = told
        answers: dict[str, int] = {}
        with httpx.Client(base_url=url, timeout=TIMEOUT_S) as client:
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                answer = client.request(method, path, headers=headers, content=body)
                name = str(answer.status_code) if answer.is_success else answer.json()["code"]
                answers[name] = answers.get(name, 0) + 1
        pipe.send(answers)


@contextlib.contextmanager
def second_caller(url: str) -> Iterator[Connection]:
    """Start the heavy caller; gives the pipe to it."""
    context = multiprocessing.get_context("spawn")
    ours, its = context.Pipe()
    process = context.Process(target=heavy_caller, args=(url, its), daemon=True)
    process.start()
    try:
        yield ours
        ours.send(None)
        process.join(TIMEOUT_S)
    finally:
        process.kill()


def p99(took: list[float]) -> float:
    """Give the 99th percentile."""
    return float(np.quantile(took, 0.99))


def measure(engine: dict[str, Any], portfolio: dict[str, float], options: argparse.Namespace) -> dict[str, Any]:
    """Measure each kind: alone, beside, alone, beside, so that the machine's speed drifts under both."""
    url = engine["http"]
    kinds = {name: kind for name, kind in heavy_kinds().items() if options.kind in name}
    out: dict[str, Any] = {}
    with second_caller(url) as heavy:

        def stretch(kind: Kind | None = None) -> tuple[list[float], dict[str, int]]:
            if kind is not None:
                heavy.send((kind, options.seconds))
            end = time.monotonic() + options.seconds
            took = asyncio.run(small_reads(url, portfolio, options.rate, lambda: time.monotonic() > end))
            return took, heavy.recv() if kind is not None else {}

        stretch()
        for name, kind in kinds.items():
            alone: list[list[float]] = []
            beside: list[list[float]] = []
            answers: dict[str, int] = {}
            for _ in range(options.rounds):
                alone.append(stretch()[0])
                took, given = stretch(kind)
                beside.append(took)
                answers = {code: answers.get(code, 0) + given.get(code, 0) for code in {**answers, **given}}
            out[name] = row(alone, beside) | {"answers": answers}
            print(name, json.dumps(out[name]), file=sys.stderr, flush=True)
    return out


def row(alone: list[list[float]], beside: list[list[float]]) -> dict[str, Any]:
    """Compare the stretches of a kind, all of them together and each with the one before it."""
    quiet, busy = list(itertools.chain(*alone)), list(itertools.chain(*beside))
    return {
        "alone_p50_ms": float(np.median(quiet)), "alone_p99_ms": p99(quiet), "beside_p50_ms": float(np.median(busy)),
        "beside_p99_ms": p99(busy), "ratio": p99(busy) / p99(quiet), "reads": len(busy), "longest_ms": max(busy),
        "ratios": [round(p99(b) / p99(a), 2) for a, b in zip(alone, beside, strict=True)],
    }  # fmt: skip


def main() -> int:
    """Print each ratio; ends with 1 when one is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--rounds", type=int, default=2, help="pairs of stretches of each kind")
    parser.add_argument("--rate", type=float, default=50.0)
    parser.add_argument("--kind", default="", help="only kinds with this text in their names")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temp:
        market, portfolios = make_market(Path(temp))
        with running_engine(Path(temp), market) as engine:
            rows = measure(engine, portfolios[0], options)
    print(f"{platform.platform()}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}; small reads, ms")
    print(f"{'heavy work beside':52} {'p50':>12} {'p99 alone':>10} {'p99 beside':>11} {'ratio':>6}")
    missed = 0
    for name, row in rows.items():
        met = row["ratio"] <= AT_MOST
        missed += not met
        print(
            f"{name:52} {row['alone_p50_ms']:5.1f}/{row['beside_p50_ms']:6.1f} {row['alone_p99_ms']:10.1f} "
            f"{row['beside_p99_ms']:11.1f} {row['ratio']:6.1f} {'met' if met else 'missed'} (at most {AT_MOST:g}); "
            f"by rounds {row['ratios']}; heavy answers: {row['answers']}"
        )
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
