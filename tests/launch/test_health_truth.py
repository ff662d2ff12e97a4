"""Health tells what is wrong while it is so, and no longer: each fault is caused to one running engine."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import fcntl
import json
import logging
import os
import signal
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import nats
import polars as pl
import psutil
import pytest
from left_behind import named, words_of
from prometheus_client.parser import text_string_to_metric_families
from running_engine import Run, lifecycle, running, small_market, until

from contracts.access import read_access

pytestmark = [pytest.mark.ray, pytest.mark.timeout(900), lifecycle]
NAMED_S = 60.0
"""A fault is named within seconds; on a busy machine the look at it takes longer."""
HEALED_S = 180.0
WORKLOAD = "size_factor"
_log = logging.getLogger(__name__)


@pytest.fixture(scope="module")
def market(tmp_path_factory):
    return small_market(tmp_path_factory.mktemp("market"))


@pytest.fixture(scope="module")
def engine(tmp_path_factory, market):
    with running(tmp_path_factory.mktemp("truth") / "run", market) as started:
        started.until_ready()
        yield started


@pytest.fixture
def run(engine) -> Iterator[Run]:
    """Give the engine, healthy before a fault and after it."""
    until(lambda: engine.health()["status"] == "healthy", "healthy before", HEALED_S)
    yield engine
    until(lambda: engine.health()["status"] == "healthy", f"healthy again: {engine.reasons()}", HEALED_S)
    assert gauges(engine) == set()


def gauges(run: Run) -> set[str]:
    """Give what `/metrics` has as degraded."""
    families = text_string_to_metric_families(run.ask("GET", "/metrics").text)
    (family,) = (family for family in families if family.name == "factor_engine_degraded")
    return {sample.labels["component"] for sample in family.samples if sample.value == 1.0}


def until_named(run: Run, component: str, reason: str) -> None:
    """Wait until health names a component for a reason, and since when, and the gauges name it too."""
    began = time.time()

    def row() -> dict | None:
        return next((row for row in run.health()["degraded"] if row["component"] == component), None)

    until(lambda: reason in (row() or {"reason": ""})["reason"], f"{component} is named: {reason}", NAMED_S)
    until(lambda: component in gauges(run), f"{component} is a gauge", NAMED_S)
    found = row()
    assert found is None or found["since"] <= time.time()
    _log.info("%s was named after %.1f s", component, time.time() - began)


def weights(run: Run) -> dict:
    line = next(line for line in run.log.splitlines() if "/factor-exposures/calculate" in line)
    return json.loads(line.partition("-d '")[2].rpartition("'")[0])


def exposures(run: Run, **more) -> httpx.Response:
    return run.ask("POST", "/factor-exposures/calculate", json=weights(run), **more)


def actor(run: Run, workload: str) -> dict:
    (row,) = (row for row in run.health()["actors"] if row["workload"] == workload)
    return row


def next_day(run: Run, market) -> dict:
    frame = pl.read_parquet(market)
    day = dt.date.fromisoformat(run.ask("GET", "/factor-models/main/status").json()["last_date"]) + dt.timedelta(days=1)
    last = frame.filter(pl.col("date") == frame["date"].max())
    return {"feature_data": last.with_columns(pl.lit(str(day)).alias("date")).to_dict(as_series=False)}


def test_a_frozen_actor(run):
    process = psutil.Process(actor(run, WORKLOAD)["pid"])
    process.suspend()
    try:
        until_named(run, f"actor:{WORKLOAD}", "its process is stopped")
    finally:
        process.resume()


@contextlib.contextmanager
def no_process_starts(run: Run) -> Iterator[None]:
    """Stop each process that Ray has in reserve, and each that it starts."""
    (raylet,) = named(run.tree(), "raylet")
    busy = {child.pid for child in raylet.children() if "ray::IDLE" not in words_of(child)[:1]}
    stopped: dict[int, psutil.Process] = {}
    over = threading.Event()

    def stop() -> None:
        while not over.wait(0.02):
            for child in raylet.children():
                if child.pid not in busy and child.pid not in stopped:
                    with contextlib.suppress(psutil.Error):
                        child.suspend()
                        stopped[child.pid] = child

    thread = threading.Thread(target=stop)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        for child in stopped.values():
            with contextlib.suppress(psutil.Error):
                child.resume()


def test_an_actor_that_waits_to_start_and_why(run):
    pid = actor(run, WORKLOAD)["pid"]
    with no_process_starts(run):
        os.kill(pid, signal.SIGKILL)
        until_named(run, f"actor:{WORKLOAD}", "s to start: ")


def test_a_writer_that_is_busy_beyond_the_deadline(run, market):
    version = run.ask("GET", "/factor-models/main/status").json()["model_version"]
    body = next_day(run, market)
    with (run.run_dir / "store" / "models" / "main" / "lock").open("a") as foreign:
        fcntl.flock(foreign, fcntl.LOCK_EX)
        answer = run.ask(
            "POST", "/factor-model/main/append", json=body, headers={"x-request-timeout-seconds": "2"}, timeout=60.0
        )
        assert answer.status_code == 408, answer.text
        until_named(run, "actor:factor_model_creation", "beyond its deadline")
    until(lambda: run.health()["status"] == "healthy", "the writer is free", HEALED_S)
    # The commit that came too late for its caller is there or is not; the next day is taken all the same.
    assert run.ask("GET", "/factor-models/main/status").json()["model_version"] in (version, version + 1)
    assert run.ask("POST", "/factor-model/main/append", json=next_day(run, market)).status_code == 200


def ask_over_nats(run: Run) -> dict:
    async def ask() -> dict:
        access = read_access(run.run_dir)
        assert access is not None
        nc = await nats.connect(**access.options())
        try:
            body = json.dumps(weights(run)).encode()
            return json.loads((await nc.request("risk.factor_request.factor_exposures", body, timeout=30.0)).data)
        finally:
            await nc.close()

    return asyncio.run(ask())


def test_an_outbox_that_cannot_be_written(run):
    def put() -> int:
        return run.ask("GET", "/messagebus/status").json()["outbox"]["put"]

    before = put()
    with contextlib.closing(sqlite3.connect(run.run_dir / "outbox" / "outbox.db", isolation_level=None)) as foreign:
        foreign.execute("BEGIN IMMEDIATE")
        answer = exposures(run)
        assert answer.status_code == 200
        assert answer.json()["calculation_result"]["messagebus_published"] is False
        assert ask_over_nats(run)["success"] is True
        until_named(run, "outbox", "locked")
        until_named(run, "outbox:bridge", "locked")
        foreign.execute("ROLLBACK")
    # Neither event is lost.
    until(lambda: put() >= before + 2, "both events are in the outbox", NAMED_S)


def test_a_stream_that_takes_no_writes(run):
    async def remove() -> None:
        access = read_access(run.run_dir)
        assert access is not None
        nc = await nats.connect(**access.options())
        try:
            await nc.jetstream().delete_stream("FACTOR_EVENTS")
        finally:
            await nc.close()

    asyncio.run(remove())
    assert exposures(run).status_code == 200
    seen: set[str] = set()

    def told() -> bool:
        # The server is started again for it within seconds, so both pages are read at once.
        seen.update(gauges(run), (f"health says {name}" for name in run.reasons()))
        return {"stream:FACTOR_EVENTS", "health says stream:FACTOR_EVENTS"} <= seen

    until(told, "the stream is named", NAMED_S)
    until(lambda: run.health()["status"] == "healthy", "the stream was made anew", HEALED_S)
    until(lambda: run.ask("GET", "/messagebus/status").json()["outbox"]["depth"] == 0, "all is delivered", NAMED_S)


def test_a_haproxy_that_cannot_reload_and_traffic_on_the_fallback(run):
    starter = run.run_dir / "haproxy" / "haproxy"
    kept = starter.with_name("kept")
    starter.rename(kept)
    try:
        starter.write_text("#!/bin/sh\nexit 1\n")
        starter.chmod(0o700)
        before = run.health()["http"]["pid"]
        os.kill(before, signal.SIGKILL)

        def another() -> bool:
            with contextlib.suppress(httpx.HTTPError, ValueError, KeyError):
                return run.health()["http"]["pid"] != before
            return False

        until(another, "another replica answers", HEALED_S)
        until_named(run, "haproxy_reload", "its configuration was not reloaded")
        until_named(run, "http_fallback", "fallback proxy")
        assert exposures(run).status_code == 200
        families = text_string_to_metric_families(run.ask("GET", "/metrics").text)
        (counted,) = (family for family in families if family.name == "factor_engine_http_fallback_requests")
        assert counted.samples[0].value > 0
    finally:
        kept.replace(starter)


def test_the_health_event_names_what_health_names(run):
    process = psutil.Process(actor(run, WORKLOAD)["pid"])

    async def hear() -> set[str]:
        access = read_access(run.run_dir)
        assert access is not None
        nc = await nats.connect(**access.options())
        told = await nc.subscribe("factor.health_metrics")
        named: set[str] = set()
        try:
            async with asyncio.timeout(NAMED_S):
                while f"actor:{WORKLOAD}" not in named or "ray_sockets" not in named:
                    message = await told.next_msg(timeout=NAMED_S)
                    # What is degraded stands in the whole, or in the change that it came with.
                    data = json.loads(message.data)
                    rows = (data.get("metrics") or data.get("changes") or {}).get("degraded", [])
                    named |= {row["component"] for row in rows}
        finally:
            await nc.close()
        return named

    socket = next(iter(raylet_sockets(run)))
    hidden = socket.with_name(socket.name + ".hidden")
    process.suspend()
    socket.rename(hidden)
    try:
        assert {f"actor:{WORKLOAD}", "ray_sockets"} <= asyncio.run(hear())
    finally:
        hidden.rename(socket)
        process.resume()


def raylet_sockets(run: Run) -> set[Path]:
    (raylet,) = named(run.tree(), "raylet")
    return {Path(word.partition("=")[2]) for word in words_of(raylet) if word.startswith("--raylet_socket_name=")}
