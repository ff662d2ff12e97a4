"""What the peers ask for, beside bare NATS, a bare JetStream publish and a bare two-hop Ray call, in one run.

Starts an engine of its own (a 3,000-asset model) as latency.py does, and asks as the peers do, with their own log-ins.
Kinds take turns in blocks, so that a busy moment of the machine hits all alike. Each gate ends in met or MISSED.

    python benchmarks/peers.py [--calls 400] [--events 10000] [--flood 10] [--json FILE]
"""

import argparse
import asyncio
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import nats
import numpy as np
import orjson
from latency import ECHO_SUBJECT, MODEL, N_ASSETS, make_market, running_engine, start_echo
from nats.aio.client import Client

BLOCK = 10
TIMEOUT_S = 60.0
FLOOD_IN_FLIGHT = 256
RISK = "risk.factor_request"
GATES = {
    "exposures p50 / echo": ("at most", 0.9),
    "margin p50 / exposures": ("at most", 1.5),
    "stress p50 / exposures": ("at most", 1.5),
    "what_if p50 / exposures": ("at most", 1.5),
    "risk p99, ms": ("at most", 8.0),
    "result to subscriber p50, ms": ("at most", 1.0),
    "events per s / bare publish_async": ("at least", 0.5),
    "p99 beside another's flood / alone": ("at most", 2.0),
}
Ask = Callable[[int], Awaitable[Any]]


def quantile(samples: list[float], q: float) -> float:
    """Give a quantile by nearest rank, ms of seconds."""
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, int(len(ordered) * q))] * 1e3


async def in_turns(kinds: dict[str, Ask], calls: int) -> dict[str, list[float]]:
    """Time each kind in blocks, the first tenth left out."""
    samples: dict[str, list[float]] = {name: [] for name in kinds}
    while any(len(rows) < calls + calls // 10 for rows in samples.values()):
        for name, ask in kinds.items():
            for number in range(BLOCK):
                began = time.perf_counter()
                await ask(number)
                samples[name].append(time.perf_counter() - began)
    return {name: rows[calls // 10 :] for name, rows in samples.items()}


async def log_in(run_dir: Path, role: str | None = None) -> Client:
    """Connect as a role, with its own inbox."""
    from contracts.access import read_access

    access = read_access(run_dir, role)
    assert access is not None
    nc = Client()
    access.introduce(nc)
    await nc.connect(**access.options())
    return nc


def asking(nc: Client, subject: str, bodies: list[bytes]) -> Ask:
    """Ask on a subject; an answer that is a problem ends the benchmark."""

    async def ask(number: int) -> None:
        reply = await nc.request(subject, bodies[number % len(bodies)], timeout=TIMEOUT_S)
        if reply.headers and "status" in reply.headers:
            raise SystemExit(f"{subject}: {reply.data[:500]!r}")

    return ask


async def latencies(run_dir: Path, portfolios: list[dict[str, float]], calls: int, relay: Any) -> dict[str, float]:
    """Measure the operations of 100 names on the model beside the echo, a JetStream publish and two hops of Ray."""
    peer, own = await log_in(run_dir, "risk"), await log_in(run_dir)
    js = own.jetstream()
    plain = [{"model_id": MODEL, "portfolio_weights": weights} for weights in portfolios]
    shock = {"shocks": {"down": {"market": -0.05}}}
    trades = [{"trades": dict.fromkeys(list(weights)[:3], 0.01)} for weights in portfolios]
    bodies = [orjson.dumps(row) for row in plain]
    kinds = {
        "echo": asking(own, ECHO_SUBJECT, bodies),
        "exposures": asking(peer, f"{RISK}.factor_exposures", bodies),
        "margin": asking(peer, f"{RISK}.margin", bodies),
        "stress": asking(peer, f"{RISK}.stress", [orjson.dumps(row | shock) for row in plain]),
        "what_if": asking(
            peer, f"{RISK}.what_if", [orjson.dumps(row | more) for row, more in zip(plain, trades, strict=True)]
        ),
        "risk": asking(peer, f"{RISK}.portfolio_risk", bodies),
        "bare JetStream publish": lambda number: js.publish("factor.health_metrics.test", bodies[number % len(bodies)]),
        "bare two-hop Ray call": lambda number: relay.call.remote(bodies[number % len(bodies)]),
    }
    samples = await in_turns(kinds, calls)
    print(f"{'one at a time, ms':32}{'p50':>8}{'p99':>8}")
    for name, rows in samples.items():
        print(f"{name:32}{quantile(rows, 0.5):8.2f}{quantile(rows, 0.99):8.2f}")
    p50 = {name: quantile(rows, 0.5) for name, rows in samples.items()}
    found = {f"{name} p50 / exposures": p50[name] / p50["exposures"] for name in ("margin", "stress", "what_if")}
    found |= {
        "exposures p50 / echo": p50["exposures"] / p50["echo"],
        "risk p99, ms": quantile(samples["risk"], 0.99),
        "result to subscriber p50, ms": await to_subscriber(peer, portfolios, calls),
    }
    await peer.close()
    await own.close()
    return found


async def to_subscriber(peer: Client, portfolios: list[dict[str, float]], calls: int) -> float:
    """Measure from the answer in the requester's hands to the event in a subscriber's, of priority high."""
    waits = []
    heard = await peer.subscribe("factor.portfolio_exposures.heard")
    for number in range(calls // 2):
        weights = portfolios[number % len(portfolios)]
        asked = {"model_id": MODEL, "portfolio_weights": weights, "portfolio_id": "heard"}
        asked["messagebus_priority"] = "high"
        await peer.request(f"{RISK}.factor_exposures", orjson.dumps(asked), timeout=TIMEOUT_S)
        began = time.perf_counter()
        await heard.next_msg(TIMEOUT_S)
        waits.append(time.perf_counter() - began)
    await heard.unsubscribe()
    return quantile(waits, 0.5)


async def events(run_dir: Path, count: int) -> dict[str, float]:
    """Compare events through an outbox of the engine's with a bare `publish_async` of the same, in turns."""
    from bus.outbox import Outbox
    from contracts.events import event
    from contracts.settings import Settings

    own = await log_in(run_dir)
    js = own.jetstream(publish_async_max_pending=1024)
    box = Outbox.of(Settings(run_dir=run_dir))
    body = os.urandom(300).hex().encode()
    rates: dict[str, list[float]] = {"engine": [], "bare": []}
    for _ in range(3):
        began = time.perf_counter()
        for first in range(0, count, 100):
            await box.put([event(f"factor.library.peers-{n % 8}", "T", body) for n in range(first, first + 100)])
        while box.counts().depth:  # noqa: ASYNC110  another process empties it
            await asyncio.sleep(0.002)
        rates["engine"].append(count / (time.perf_counter() - began))
        began = time.perf_counter()
        made = (event(f"factor.library.bare-{n % 8}", "T", body) for n in range(count))
        sent = [await js.publish_async(one.subject, one.data, headers=one.headers()) for one in made]
        await asyncio.gather(*sent)
        rates["bare"].append(count / (time.perf_counter() - began))
    box.close()
    await own.close()
    shown = {name: [round(rate) for rate in found] for name, found in rates.items()}
    print(f"\nevents per s: {shown}")
    pairs = zip(rates["engine"], rates["bare"], strict=True)
    return {"events per s / bare publish_async": statistics.median(engine / bare for engine, bare in pairs)}


async def flood(run_dir: Path, portfolios: list[dict[str, float]], seconds: float) -> dict[str, float]:
    """Compare one peer's p99 while another, in a process of its own, floods with its p99 alone, before and after."""
    calm = await log_in(run_dir, "risk")
    bodies = [orjson.dumps({"model_id": MODEL, "portfolio_weights": weights}) for weights in portfolios]
    ask = asking(calm, f"{RISK}.factor_exposures", bodies)

    async def stretch() -> float:
        samples = []
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            began = time.perf_counter()
            await ask(len(samples))
            samples.append(time.perf_counter() - began)
            await asyncio.sleep(0.01)
        return quantile(samples, 0.99)

    before = await stretch()
    command = [sys.executable, __file__, "--flooder", str(run_dir)]
    wild = await asyncio.create_subprocess_exec(*command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE)
    assert wild.stdout is not None
    await wild.stdout.readline()  # it floods
    beside = await stretch()
    told, _ = await wild.communicate(b"end\n")
    after = await stretch()
    await calm.close()
    print(f"\nflood: {told.decode().strip()}")
    print(f"p99 ms: alone {before:.2f}, beside it {beside:.2f}, alone {after:.2f}")
    return {"p99 beside another's flood / alone": beside / statistics.mean((before, after))}


async def flooder(run_dir: Path) -> None:
    """Flood as the analytics engine until a line comes, and print what became of it."""
    wild = await log_in(run_dir, "analytics")
    refused = done = 0
    query = orjson.dumps({"model_id": MODEL})

    async def ask() -> None:
        nonlocal refused, done
        while True:
            reply = await wild.request("analytics.factor_request.factor_returns", query, timeout=TIMEOUT_S)
            refused += bool(reply.headers and reply.headers.get("status") == "429")
            done += 1

    tasks = [asyncio.create_task(ask()) for _ in range(FLOOD_IN_FLIGHT)]
    began = time.perf_counter()
    print("begun", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    took = time.perf_counter() - began
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await wild.close()
    print(f"{done / took:.0f} per s of {FLOOD_IN_FLIGHT} in flight, {refused} refused")


async def measure(run_dir: Path, portfolios: list[dict[str, float]], options: Any, relay: Any) -> dict[str, float]:
    """Measure everything over one engine."""
    found = await latencies(run_dir, portfolios, options.calls, relay)
    found |= await events(run_dir, options.events)
    return found | await flood(run_dir, portfolios, options.flood)


def report(found: dict[str, float]) -> bool:
    """Print each figure with its gate; give whether all are met."""
    print()
    all_met = True
    for name, (direction, gate) in GATES.items():
        met = found[name] <= gate if direction == "at most" else found[name] >= gate
        all_met &= met
        print(f"{name:40}{found[name]:10.2f}   {direction} {gate:g}: {'met' if met else 'MISSED'}")
    return all_met


def main() -> int:
    """Run everything; the exit code is 1 when a gate is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=400, help="calls of each kind")
    parser.add_argument("--events", type=int, default=10_000)
    parser.add_argument("--flood", type=float, default=10.0, help="seconds of each stretch")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    parser.add_argument("--flooder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.flooder is not None:
        asyncio.run(flooder(options.flooder))
        return 0
    print(f"{platform.platform()}, {os.cpu_count()} CPUs, Python {platform.python_version()}, numpy {np.__version__}")
    print(f"nats-py {nats.__version__ if hasattr(nats, '__version__') else '?'}; {N_ASSETS} assets")
    with tempfile.TemporaryDirectory(prefix="factor-engine-bench-") as name:
        market, portfolios = make_market(Path(name))
        with running_engine(Path(name), market) as engine:
            kept = start_echo(engine)  # actors end with their handles
            found = asyncio.run(measure(engine["run_dir"], portfolios, options, kept[1]))
            kept.clear()
    all_met = report(found)
    if options.json:
        options.json.write_text(json.dumps(found, indent=2))
    return 0 if all_met else 1


if __name__ == "__main__":
    sys.exit(main())
