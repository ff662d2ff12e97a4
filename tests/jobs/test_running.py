"""Jobs on a running engine: asked for over every door, killed in every way, and gone on with."""

import asyncio
import json
import os
import signal
import subprocess
import sys

import psutil
import pytest
from left_behind import words_of
from running_engine import ROOT, Run, until

from clients.nats import NatsEngine
from contracts.job_requests import JobRef
from jobs.parts import read_manifest
from jobs.work import Work

pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]
LONG_S = 180.0
WORK = Work("main")


@pytest.fixture
def run(shared_run) -> Run:
    return shared_run


def page(run: Run) -> dict:
    return run.ask("GET", f"/jobs/{WORK.job_id}").json()


def submit(run: Run) -> dict:
    """Submit the work; Ray's job agent comes up some seconds after the rest, which the answer says."""
    made = {}

    def taken():
        answer = run.ask("POST", "/jobs/recompute", json={"model_id": "main"}, timeout=90.0)
        made.update(answer.json())
        return answer.status_code == 200 or answer.json().get("retryable") is not True

    until(taken, "the job was taken", LONG_S)
    assert made.get("success") is True, made
    return made["calculation_result"]["factor_values"]


def ended(run: Run) -> bool:
    return page(run)["state"] not in ("pending", "running")


def parts(folder) -> dict[str, int]:
    """When each whole part was written: one without its note may have been cut off between the two."""
    return {
        path.name: path.stat().st_mtime_ns for path in folder.glob("*.parquet") if path.with_suffix(".json").exists()
    }


def kill_a_worker(run: Run) -> None:
    def killed():
        for process in run.tree():
            try:
                if "_in_task" in " ".join(words_of(process)):
                    process.kill()
                    return True
            except psutil.Error:
                continue
        return ended(run)

    until(killed, "a worker of the job was there", LONG_S)


def test_a_job_that_is_killed_in_every_way_makes_what_is_missing_to_the_same_bytes(run, tmp_path):
    folder = run.run_dir / "store" / "recomputed" / WORK.job_id / "parts"
    first = submit(run)
    assert (first["job_id"], first["kind"]) == (WORK.job_id, "recompute")
    until(lambda: len(parts(folder)) > 0, "a part is there", LONG_S)
    # The driver, with kill -9: its tasks end with it.
    until(lambda: (page(run).get("parts_made") or page(run)["percent"]) is not None, "the job tells", LONG_S)
    told = json.loads((run.run_dir / "store" / "jobs" / f"{WORK.job_id}.json").read_bytes())
    if not ended(run):
        os.kill(told["pid"], signal.SIGKILL)
    until(lambda: ended(run), "the job ended", LONG_S)
    before = parts(folder)
    assert before
    # A worker: Ray runs its chain again.
    submit(run)
    kill_a_worker(run)
    # And by the route.
    cancelled = run.ask("DELETE", f"/jobs/{WORK.job_id}", timeout=90.0)
    assert cancelled.status_code == 200, cancelled.text
    until(lambda: ended(run), "the job ended", LONG_S)
    submit(run)
    until(lambda: ended(run), "the job ended", LONG_S)
    done = page(run)
    assert (done["state"], done["percent"]) == ("succeeded", 100.0), done
    assert done["table"]["scores"]["rows"] > 0
    after = parts(folder)
    assert {name: after[name] for name in before} == before, "what was there is not written again"
    # In one process, without Ray and without having been ended: the same bytes.
    here = {**os.environ, "FACTOR_ENGINE_RUN_DIR": str(run.run_dir), "MESSAGEBUS_ENABLED": "false"}
    words = ["--model", "main", "--workers", "0", "--out", str(tmp_path / "whole")]
    subprocess.run([sys.executable, "-m", "jobs.recompute", *words], cwd=ROOT, env=here, check=True, timeout=300)
    whole, made = (read_manifest(path)["parts"] for path in (tmp_path / "whole", folder.parent))
    assert whole == made


def test_every_door_tells_of_the_same_jobs(run):
    over_http = run.ask("GET", "/jobs").json()["jobs"]
    assert WORK.job_id in {job["job_id"] for job in over_http}

    async def over_nats():
        async with NatsEngine.of_run(run.run_dir) as engine:
            return await engine.list_jobs(), await engine.job_status(JobRef(job_id=WORK.job_id))

    listed, one = asyncio.run(over_nats())
    assert {job.job_id for job in listed.jobs} == {job["job_id"] for job in over_http}
    assert one.state == "succeeded"
    own = {**os.environ, "FACTOR_ENGINE_URL": f"http://127.0.0.1:{run.port}"}
    words = ["job", "show", WORK.job_id, "--json"]
    shown = subprocess.run(
        [sys.executable, "-m", "launch.command", *words],
        cwd=ROOT, env=own, check=True, timeout=120, capture_output=True, text=True,
    )  # fmt: skip
    assert json.loads(shown.stdout)["state"] == "succeeded"


def test_peers_are_told_of_every_stage(run):
    def stages():
        answer = run.ask("GET", "/messagebus/events", params={"subject": "factor.batch.>", "limit": 200}).json()
        return {row["data"]["factor_values"].get("stage") for row in answer["events"]}

    until(lambda: {"planning", "computing", "committing", "done"} <= stages(), "the events are there", LONG_S)


def test_a_job_that_cannot_be_done_fails_with_the_reason(run):
    made = run.ask("POST", "/jobs/recompute", json={"model_id": "main", "start": "1990-01-01"}, timeout=90.0).json()
    job_id = made["calculation_result"]["factor_values"]["job_id"]
    until(lambda: run.ask("GET", f"/jobs/{job_id}").json()["state"] == "failed", "it failed", LONG_S)
    assert "1990-01-01 is outside" in run.ask("GET", f"/jobs/{job_id}").json()["message"]
    assert run.ask("POST", "/jobs/recompute", json={"model_id": "nobody"}, timeout=90.0).status_code == 404
