"""Exposures over NATS and HTTP beside a bare two-hop Ray echo behind the same faces, in one run.

Starts an engine of its own (a 3,000-asset model) in a temporary directory, and in the same Ray cluster an echo: a NATS
subscriber, and a FastAPI application on the same Serve proxy, each passing the body's bytes through a relay actor to an
actor that returns them. Clients run in a process of their own (latency_client.py), take turns between engine and echo
with the same bodies, and check every answer.

    python benchmarks/latency.py [--calls 1500] [--rounds 7] [--ticks 1000] [--pages 10] [--json FILE]

With `--pages` it first says what so many open pages of the engine change: the same calls without and with, in turns.
"""

import argparse
import contextlib
import importlib.metadata
import json
import logging
import os
import platform
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
N_ASSETS, N_DAYS = 3000, 320
N_NAMES, N_PORTFOLIOS = 100, 32
MODEL = "bench"
COLUMNS = ["date", "symbol", "asset_returns", "market_cap", "sector", "book_price", "sales_price", "cf_price"]
START_S = 600.0
CLIENT_S = 900.0
ECHO_SUBJECT = "echo.factor_request.factor_exposures"
ECHO_ROUTE = "/echo"
PAIRS = 2
TARGETS = {
    "nats p50 ratio": ("at most", 0.9),
    "http p50 ratio": ("at most", 1.0),
    "nats 64 in flight ratio": ("at least", 3.0),
    "nats 64 in flight per s": ("at least", 1000.0),
    "device layer, % of nats p50": ("at most", 1.0),
    "token, % of http p50": ("at most", 3.0),
}


def token_us(n: int = 2_000) -> float:
    """Give what a request with a token takes longer to let in than one where none is asked for, microseconds."""
    from contracts.settings import Settings
    from contracts.tokens import Scope, add_token
    from web.callers import Callers

    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "tokens.json"
        secrets = [add_token(path, f"peer-{k}", Scope.READ, 1e6) for k in range(20)]
        scope = {"type": "http", "path": "/factor-exposures/calculate", "headers": [
            (b"host", b"127.0.0.1:8300"), (b"content-type", b"application/json"),
            (b"authorization", f"Bearer {secrets[7]}".encode())]}  # fmt: skip
        asked, free = (Callers(Settings(run_dir=Path(name), token_file=file)) for file in (path, Path(name) / "none"))
        times = {}
        for callers in (asked, free, asked, free):
            assert (callers.admit(scope).name == "peer-7") is (callers is asked)
            began = time.perf_counter()
            for _ in range(n):
                callers.admit(scope)
            times[callers] = min((time.perf_counter() - began) / n * 1e6, times.get(callers, float("inf")))
    return times[asked] - times[free]


def free_port() -> int:
    """Find a port that nobody listens on, below those that the system gives to outgoing connections."""
    for port in random.sample(range(18_300, 28_300), 100):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise SystemExit("no free port between 18300 and 28300")


def live(url: str, model: str) -> bool:
    """Say whether the model's factor library is kept current."""
    with urllib.request.urlopen(url, timeout=10.0) as response:
        actors = json.load(response)["actors"]
    states = [actor["notes"].get("live_models") or {} for actor in actors]
    return any(held.get(model, {}).get("state") == "live" for held in states)


LOAD = {
    "model_id": MODEL,
    "formulas": {f"move_{n}": f"rank(delta(close, {n}))" for n in range(1, 21)},
    "rate_ms": 250,
    "encoding": "arrow",
}
"""The watch that ticks move: 20 z-scored formulas of all names four times a second."""


@contextlib.contextmanager
def ticking(engine: dict[str, Any], per_s: float, wish: Mapping[str, Any] = LOAD) -> Iterator[None]:
    """Play ticks to the engine, with a watch `load` on what they move, which somebody reads; nothing without ticks."""
    if not per_s:
        yield
        return
    run_dir = engine["run_dir"]
    body, kind = json.dumps(wish).encode(), {"content-type": "application/json"}
    request = urllib.request.Request(f"{engine['http']}/watches/load", body, kind, method="PUT")
    with urllib.request.urlopen(request, timeout=60.0) as response:
        json.load(response)
    environment = {**os.environ, "FACTOR_ENGINE_RUN_DIR": str(run_dir), "PYTHONPATH": str(ROOT)}
    player = [sys.executable, "-m", "jobs.replay", MODEL, "--rate", str(per_s), "--again"]
    reader = [sys.executable, "-m", "clients.watch", "load", "--run", str(run_dir)]
    beside = [
        subprocess.Popen(command, env=environment, cwd=ROOT, stdout=subprocess.DEVNULL) for command in (player, reader)
    ]
    try:
        yield
    finally:
        for process in beside:
            process.terminate()
            process.wait(30)


@contextlib.contextmanager
def pages_open(engine: dict[str, Any], n: int) -> Iterator[Callable[[], float]]:
    """Have so many of the engine's pages open in a browser; gives a function of the CPU seconds that they took."""
    command = [sys.executable, str(Path(__file__).with_name("page.py")), "--hold", str(n), "--url", engine["http"]]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None

    def used_s() -> float:
        process.stdin.write("\n")
        process.stdin.flush()
        return float(json.loads(process.stdout.readline())["renderers_s"])

    try:
        if process.stdout.readline() != "open\n":
            raise SystemExit("the pages did not open")
        yield used_s
    finally:
        process.stdin.close()
        process.wait(60)


def beside_pages(engine: dict[str, Any], portfolios: list[dict[str, float]], options: argparse.Namespace) -> None:
    """Measure in turns without pages and with them, and print what they change."""
    pairs, browser_s, seconds = [], 0.0, 0.0
    for _ in range(PAIRS):
        without = run_client(engine, portfolios, options.calls, options.rounds)
        with pages_open(engine, options.pages) as used_s:
            before, began = used_s(), time.monotonic()
            pairs.append((without, run_client(engine, portfolios, options.calls, options.rounds)))
            browser_s, seconds = browser_s + used_s() - before, seconds + time.monotonic() - began
    print(f"with {options.pages} pages open over without, {PAIRS} pairs in turns")
    print(f"the browser's pages took {browser_s / seconds:.2f} of a core beside")
    for name in ("engine, NATS", "echo, NATS", "engine, HTTP", "echo, HTTP"):
        p50 = [beside["one"][name]["p50"] / alone["one"][name]["p50"] for alone, beside in pairs]
        many = [
            statistics.median(beside["many"][name]) / statistics.median(alone["many"][name]) for alone, beside in pairs
        ]
        one, rates = (" ".join(f"{x:.2f}" for x in ratios) for ratios in (p50, many))
        print(f"{name:28}p50 {one} x   64 in flight {rates} x")
    print()


def make_market(folder: Path, more: Sequence[str] = ()) -> tuple[Path, list[dict[str, float]]]:
    """Write the market, and draw portfolios of names that are alive on its last date."""
    import numpy as np
    import polars as pl

    from factors.sample.market import sample_market

    frame = sample_market(N_ASSETS, N_DAYS).panel.to_frame().select([*COLUMNS, *more])
    path = folder / "market.parquet"
    frame.write_parquet(path)
    last = frame.filter((pl.col("date") == pl.col("date").max()) & pl.col("market_cap").is_not_null())
    symbols = last["symbol"].to_list()
    rng = np.random.default_rng(1)
    portfolios = []
    for _ in range(N_PORTFOLIOS):
        chosen = rng.choice(symbols, N_NAMES, replace=False)
        portfolios.append(dict(zip(chosen.tolist(), rng.dirichlet(np.ones(N_NAMES)).round(6).tolist(), strict=True)))
    return path, portfolios


@contextlib.contextmanager
def running_engine(folder: Path, market: Path, more: Sequence[str] = ()) -> Iterator[dict[str, Any]]:
    """Run the engine as `make run` does, with more arguments; gives what it notes of itself."""
    run_dir = folder / "run"
    environment = {
        **os.environ,
        "FACTOR_ENGINE_RUN_DIR": str(run_dir),
        "FACTOR_ENGINE_HTTP_PORT": str(free_port()),
        "FACTOR_ENGINE_NATS_PORT": str(free_port()),
    }
    command = [sys.executable, "-m", "launch", "--data", str(market), "--model", MODEL, *more]
    log = (folder / "engine.log").open("w+")
    process = subprocess.Popen(command, env=environment, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT)
    try:
        end = time.monotonic() + START_S
        noted: dict[str, Any] = {}
        while "ray" not in noted:
            if process.poll() is not None or time.monotonic() > end:
                log.seek(0)
                raise SystemExit(f"the engine did not start:\n{log.read()[-3000:]}")
            time.sleep(0.2)
            path = run_dir / "running.json"
            noted = json.loads(path.read_text()) if path.exists() else {}
        # What is measured is a running engine, not one that still warms the library of its model beside.
        while not live(f"{noted['http']}/health", MODEL):
            if process.poll() is not None or time.monotonic() > end:
                raise SystemExit("the factor library did not become live")
            time.sleep(0.5)
        yield {**noted, "run_dir": run_dir, "process": process}
    finally:
        process.terminate()
        process.wait(30)
        log.close()


def start_echo(engine: dict[str, Any]) -> list[Any]:
    """Put the echo into the engine's cluster: subscriber, application, relay and echo actor; gives their handles."""
    run_dir = engine["run_dir"]
    # Ray reads how it authenticates when it is imported, so this comes first.
    os.environ["RAY_AUTH_MODE"] = "token"
    os.environ["RAY_AUTH_TOKEN_PATH"] = str(run_dir / "ray" / "token")
    from contracts.access import read_access
    from contracts.settings import settings
    from engine.cluster import LOOPBACK_ONLY, uses_haproxy

    os.environ[LOOPBACK_ONLY] = "0"  # the engine's Ray is one of this machine only

    os.environ["RAY_SERVE_ENABLE_HA_PROXY"] = "1" if uses_haproxy(settings()) else "0"
    import ray

    ray.init(address=engine["ray"], namespace="echo", log_to_driver=False, logging_level="ERROR")

    class Echo:
        def call(self, body: bytes) -> bytes:
            return body

    class Relay:
        def __init__(self, echo: Any) -> None:
            self._echo = echo

        async def call(self, body: bytes) -> bytes:
            return await self._echo.call.remote(body)

    class Subscriber:
        def __init__(self, relay: Any) -> None:
            self._relay = relay
            self._tasks: set[Any] = set()

        async def start(self, options: dict[str, Any], subject: str) -> None:
            import nats

            self._nc = await nats.connect(**options)
            await self._nc.subscribe(subject, cb=self._take)

        async def _take(self, message: Any) -> None:
            import asyncio

            task = asyncio.create_task(self._answer(message))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        async def _answer(self, message: Any) -> None:
            await message.respond(await self._relay.call.remote(message.data))

    echo = ray.remote(num_cpus=0)(Echo).remote()
    relay = ray.remote(num_cpus=0)(Relay).remote(echo)
    subscriber = ray.remote(num_cpus=0)(Subscriber).remote(relay)
    access = read_access(run_dir)
    assert access is not None
    ray.get(subscriber.start.remote(access.options(), ECHO_SUBJECT), timeout=60)
    serve_echo(relay)
    return [echo, relay, subscriber]


def serve_echo(relay: Any) -> None:
    """Put the relay behind HTTP, on the engine's Serve with the engine's settings."""
    from fastapi import FastAPI, Request, Response
    from ray import serve

    from engine.cluster import MAX_ONGOING_REQUESTS

    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    web = FastAPI()

    # FastAPI reads the annotations below as objects: this module does without `from __future__ import annotations`.
    @serve.deployment(
        name="echo", max_ongoing_requests=MAX_ONGOING_REQUESTS, num_replicas=1, ray_actor_options={"num_cpus": 0}
    )
    @serve.ingress(web)
    class EchoHttp:
        def __init__(self, relay: Any) -> None:
            self._relay = relay

        @web.post("/factor-exposures/calculate")
        async def answer(self, request: Request) -> Response:
            return Response(await self._relay.call.remote(await request.body()), media_type="application/json")

    serve.run(EchoHttp.bind(relay), name="echo", route_prefix=ECHO_ROUTE, logging_config={"log_level": "WARNING"})


def run_client(engine: dict[str, Any], portfolios: list[dict[str, float]], calls: int, rounds: int) -> dict[str, Any]:
    """Let the client process measure."""
    plan = {
        "http": engine["http"],
        "run_dir": str(engine["run_dir"]),
        "model": MODEL,
        "portfolios": portfolios,
        "calls": calls,
        "rounds": rounds,
        "echo_subject": ECHO_SUBJECT,
        "echo_route": ECHO_ROUTE,
    }
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("latency_client.py"))],
        input=json.dumps(plan),
        capture_output=True,
        text=True,
        timeout=CLIENT_S,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"the client failed:\n{done.stderr[-3000:]}")
    measured: dict[str, Any] = json.loads(done.stdout)
    return measured


def memory_mib(pid: int) -> float:
    """Sum the proportional set sizes of a process and all below it, MiB."""
    import psutil

    tree = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    total = 0
    for process in tree:
        try:
            total += process.memory_full_info().pss
        except (psutil.NoSuchProcess, psutil.AccessDenied, AttributeError):
            continue
    return total / 2**20


def paired(rounds: dict[str, list[float]], face: str) -> float:
    """Give the median over the rounds of engine to echo: the two follow each other, and the machine's speed drifts."""
    both = zip(rounds[f"engine, {face}"], rounds[f"echo, {face}"], strict=True)
    return statistics.median(engine / echo for engine, echo in both)


def report(measured: dict[str, Any]) -> tuple[dict[str, float], bool]:
    """Print latencies, throughputs and ratios; give the ratios and whether all targets are met."""
    from device_kernels import layer_us

    one, rounds = measured["one"], measured["many"]
    many = {name: statistics.median(rates) for name, rates in rounds.items()}
    print(f"{'one at a time, ms':28}{'p50':>8}{'p90':>8}{'p99':>8}")
    for name, row in one.items():
        print(f"{name:28}{row['p50']:8.2f}{row['p90']:8.2f}{row['p99']:8.2f}")
    print(f"\n{'64 in flight':28}{'per s':>8}")
    for name, rate in many.items():
        print(f"{name:28}{rate:8.0f}")
    print(f"\nstages of an exposure over NATS, median ms: {measured['stages_ms']}")
    figures = {
        "nats p50 ratio": one["engine, NATS"]["p50"] / one["echo, NATS"]["p50"],
        "http p50 ratio": one["engine, HTTP"]["p50"] / one["echo, HTTP"]["p50"],
        "nats 64 in flight ratio": paired(rounds, "NATS"),
        "nats 64 in flight per s": many["engine, NATS"],
        "http 64 in flight ratio": paired(rounds, "HTTP"),
        "device layer, % of nats p50": layer_us() / 10.0 / one["engine, NATS"]["p50"],
        "token, % of http p50": token_us() / 10.0 / one["engine, HTTP"]["p50"],
    }
    print()
    all_met = True
    for name, value in figures.items():
        direction, target = TARGETS.get(name, ("", None))
        verdict = ""
        if target is not None:
            met = value <= target if direction == "at most" else value >= target
            all_met &= met
            verdict = f"{direction} {target:g}: {'met' if met else 'MISSED'}"
        print(f"{name:28}{value:10.2f}   {verdict}")
    return figures, all_met


def main() -> int:
    """Run everything; the exit code is 1 when a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=1500, help="calls one at a time, of each kind")
    parser.add_argument("--rounds", type=int, default=7, help="rounds with 64 in flight, of each kind")
    parser.add_argument("--ticks", type=float, default=0.0, help="ticks a second that flow beside")
    parser.add_argument("--pages", type=int, default=0, help="pages of the engine that are open in a browser beside")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    machine = f"{platform.platform()}, {os.cpu_count()} CPUs"
    print(f"{machine}, Python {platform.python_version()}, Ray {importlib.metadata.version('ray')}")
    with tempfile.TemporaryDirectory(prefix="factor-engine-bench-") as name:
        folder = Path(name)
        market, portfolios = make_market(folder, ("close",) if options.ticks else ())
        began = time.monotonic()
        with running_engine(folder, market) as engine:
            print(
                f"{N_ASSETS} assets, {N_DAYS} days, portfolios of {N_NAMES}; up after {time.monotonic() - began:.0f} s"
            )
            print(f"memory of the whole tree: {memory_mib(engine['process'].pid):.0f} MiB (PSS)\n")
            kept = start_echo(engine)  # actors end with their handles
            if options.pages:
                beside_pages(engine, portfolios, options)
            with ticking(engine, options.ticks):
                measured = run_client(engine, portfolios, options.calls, options.rounds)
            kept.clear()
    figures, all_met = report(measured)
    if options.json:
        options.json.write_text(json.dumps({**measured, "figures": figures}, indent=2))
    return 0 if all_met else 1


if __name__ == "__main__":
    sys.exit(main())
