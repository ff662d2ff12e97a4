"""Workload actors killed with `kill -9` under load: every request ends in an answer or a clear error by its deadline.

Starts an engine of its own (a 3,000-asset model), keeps 64 HTTP requests in flight with a deadline of their own, and
kills one actor after another. Counts answers, errors by code, and those that came later than the deadline and a grace
for the client's own clock. Ends with 1 when one was late, was no answer of the engine, or nothing was answered.

    python benchmarks/faults.py [--seconds 60] [--deadline 5]
"""

import argparse
import asyncio
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import httpx
from latency import make_market, running_engine

IN_FLIGHT = 64
KILL_EVERY_S = 2.0
CALM_S = 5.0
"""Before the end nothing is killed, so that the last requests show that everything came back."""
GRACE_S = 0.5
QUESTIONS = {
    "factor_exposure_analysis": ("/factor-exposures/calculate", True, 6),
    "portfolio_factor_attribution": ("/portfolio-attribution/calculate", True, 1),
    "covariance_matrix_computation": ("/covariance/compute", False, 1),
    "momentum_factor": ("/individual-factors/momentum", False, 1),
    "size_factor": ("/individual-factors/size", False, 1),
}
"""By workload: the route, whether it takes a portfolio, and its share of the load."""


class Load:
    """Requests that never stop, and what became of each."""

    def __init__(self, url: str, portfolio: dict[str, float], deadline_s: float) -> None:
        self._url = url
        self._deadline_s = deadline_s
        self._bodies = {
            route: {"portfolio_weights": portfolio} if takes_portfolio else {}
            for route, takes_portfolio, _ in QUESTIONS.values()
        }
        self.outcomes: Counter[str] = Counter()
        self.took: list[tuple[float, str]] = []
        self.killed: Counter[str] = Counter()

    async def ask(self, client: httpx.AsyncClient, end: float) -> None:
        """Ask one question after another."""
        routes, shares = zip(*((route, share) for route, _, share in QUESTIONS.values()), strict=True)
        headers = {"x-request-timeout-seconds": str(self._deadline_s)}
        while time.monotonic() < end:
            route = random.choices(routes, shares)[0]
            began = time.monotonic()
            try:
                answer = await client.post(self._url + route, json=self._bodies[route], headers=headers)
                body = answer.json()
                outcome = "answered" if answer.status_code == httpx.codes.OK else str(body["code"])
            except (httpx.HTTPError, ValueError, KeyError) as error:
                outcome = f"no answer of the engine: {type(error).__name__}"
            self.took.append((time.monotonic() - began, route))
            self.outcomes[outcome] += 1

    async def kill(self, client: httpx.AsyncClient, end: float) -> None:
        """Kill one READY actor after another."""
        while time.monotonic() < end - CALM_S:
            await asyncio.sleep(KILL_EVERY_S)
            actors = (await client.get(f"{self._url}/health")).json()["actors"]
            ready = [actor for actor in actors if actor["workload"] in QUESTIONS and actor["state"] == "READY"]
            if not ready:
                continue
            chosen = random.choice(ready)
            try:
                os.kill(chosen["pid"], signal.SIGKILL)
            except ProcessLookupError:  # it was killed a moment ago, which health does not know yet
                continue
            self.killed[chosen["workload"]] += 1


async def run(url: str, portfolio: dict[str, float], seconds: float, deadline_s: float) -> Load:
    """Keep the load up for so long while actors are killed."""
    load = Load(url, portfolio, deadline_s)
    limits = httpx.Limits(max_connections=IN_FLIGHT + 1)
    async with httpx.AsyncClient(limits=limits, timeout=60.0) as client:
        end = time.monotonic() + seconds
        await asyncio.gather(load.kill(client, end), *(load.ask(client, end) for _ in range(IN_FLIGHT)))
    return load


def main() -> int:
    """Print what became of the requests."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--deadline", type=float, default=5.0)
    options = parser.parse_args()
    random.seed(0)
    with tempfile.TemporaryDirectory(prefix="factor-engine-bench-") as folder:
        market, portfolios = make_market(Path(folder))
        with running_engine(Path(folder), market) as engine:
            load = asyncio.run(run(engine["http"], portfolios[0], options.seconds, options.deadline))
    took = sorted(load.took, reverse=True)
    late = [seconds for seconds, _ in took if seconds > options.deadline + GRACE_S]
    print(f"{sum(load.killed.values())} actors killed: {dict(load.killed)}")
    print(f"{len(took)} requests, {IN_FLIGHT} in flight, deadline {options.deadline:g} s: {dict(load.outcomes)}")
    print(f"the slowest took {took[0][0]:.2f} s ({took[0][1]}); {len(late)} came after the deadline")
    lost = [outcome for outcome in load.outcomes if outcome.startswith("no answer")]
    return 0 if load.outcomes["answered"] and not late and not lost else 1


if __name__ == "__main__":
    sys.exit(main())
