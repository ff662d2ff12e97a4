"""A full disk below a running engine: nothing ends, health says so, and all goes on when there is room again."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import signal
import subprocess
import sys
import time

import httpx
import polars as pl
import pytest
from running_engine import START_S, Run, lifecycle, put_away, running, small_market, until

from engine.ports import free_port

pytestmark = [
    pytest.mark.ray,
    pytest.mark.timeout(900),
    lifecycle,
    pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="mounting needs root on Linux"),
]
SIZE = "300m"
REST_S = 8.0
"""The foreground writes its record every five seconds; a full disk ended the engine at the first of them."""


@pytest.fixture
def disk(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", folder], check=True)
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def fill(folder) -> None:
    with (folder / "fill").open("wb", buffering=0) as file:
        for size in (2**20, 4096):
            try:
                while file.write(bytes(size)) == size:
                    pass
            except OSError:
                continue


def next_day(run: Run, market) -> dict:
    frame = pl.read_parquet(market)
    status = run.ask("GET", "/factor-models/main/status").json()
    day = dt.date.fromisoformat(status["last_date"]) + dt.timedelta(days=1)
    last = frame.filter(pl.col("date") == frame["date"].max())
    return {"feature_data": last.with_columns(pl.lit(str(day)).alias("date")).to_dict(as_series=False)}


def appended(run: Run, market) -> int:
    return run.ask("POST", "/factor-model/main/append", json=next_day(run, market)).status_code


def replica_of(run: Run) -> int | None:
    with contextlib.suppress(httpx.HTTPError, ValueError, KeyError):
        return run.health()["http"]["pid"]
    return None


def test_a_full_disk_ends_nothing_is_told_of_and_is_over_when_there_is_room(disk, tmp_path):
    market = small_market(tmp_path)
    with running(disk / "run", market) as run:
        run.until_ready()
        until(lambda: run.health()["status"] == "healthy", "healthy at first", 120.0)
        assert appended(run, market) == 200
        before = run.ask("GET", "/factor-models/main/status").json()["model_version"]
        # In the midst of appends, and then at rest.
        fill(disk)
        statuses = {appended(run, market) for _ in range(4)}
        assert statuses <= {200, 503}
        wanted = {"disk:run_directory", "disk:store", "disk:nats"}
        until(lambda: wanted <= set(run.reasons()), "health names the disk for each that lies on it", 30.0)
        until(lambda: any(name.startswith("stream:") for name in run.reasons()), "health names the streams", 60.0)
        assert all("full" in run.reasons()[name] for name in wanted)
        full_since = time.monotonic()
        until(lambda: time.monotonic() - full_since > REST_S, "some records of the foreground", 2 * REST_S)
        assert run.process.poll() is None, run.log
        assert run.ask("GET", "/factor-models/main/status").json()["model_version"] >= before
        # Another replica comes, and HAProxy's configuration cannot be written: Serve's own proxy brings requests to it.
        replica = run.health()["http"]["pid"]
        os.kill(replica, signal.SIGKILL)
        until(lambda: replica_of(run) not in (None, replica), "another replica answers", 120.0)
        until(lambda: "haproxy_reload" in run.reasons(), "health names HAProxy", 60.0)
        (disk / "fill").unlink()
        until(lambda: run.health()["status"] == "healthy", "healthy again", 180.0)
        assert appended(run, market) == 200


def test_a_disk_that_fills_during_the_start_ends_it_with_a_reason_or_not_at_all(disk, tmp_path):
    run = Run(disk / "run", free_port(), small_market(tmp_path))
    try:
        until(lambda: "Ray  " in run.log or run.process.poll() is not None, "Ray is up", START_S)
        fill(disk)
        until(lambda: "Ready after" in run.log or run.process.poll() is not None, "it is up or ended", START_S)
        if run.process.poll() is None:
            (disk / "fill").unlink()
            until(lambda: run.health()["status"] == "healthy", "healthy when there is room", 180.0)
        else:
            assert run.process.returncode == 1
            assert "cannot" in run.log
            assert run.left() == []
            (disk / "fill").unlink()
    finally:
        put_away(run)
