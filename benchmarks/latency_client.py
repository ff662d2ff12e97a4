"""The client process of latency.py: reads its plan from stdin, measures, checks every answer, writes JSON to stdout."""

from __future__ import annotations

import asyncio
import contextlib
import json
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import nats
import orjson
import uvloop

from contracts.access import read_access

SUBJECT = "risk.factor_request.factor_exposures"
ROUTE = "/factor-exposures/calculate"
BLOCK = 20
"""Calls of one kind before the next kind has its turn, so that a busy moment of the machine hits all kinds alike."""
IN_FLIGHT = 64
CALLS_PER_ROUND = 2560
TIMEOUT_S = 30.0
RELATIVE_ERROR = 1e-9

Send = Callable[[bytes], Awaitable[bytes]]
Check = Callable[[int, bytes], None]


class HttpConnection:
    """One kept-alive HTTP/1.1 connection with as little of its own as can be."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host, self._port = str(parts.hostname), int(parts.port or 80)
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(self, path: str, body: bytes) -> bytes:
        """Send a JSON body; give the answer's body. One that the other end closed while it was idle is opened anew."""
        if self._streams is not None and self._streams[0].at_eof():
            self._streams[1].close()
            self._streams = None
        if self._streams is None:
            self._streams = await asyncio.open_connection(self._host, self._port)
        reader, writer = self._streams
        head = f"POST {path} HTTP/1.1\r\nHost: {self._host}:{self._port}\r\nContent-Type: application/json\r\n"
        writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines[1:] if ": " in line)
        if "content-length" in headers:
            answer = await reader.readexactly(int(headers["content-length"]))
        else:
            answer = await self._chunks(reader)
        if headers.get("connection") == "close":
            writer.close()
            self._streams = None
        if " 200 " not in lines[0]:
            raise RuntimeError(f"{lines[0]}: {answer[:500]!r}")
        return answer

    @staticmethod
    async def _chunks(reader: asyncio.StreamReader) -> bytes:
        out = b""
        while size := int(await reader.readline(), 16):
            out += await reader.readexactly(size)
            await reader.readexactly(2)
        await reader.readexactly(2)
        return out

    def close(self) -> None:
        """Close the connection."""
        if self._streams is not None:
            self._streams[1].close()


class Expected:
    """The exposures that every portfolio must come back with, from the feature matrix and the weights."""

    def __init__(self, portfolios: list[dict[str, float]], features: dict[str, dict[str, float]]) -> None:
        factors = list(next(iter(features.values())))
        self._values = [
            {factor: sum(w * (features[s][factor] or 0.0) for s, w in weights.items()) for factor in factors}
            for weights in portfolios
        ]

    def check(self, number: int, answer: bytes) -> None:
        """Compare the answer to a portfolio with what must come."""
        document = orjson.loads(answer)
        got = document["calculation_result"]["factor_exposures"]
        wanted = self._values[number]
        assert got.keys() == wanted.keys(), (got.keys(), wanted.keys())
        for name, value in wanted.items():
            assert abs(got[name] - value) <= RELATIVE_ERROR * max(1.0, abs(value)), (name, got[name], value)


def quantiles(samples_s: list[float]) -> dict[str, float]:
    ordered = sorted(samples_s)
    return {f"p{q}": ordered[min(len(ordered) - 1, len(ordered) * q // 100)] * 1e3 for q in (50, 90, 99)}


async def one_at_a_time(kinds: dict[str, tuple[Send, Check]], bodies: list[bytes], calls: int) -> dict[str, Any]:
    """Measure each kind in turns of `BLOCK` calls; the first tenth warms up."""
    samples: dict[str, list[float]] = {name: [] for name in kinds}
    while any(len(rows) < calls + calls // 10 for rows in samples.values()):
        for name, (send, check) in kinds.items():
            for i in range(BLOCK):
                number = i % len(bodies)
                began = time.perf_counter()
                answer = await send(bodies[number])
                samples[name].append(time.perf_counter() - began)
                check(number, answer)
    return {name: quantiles(rows[calls // 10 :]) for name, rows in samples.items()}


async def many_in_flight(
    kinds: dict[str, tuple[list[Send], Check]], bodies: list[bytes], rounds: int
) -> dict[str, list[float]]:
    """Measure calls per second with 64 requesters that each wait for their answer, round by round."""
    rates: dict[str, list[float]] = {name: [] for name in kinds}
    for turn in range(rounds + 1):
        for name, (senders, check) in kinds.items():
            answers: list[tuple[int, bytes]] = []

            async def requester(send: Send, first: int, out: list[tuple[int, bytes]] = answers) -> None:
                for i in range(CALLS_PER_ROUND // IN_FLIGHT):
                    number = (first + i) % len(bodies)
                    out.append((number, await send(bodies[number])))

            began = time.perf_counter()
            await asyncio.gather(*(requester(senders[k % len(senders)], k) for k in range(IN_FLIGHT)))
            took = time.perf_counter() - began
            for number, answer in answers:
                check(number, answer)
            if turn:  # the first round warms up
                rates[name].append(len(answers) / took)
    return rates


async def measure(plan: dict[str, Any]) -> dict[str, Any]:
    """Connect, ask for the features to check against, and measure both faces."""
    access = read_access(Path(plan["run_dir"]))
    assert access is not None
    nc = await nats.connect(**access.options())
    https = [HttpConnection(plan["http"]) for _ in range(IN_FLIGHT)]
    portfolios = plan["portfolios"]
    bodies = [orjson.dumps({"model_id": plan["model"], "portfolio_weights": weights}) for weights in portfolios]
    symbols = sorted({symbol for weights in portfolios for symbol in weights})
    features = orjson.loads(
        await https[0].post("/factor-features/calculate", orjson.dumps({"model_id": plan["model"], "symbols": symbols}))
    )["calculation_result"]["factor_values"]
    expected = Expected(portfolios, features)

    def over_nats(subject: str) -> Send:
        async def send(body: bytes) -> bytes:
            return (await nc.request(subject, body, timeout=TIMEOUT_S)).data

        return send

    def over_http(connection: HttpConnection, path: str) -> Send:
        async def send(body: bytes) -> bytes:
            return await connection.post(path, body)

        return send

    def same(number: int, answer: bytes) -> None:
        assert answer == bodies[number]

    echo_route = plan["echo_route"] + ROUTE
    kinds = {
        "engine, NATS": ([over_nats(SUBJECT)], expected.check),
        "echo, NATS": ([over_nats(plan["echo_subject"])], same),
        "engine, HTTP": ([over_http(c, ROUTE) for c in https], expected.check),
        "echo, HTTP": ([over_http(c, echo_route) for c in https], same),
    }
    first = {name: (senders[0], check) for name, (senders, check) in kinds.items()}
    one = await one_at_a_time(first, bodies, plan["calls"])
    stages = await median_stages(over_nats(SUBJECT), bodies)
    many = await many_in_flight(kinds, bodies, plan["rounds"])
    for connection in https:
        connection.close()
    with contextlib.suppress(TimeoutError):
        await nc.close()
    return {"one": one, "many": many, "stages_ms": stages}


async def median_stages(send: Send, bodies: list[bytes]) -> dict[str, float]:
    """Give the median milliseconds of each stage that the engine reports."""
    seen: dict[str, list[float]] = {}
    for _ in range(3):
        for body in bodies:
            timings = orjson.loads(await send(body))["calculation_result"]["timings_ms"]
            for name, value in timings.items():
                seen.setdefault(name, []).append(value)
    return {name: round(statistics.median(values), 3) for name, values in seen.items()}


if __name__ == "__main__":
    uvloop.install()
    json.dump(asyncio.run(measure(json.load(sys.stdin))), sys.stdout)
