"""Two engines of one user on one machine, started at the same time: neither sees anything of the other's requests."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time

import httpx
import pytest
from running_engine import START_S, lifecycle, running, small_market, until

from contracts.identity import ENGINE_HEADER, engine_id

pytestmark = [pytest.mark.ray, pytest.mark.timeout(900), lifecycle]
CREATES = 8
CREATE_S = 240.0
DAYS = [f"2024-01-{day:02d}" for day in range(2, 30)]


def table() -> dict:
    names = [f"N{i}" for i in range(12)]
    rows = [(day, name) for day in DAYS for name in names]
    return {
        "date": [day for day, _ in rows],
        "symbol": [name for _, name in rows],
        "asset_returns": [((i * 7919) % 200 - 100) / 1e4 for i in range(len(rows))],
        "market_cap": [1e9 + i for i in range(len(rows))],
        "sector": ["a" if int(name[1:]) % 2 else "b" for _, name in rows],
    }


@pytest.fixture(scope="module")
def engines(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    market = small_market(folder)
    with running(folder / "first", market) as first, running(folder / "second", market) as second:
        until(lambda: "Ready after" in first.log or first.process.poll() is not None, "the first is ready", START_S)
        until(lambda: "Ready after" in second.log or second.process.poll() is not None, "the second is ready", START_S)
        assert first.process.poll() is None, first.log
        assert second.process.poll() is None, second.log
        yield first, second


def models(run) -> set[str]:
    return {row["model_id"] for row in run.ask("GET", "/factor-models/list").json()["models"]}


def test_each_says_who_it_is_and_refuses_what_is_for_the_other(engines):
    first, second = engines
    for run, other in ((first, second), (second, first)):
        assert run.ask("GET", "/health").headers[ENGINE_HEADER] == engine_id(run.run_dir)
        answer = run.ask("DELETE", "/factor-model/main", headers={ENGINE_HEADER: engine_id(other.run_dir)})
        assert answer.status_code == 421
        assert "main" in models(run)


def test_while_the_replica_of_one_is_killed_under_load_nothing_of_it_comes_to_the_other(engines):
    """Every caller asks until it is answered, so each model is made, by the engine that was asked and by no other."""
    first, second = engines
    before = models(second)
    pid = first.health()["http"]["pid"]
    own = engine_id(first.run_dir)
    answers: list[tuple[str, int, str | None]] = []
    killed = threading.Event()

    def create(number: int) -> None:
        name, deadline = f"only-first-{number}", time.monotonic() + CREATE_S
        while time.monotonic() < deadline:
            # Until the replica is killed each model is made again and again, so that requests are on their way then.
            late = killed.is_set()
            try:
                body = {"model_id": name, "feature_data": table()}
                answer = first.ask("POST", "/factor-model/create", json=body, timeout=60.0)
                answers.append((name, answer.status_code, answer.headers.get(ENGINE_HEADER)))
            except httpx.HTTPError as error:
                answers.append((name, 0, type(error).__name__))
                continue
            if late and answer.status_code == 200:
                return

    writers = [threading.Thread(target=create, args=(number,)) for number in range(CREATES)]
    try:
        for writer in writers:
            writer.start()
        until(lambda: any(status == 200 for _, status, _ in answers), "the first is under load", CREATE_S)
        os.kill(pid, signal.SIGKILL)
    finally:
        killed.set()
        for writer in writers:
            writer.join()
    assert {engine for _, status, engine in answers if status == 200} == {own}, answers
    assert {engine for _, status, engine in answers if status} <= {own, None}, answers
    assert models(second) == before
    until(lambda: first.health()["status"] == "healthy", "the first is healthy again", 120.0)
    assert first.health()["http"]["pid"] != pid
    assert {f"only-first-{number}" for number in range(CREATES)} <= models(first)
    assert models(second) == before


def status(run) -> dict:
    return run.ask("GET", "/factor-models/main/status").json()


def test_both_take_jobs_and_each_keeps_to_its_own(engines):
    for run, other in (engines, engines[::-1]):
        was, others = status(run)["model_version"], status(other)["model_version"]
        line = next(line.strip() for line in run.log.splitlines() if " job submit " in line)
        done = subprocess.run(line, shell=True, capture_output=True, text=True, timeout=240, check=False)
        assert '"model_version"' in done.stdout, done.stdout + done.stderr
        assert status(run)["operation"] == "recompute"
        assert status(run)["model_version"] == was + 1
        assert status(other)["model_version"] == others
