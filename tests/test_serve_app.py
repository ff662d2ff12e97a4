"""`make run` as a user has it: real Ray, Serve, HAProxy, nats-server and actors, in a process tree of its own.

One run serves all tests of this file in their order, and other files before it; the last ones end it, the hard way
first.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import hostile_bodies
import nats
import numpy as np
import orjson
import polars as pl
import psutil
import pytest
from left_behind import alive_of, named, processes_of, sockets_of, words_of
from running_engine import ROOT, START_S, STOP_S, Run, until

from engine.ports import free_port, is_free
from engine.run_dir import RunDir

READY_S = 120.0
"""The table is shown after so long even when an actor is not READY yet, which it says."""

pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]


def finished(*arguments: str, run_dir: Path, port: int) -> subprocess.CompletedProcess[str]:
    """Start a run that is to end by itself."""
    environment = {**os.environ, "FACTOR_ENGINE_RUN_DIR": str(run_dir), "FACTOR_ENGINE_HTTP_PORT": str(port)}
    command = [sys.executable, "-m", "launch", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def market(shared_market) -> Path:
    return shared_market


@pytest.fixture
def run(shared_run) -> Run:
    return shared_run


def exposures(run: Run) -> dict:
    symbol = run.ask("POST", "/factor-features/calculate", json={}).json()["calculation_result"]["factor_values"]
    name = next(iter(symbol.get("symbols", symbol)))
    answer = run.ask("POST", "/factor-exposures/calculate", json={"portfolio_weights": {name: 1.0}})
    assert answer.status_code == 200, answer.text
    return answer.json()["calculation_result"]


def test_the_table_names_where_things_listen_the_actors_the_model_and_commands(run):
    for text in (
        "HTTP",
        "NATS",
        "Ray dashboard, jobs",
        "HAProxy statistics",
        "factor_library",
        "neural_engine",
        "curl",
    ):
        assert text in run.log
    assert "main" in run.log
    assert "320" in run.log


def test_the_commands_in_the_table_work_as_they_stand(run):
    commands = [line.strip() for line in run.log.splitlines() if line.strip().startswith("curl ")]
    assert len(commands) == 3
    for command in commands:
        done = subprocess.run(shlex.split(command), capture_output=True, text=True, timeout=60, check=True)
        assert json.loads(done.stdout).get("success") is True, f"{command}: {done.stdout}"


def test_every_actor_is_ready_on_the_cpu_and_says_what_it_wanted(run):
    until(lambda: run.health()["status"] == "healthy", "everything is healthy", READY_S)
    health = run.health()
    assert len(health["actors"]) == 12
    assert {tuple(actor["placement"]["device"]) for actor in health["actors"]} == {("cpu",)}
    wanted = {actor["workload"]: actor["wanted_device"] for actor in health["actors"]}
    assert wanted["factor_exposure_analysis"] == ["metal_gpu"]
    assert wanted["risk_model_construction"] == ["neural_engine", "metal_gpu"]
    assert wanted["factor_model_creation"] == wanted["factor_library"] == ["cpu"]
    assert health["default_model"] == "main"
    assert health["huge_improvements"]["factor_models_active"] == 1


def test_results_go_out_on_the_bus(run):
    assert exposures(run)["messagebus_published"] is True
    answer = run.ask("POST", "/messagebus/test-factor-broadcast", json={"message": "hello"}).json()
    assert answer["messagebus_published"] is True
    until(lambda: run.ask("GET", "/messagebus/status").json()["outbox"]["depth"] == 0, "the outbox is drained", 20.0)


def test_a_bar_on_the_bus_is_appended_steps_the_library_and_its_values_are_published(run, market):
    frame = pl.read_parquet(market)
    last = frame.filter(pl.col("date") == frame["date"].max())
    day = last["date"][0] + dt.timedelta(days=1)
    rows = last.with_columns(pl.lit(str(day)).alias("date")).to_dict(as_series=False)
    access = json.loads((run.run_dir / "nats" / "access.json").read_text())

    async def publish_and_wait() -> tuple[list[str], dict]:
        nc = await nats.connect(access["url"], user=access["user"], password=access["password"])
        try:
            told = await nc.subscribe("factor.library.main")
            await nc.jetstream().publish("market_data.bar.all", orjson.dumps({"model_id": "main", "rows": rows}))
            kinds = []
            while "FACTOR_LIBRARY_UPDATED" not in kinds:
                message = await told.next_msg(timeout=120.0)
                kinds.append(message.headers["ce-type"])
            return kinds, json.loads(message.data)
        finally:
            await nc.close()

    kinds, data = asyncio.run(publish_and_wait())
    assert kinds[0] == "FACTOR_LIBRARY_UPDATED_VALUES"
    assert (data["date"], data["model_id"]) == (str(day), "main")
    symbol = last["symbol"][0]
    answer = run.ask("GET", f"/factors/results/{symbol}").json()["calculation_result"]
    assert answer["date"] == str(day)

    def told_by_health() -> str | None:
        # An actor that a busy machine kept from answering within a second is told of without what only it knows.
        (library,) = (actor for actor in run.health()["actors"] if actor["workload"] == "factor_library")
        return library["notes"].get("live_models", {}).get("main", {}).get("date")

    until(lambda: told_by_health() == str(day), "health tells that the library has the day", 30.0)


def test_prometheus_reads_the_metrics_page(run):
    from prometheus_client.parser import text_string_to_metric_families

    families = {family.name: family for family in text_string_to_metric_families(run.ask("GET", "/metrics").text)}
    ready = families["factor_engine_actor_ready"].samples
    assert {sample.labels["workload"]: sample.value for sample in ready}["factor_exposure_analysis"] == 1.0
    assert families["factor_engine_calls"].samples


def test_bodies_that_stand_for_gigabytes_are_refused_and_end_nothing(run):
    def processes() -> set[int]:
        health = run.health()
        return {health["http"]["pid"], health["router"]["pid"], *(actor["pid"] for actor in health["actors"])}

    def memory_mb() -> dict[int, float]:
        return {pid: psutil.Process(pid).memory_info().rss / 1e6 for pid in processes()}

    before = memory_mb()
    for method, path, kind, body, right in hostile_bodies.bodies():
        answer = run.ask(method, path, content=body, headers={"content-type": kind}, timeout=120.0)
        told = f"{method} {path}, {len(body)} bytes: {answer.status_code} {answer.text[:300]}"
        assert answer.status_code in right, told
        assert answer.headers["content-type"] == "application/problem+json", told
        assert exposures(run), told
    assert run.ask("GET", "/factor-models/hostile/status").status_code == 404
    after = memory_mb()
    assert set(after) == set(before)
    assert all(after[pid] - before[pid] < 300.0 for pid in after), (before, after)
    limits = run.health()["limits"]
    assert limits["model_grid_limit_mb"] == 8000
    assert run.health()["http"]["reader"]["tables"]["refused"] >= 2


def workload(run: Run, name: str) -> dict:
    return next(row for row in run.health()["actors"] if row["workload"] == name)


def computing(run: Run, name: str, request_id: str) -> bool:
    """Say whether an actor is at work on this request: it notes so outside of its process."""
    notes = [path.read_bytes() for path in (run.run_dir / "actors").glob(f"{name}*heavy*.now")]
    return any(any(note[:4]) and request_id.encode() in note for note in notes)


def left(run: Run, operation: str) -> int:
    """Count the requests of an operation that ended because their callers had gone."""
    row = run.ask("GET", "/performance-metrics").json()["operations"].get(operation, {"errors": {}})
    return row["errors"].get("caller_gone", 0)


@contextlib.contextmanager
def asking(run: Run, path: str, body: dict, request_id: str = "left") -> Iterator[None]:
    """Send a request over a socket of our own, which is closed without having read an answer."""
    text = orjson.dumps(body)
    head = f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1:{run.port}\r\ncontent-type: application/json\r\n"
    head += f"idempotency-key: {request_id}\r\n"
    with socket.create_connection(("127.0.0.1", run.port), timeout=30.0) as client:
        client.sendall(f"{head}content-length: {len(text)}\r\n\r\n".encode() + text)
        yield


def test_a_fit_ends_when_its_client_closes_the_socket_and_nothing_is_committed(run):
    # Ten thousand draws on one day, with 30 factors: half a minute of a core.
    n_days, n_names = 200, 60
    rng = np.random.default_rng(0)
    days = [str(day) for day in np.datetime64("2024-01-01") + np.arange(n_days)]
    rows = {
        "date": [day for day in days for _ in range(n_names)],
        "symbol": [f"N{i:02d}" for i in range(n_names)] * n_days,
        "asset_returns": rng.normal(0.0, 0.02, n_days * n_names).round(4).tolist(),
        "market_cap": [1e9 + 1e7 * i for i in range(n_names)] * n_days,
        "sector": [f"S{i % 30:02d}" for i in range(n_names)] * n_days,
    }
    draws = {"eigenfactor_simulations": 10_000, "eigenfactor_spread_days": 1}
    before = left(run, "create_model")
    body = {"model_id": "left", "feature_data": rows, "settings": {"factor_covariance": draws}}
    with asking(run, "/factor-model/create", body):
        until(lambda: computing(run, "factor_model_creation", "left"), "the fit runs", 60.0)
    until(lambda: left(run, "create_model") == before + 1, "the fit ended with its client", 60.0)
    assert not computing(run, "factor_model_creation", "left")
    assert run.ask("GET", "/factor-models/left/status").status_code == 404


def test_a_read_ends_when_its_client_closes_the_socket(run, market):
    before = left(run, "risk_history")
    name = "portfolio_factor_attribution"
    weights = {pl.read_parquet(market, columns=["symbol"])["symbol"][-1]: 1.0}
    process = psutil.Process(workload(run, name)["pid"])
    process.suspend()  # so that no machine is done with it before the client has gone
    try:
        with asking(run, "/portfolio-risk/history", {"portfolio_weights": weights}):
            until(lambda: f"actor:{name}" in run.reasons(), "health names the stopped actor", 60.0)
    finally:
        process.resume()
    # Risk of a year, estimated again day by day, looks at each day whether anybody waits.
    until(lambda: left(run, "risk_history") == before + 1, "the read ended with its client", 60.0)


def test_a_name_that_was_pointed_at_loopback_is_refused_through_the_proxy_too(run):
    answer = run.ask("GET", "/health", headers={"host": "attacker.example"})
    assert (answer.status_code, answer.json()["code"]) == (421, "unknown_host")


def documented() -> dict[str, str]:
    """Read the table of docs/operations.md: process: address."""
    text = (ROOT / "docs" / "operations.md").read_text().partition("## What listens where")[2].partition("\n## ")[0]
    rows = [line.split("|")[1:4] for line in text.splitlines() if line.startswith("| ")][1:]
    return {name: address for _, names, address in rows for name in re.findall(r"`([^`]+)`", names)}


def title(process: psutil.Process) -> str:
    """Name a process as Ray does, uncut, or as the kernel does."""
    first = "".join(words_of(process)[:1])
    return first if first.startswith("ray::") else process.name()


def test_all_that_listens_is_in_the_documents_table_and_on_loopback(run):
    table = documented()
    listening = {(title(process), address) for process in run.tree() for address, _ in sockets_of(process)}
    assert {"nats-server", "haproxy", "gcs_server", "raylet"} <= {name for name, _ in listening}
    for name, address in listening:
        kind = next((kind for kind in table if name.startswith(kind)), None)
        assert kind is not None, f"{name} listens and is not in the table"
        assert "127.0.0.1" in table[kind]
        assert address.removeprefix("::ffff:") in ("127.0.0.1", "::1"), f"{name} listens on {address}"


def test_secrets_lie_in_the_run_directory_readable_by_their_owner_only(run):
    for path in (run.run_dir / "ray" / "token", run.run_dir / "nats" / "access.json"):
        assert path.stat().st_mode & 0o077 == 0
        secret = path.read_text().strip()
        assert secret not in run.log


def test_a_second_run_beside_it_says_so_and_ends(run):
    done = finished(run_dir=run.run_dir, port=run.port)
    assert done.returncode == 1
    assert "already runs" in done.stdout
    assert str(run.process.pid) in done.stdout


def test_a_port_in_use_is_named(run, tmp_path):
    done = finished(run_dir=tmp_path / "other", port=run.port)
    assert done.returncode == 1
    assert f"port {run.port}" in done.stdout
    assert "FACTOR_ENGINE_HTTP_PORT" in done.stdout


def test_a_file_that_lacks_a_column_is_named_with_the_column(tmp_path):
    import polars as pl

    path = tmp_path / "lacking.csv"
    pl.DataFrame({"date": ["2024-01-02"], "symbol": ["A"], "market_cap": [1.0]}).write_csv(path)
    done = finished("--data", str(path), run_dir=tmp_path / "run", port=free_port())
    assert done.returncode == 1
    assert "asset_returns" in done.stdout


def test_ctrl_c_during_the_start_ends_it_within_ten_seconds_and_leaves_nothing(tmp_path, market):
    started = Run(tmp_path / "run", free_port(), market)
    # From here on Serve, the router and the first actors are being started, all at once.
    until(lambda: "Ray " in started.log or started.process.poll() is not None, "Ray is up", START_S)
    assert started.process.poll() is None, started.log
    seen = {process.pid: process for process in started.tree()}
    began = time.monotonic()
    started.process.send_signal(signal.SIGINT)
    while started.process.poll() is None and time.monotonic() - began < 2 * STOP_S:
        # What the start was about to begin counts too.
        with contextlib.suppress(psutil.NoSuchProcess):
            seen |= {process.pid: process for process in started.tree()}
        time.sleep(0.05)
    assert started.process.poll() == 0, started.log
    # Helpers of Ray's dashboard see by themselves that it is gone, a moment after everything else.
    _, left = psutil.wait_procs(list(seen.values()), timeout=max(0.0, began + STOP_S - time.monotonic()))
    assert alive_of(left) == []
    assert is_free("127.0.0.1", started.port)


def submitted(line):
    """Submit the job; Ray's job agent comes up some seconds after the dashboard that takes submissions."""
    deadline = time.monotonic() + 60.0
    while True:
        done = subprocess.run(line, shell=True, capture_output=True, text=True, timeout=180, check=False)
        if "No available agent" not in done.stdout + done.stderr or time.monotonic() > deadline:
            return done


def command(run: Run, *words: str) -> subprocess.CompletedProcess[str]:
    """Call the command `factor-engine` as a user of this run does."""
    own = {**os.environ, "FACTOR_ENGINE_URL": f"http://127.0.0.1:{run.port}"}
    line = [sys.executable, "-m", "launch.command", *words]
    return subprocess.run(line, cwd=ROOT, env=own, capture_output=True, text=True, timeout=120, check=False)


def test_the_command_asks_the_engine(run, tmp_path):
    status = command(run, "status")
    assert "main" in status.stdout, status.stderr
    listed = json.loads(command(run, "model", "list", "--json").stdout)
    assert [model["model_id"] for model in listed["models"]] == ["main"]
    symbols = run.ask("POST", "/factor-features/calculate", json={}).json()["calculation_result"]["factor_values"]
    names = list(symbols.get("symbols", symbols))[:2]
    book = tmp_path / "book.csv"
    book.write_text("symbol,weight\n" + "".join(f"{name},0.5\n" for name in names))
    risk = command(run, "book", "risk", str(book), "--json")
    assert risk.returncode == 0, risk.stderr
    assert json.loads(risk.stdout)["success"] is True
    assert "market" in command(run, "book", "exposures", str(book)).stdout
    absent = command(run, "model", "show", "absent")
    assert absent.returncode == 1
    assert "absent" in absent.stderr


@pytest.fixture
def other_rays():
    """What Ray takes for daemons of other clusters on the machine: it looks at the command lines of all processes."""
    idle = ["-c", "import time; time.sleep(600)"]
    others = [
        subprocess.Popen(["raylet", *idle, f"--gcs-address=127.0.0.1:{number}"], executable=sys.executable)
        for number in range(1, 10)
    ]
    yield
    for other in others:
        other.kill()
        other.wait()


@pytest.mark.usefixtures("other_rays")
def test_the_job_in_the_table_recomputes_history_into_a_new_version(run):
    line = next(line.strip() for line in run.log.splitlines() if " job submit " in line)
    before = run.ask("GET", "/factor-models/main/status").json()["model_version"]
    done = submitted(line)
    assert "321 of 321 days" in done.stdout, done.stdout + done.stderr
    after = run.ask("GET", "/factor-models/main/status").json()
    assert (after["model_version"], after["operation"]) == (before + 1, "recompute")


def test_with_nats_server_gone_http_goes_on_and_health_says_degraded(run):
    (server,) = named(run.tree(), "nats-server")
    server.suspend()
    try:
        until(lambda: run.health()["status"] == "degraded", "health says degraded", 60.0)
        result = exposures(run)
        assert result["messagebus_published"] is False
        assert result["messagebus_queued"] is True
        assert "messagebus" in {row["component"] for row in run.health()["degraded"]}
    finally:
        server.resume()
    until(lambda: run.health()["status"] == "healthy", "the bridge connected again", 60.0)


def test_a_killed_router_comes_back_and_reads_go_on(run):
    pid = run.health()["router"]["pid"]
    os.kill(pid, signal.SIGKILL)
    assert exposures(run)["model_version"] >= 1
    until(lambda: (run.health()["router"] or {}).get("pid", pid) != pid, "a new router answers", 60.0)
    until(lambda: run.health()["status"] == "healthy", "everything is healthy again", 60.0)


def test_after_kill_9_of_everything_a_new_run_has_every_model_and_ends_what_was_left(run, market):
    made = run.ask("POST", "/factor-model/reduce-universe", json={"model_id": "main", "top_n": 30}).json()
    assert made["success"] is True
    # The foreground first, so that it ends nothing; the kernel and Ray take most of the rest down with it.
    os.kill(run.process.pid, signal.SIGKILL)
    run.process.wait()
    again = Run(run.run_dir, run.port, market)
    run.process, run.log_path = again.process, again.log_path
    run.until_ready()
    status = run.ask("GET", "/factor-models/main/status").json()
    assert status["model_version"] == made["model_version"]
    assert exposures(run)["model_version"] == made["model_version"]


def test_sigterm_ends_everything_within_ten_seconds_and_leaves_no_process_and_no_port(run):
    processes = run.tree()
    listening = {port for process in processes for _, port in sockets_of(process)}
    assert run.port in listening
    began = time.monotonic()
    run.process.terminate()
    assert run.process.wait(timeout=STOP_S + 5.0) == 0, run.log
    assert time.monotonic() - began < STOP_S
    assert alive_of(processes) == []
    assert processes_of(str(run.run_dir), "FACTOR_ENGINE_RUN_DIR") == []
    # So nobody listens on its ports. Their numbers may be taken at once by other tests, or wait a minute in the kernel
    # (Serve's replicas listen without SO_REUSEADDR, and choose another number); the one that a user chose must be free.
    assert is_free("127.0.0.1", run.port)


def test_no_secret_is_in_anything_else_that_the_run_wrote(run):
    """Logs of every process, Ray's among them, the store, the outbox: after a whole life with kills in it."""
    own = {
        run.run_dir / "ray" / "token",
        run.run_dir / "nats" / "access.json",
        run.run_dir / "nats" / "nats-server.conf",
    }
    own |= set((run.run_dir / "nats" / "peers").glob("*.json"))
    secrets = {str(path): json.loads(path.read_text())["password"] for path in own if path.suffix == ".json"}
    secrets["ray"] = (run.run_dir / "ray" / "token").read_text().strip()
    assert len(set(secrets.values())) == len(secrets) > 5
    pattern = re.compile(b"|".join(re.escape(secret.encode()) for secret in secrets.values()))
    place = RunDir(run.run_dir)
    folders = (run.run_dir, place.ray_temp())
    place.release()
    written = {path for folder in folders for path in folder.rglob("*") if path.is_file() and not path.is_symlink()}
    assert len([path for path in written if path.suffix in (".log", ".out", ".err")]) > 30, "Ray's logs are among them"
    assert [path for path in written if path not in own and pattern.search(path.read_bytes())] == []
    assert all(pattern.search(path.read_bytes()) for path in own - {run.run_dir / "nats" / "nats-server.conf"})
    assert not pattern.search(run.log.encode())
