"""The runner of jobs: what it asks of Ray's job server, and what it tells of jobs."""

import json
import os
import shlex
import subprocess
import sys
import time

import psutil
import pytest
from left_behind import words_of
from ray_jobs_double import RayJobsDouble
from running_engine import until

from actors.reading.states import state_of
from contracts import job_requests as jr
from contracts.errors import InvalidInput, Unavailable, UnknownJob, UnknownModel
from contracts.requests import Empty
from contracts.settings import settings
from factors.factor_model.model import FactorModel
from factors.sample.market import sample_market
from jobs import recompute, runner
from jobs.runner import Jobs
from jobs.told import progress_path, submission_id
from jobs.work import Work
from store import ModelStore


@pytest.fixture(scope="module")
def fitted():
    return FactorModel().fit(sample_market(n_assets=40, n_days=80).panel)


@pytest.fixture
def ray(tmp_path, monkeypatch, fitted):
    monkeypatch.setenv("FACTOR_ENGINE_RUN_DIR", str(tmp_path))
    monkeypatch.setenv("FACTOR_ENGINE_JOB_PLACES", f"{tmp_path / 'lake'},s3://lake/prices")
    settings.cache_clear()
    store = ModelStore(settings().store_path)
    store.commit("m", state_of(fitted), base=0, request_id="first", operation="create_model")
    double = RayJobsDouble()
    monkeypatch.setattr(Jobs, "connected", staticmethod(lambda: double))
    yield double
    settings.cache_clear()


@pytest.fixture
def jobs(ray):
    actor = Jobs()
    assert actor._ready.wait(60.0)
    return actor


def asked(**more):
    return jr.Recompute(model_id="m", **more)


def told(job_id, **more):
    path = progress_path(settings().store_path, job_id)
    path.parent.mkdir(exist_ok=True)
    base = {
        "job_id": job_id,
        "submission_id": f"{job_id}.1",
        "state": "running",
        "started_at": time.time(),
        "at": time.time(),
    }
    path.write_text(json.dumps({**base, "pid": 0, "percent": 40.0, "stage": "computing", "eta_s": 9.0, **more}))


def test_a_recompute_becomes_a_job_whose_id_and_words_follow_from_the_work(jobs, ray):
    made = jobs.recompute(asked(start="2019-01-10", what=["returns"], factors=["a"])).values
    work = Work("m", start="2019-01-10", what=("returns",), factors=("a",))
    assert made["job_id"] == work.job_id
    words = shlex.split(ray.jobs[f"{work.job_id}.1"].entrypoint)
    assert words[:3] == [sys.executable, "-m", "jobs.recompute"]
    assert recompute.work_of(recompute.parser().parse_args(words[3:])).job_id == work.job_id
    assert (made["state"], made["kind"], made["model_id"]) == ("running", "recompute", "m")


def test_the_same_work_asked_for_twice_is_one_job_and_one_that_was_ended_is_submitted_again(jobs, ray):
    first = jobs.recompute(asked()).values
    again = jobs.recompute(asked())
    assert again.values["already"] is True
    assert "under way" in again.message
    assert len(ray.jobs) == 1
    jobs.cancel_job(jr.CancelJob(job_id=first["job_id"]))
    assert jobs.job_status(jr.JobRef(job_id=first["job_id"])).body["state"] == "stopped"
    resumed = jobs.recompute(asked()).values
    assert (resumed["job_id"], resumed["state"], resumed["attempt"]) == (first["job_id"], "running", 2)
    assert sorted(ray.jobs) == [f"{first['job_id']}.1", f"{first['job_id']}.2"]
    assert [row["attempt"] for row in jobs.list_jobs(Empty()).body["jobs"]] == [2], "one job, its newest attempt"


def test_two_processes_that_submit_the_same_work_at_once_have_one_job(jobs, ray, monkeypatch):
    submit = ray.submit_job

    def other_was_first(**options):
        submit(**options)
        return submit(**options)

    monkeypatch.setattr(ray, "submit_job", other_was_first)
    assert jobs.recompute(asked()).values["state"] == "running"


def test_a_page_says_how_far_a_job_is_and_not_what_a_former_run_told(jobs):
    job_id = jobs.recompute(asked()).values["job_id"]
    told(job_id, started_at=time.time() - 1e6, percent=100.0)
    assert jobs.job_status(jr.JobRef(job_id=job_id)).body["percent"] is None
    told(job_id)
    page = jobs.job_status(jr.JobRef(job_id=job_id)).body
    assert (page["percent"], page["stage"], page["eta_s"]) == (40.0, "computing", 9.0)
    jobs.cancel_job(jr.CancelJob(job_id=job_id))
    ended = jobs.job_status(jr.JobRef(job_id=job_id)).body
    assert (ended["percent"], ended["eta_s"]) == (40.0, None)
    assert ended["ended_at"] is not None


def test_jobs_of_a_ray_that_is_gone_are_listed_as_lost_or_as_they_ended(jobs):
    told("recompute-m-old", state="done", percent=100.0)
    told("recompute-m-cut")
    told("recompute-m-other", pid=os.getpid())  # the number is another process's now
    rows = {row["job_id"]: row["state"] for row in jobs.list_jobs(Empty()).body["jobs"]}
    assert rows == {"recompute-m-old": "succeeded", "recompute-m-cut": "lost", "recompute-m-other": "lost"}


def test_a_job_outside_of_ray_is_listed_as_running_while_its_process_lives(jobs):
    words = [sys.executable, "-c", "import sys; sys.stdin.read()", "-m", "jobs.recompute"]
    with subprocess.Popen(words, stdin=subprocess.PIPE) as process:
        # Linux shows no command line for a moment, after a program was found and before it begins.
        until(lambda: words[-1] in words_of(psutil.Process(process.pid)), "its command line is there", 60.0)
        told("recompute-m-own", pid=process.pid)
        assert [row["state"] for row in jobs.list_jobs(Empty()).body["jobs"]] == ["running"]
        with pytest.raises(InvalidInput, match=f"end its process {process.pid} where it was started") as refused:
            jobs.cancel_job(jr.CancelJob(job_id="recompute-m-own"))
        assert refused.value.field == "job_id"
        process.kill()
    assert [row["state"] for row in jobs.list_jobs(Empty()).body["jobs"]] == ["lost"]


def test_a_job_that_a_person_submitted_is_found_by_either_id(jobs, ray):
    ray.submit_job(submission_id="raysubmit_1", entrypoint="python -m jobs.recompute --model m", metadata={})
    told("recompute-m-hand", submission_id="raysubmit_1")
    for name in ("raysubmit_1", "recompute-m-hand"):
        assert jobs.job_status(jr.JobRef(job_id=name)).body["percent"] == 40.0
    assert jobs.job_logs(jr.JobLogs(job_id="recompute-m-hand", lines=1)).body["lines"] == ["two of raysubmit_1"]
    jobs.cancel_job(jr.CancelJob(job_id="recompute-m-hand"))
    assert ray.jobs["raysubmit_1"].status == "STOPPED"


def test_ending_a_job_that_has_ended_changes_nothing_and_tells_nobody(jobs, ray):
    job_id = jobs.recompute(asked()).values["job_id"]
    assert jobs.cancel_job(jr.CancelJob(job_id=job_id)).event is True
    ended = ray.jobs[f"{job_id}.1"].end_time
    assert jobs.cancel_job(jr.CancelJob(job_id=job_id)).event is False
    assert ray.jobs[f"{job_id}.1"].end_time == ended


def test_a_job_or_a_model_that_is_none_is_named(jobs):
    with pytest.raises(UnknownJob, match="nobody"):
        jobs.job_status(jr.JobRef(job_id="nobody"))
    with pytest.raises(UnknownModel, match="none"):
        jobs.recompute(jr.Recompute(model_id="none"))


def test_places_that_nobody_named_are_refused_however_they_are_written(jobs, tmp_path):
    (tmp_path / "lake").mkdir()
    (tmp_path / "lake" / "out").symlink_to(tmp_path)
    refused = ["/etc", str(tmp_path), str(tmp_path / "lake" / ".." / "other"), str(tmp_path / "lake" / "out" / "x")]
    for place in [
        *refused,
        "s3://other/prices",
        "s3://lake/prices-of-others",
        "s3://lake/prices/../secret",
        "file:///etc",
    ]:
        with pytest.raises(InvalidInput, match="JOB_PLACES") as error:
            jobs.recompute(asked(data=place))
        assert error.value.field == "data"
    with pytest.raises(InvalidInput, match="JOB_PLACES"):
        jobs.recompute(asked(out="/etc/x"))
    assert jobs.recompute(asked(out=str(tmp_path / "lake" / "mine"))).values["state"] == "running"
    assert jobs.recompute(asked(data="s3://lake/prices/2018")).values["state"] == "running"


def test_a_job_server_that_is_away_is_named_and_asked_anew_later(jobs, ray, monkeypatch):
    def away():
        raise ConnectionError("refused")

    monkeypatch.setattr(ray, "list_jobs", away)
    with pytest.raises(Unavailable, match="job server"):
        jobs.list_jobs(Empty())
    monkeypatch.undo()
    monkeypatch.setattr(Jobs, "connected", staticmethod(lambda: ray))
    assert jobs.list_jobs(Empty()).body["count"] == 0


def test_outside_of_ray_there_are_no_jobs():
    with pytest.raises(Unavailable, match="Ray"):
        runner.connect()


def test_a_driver_knows_under_which_id_ray_runs_it(monkeypatch):
    assert submission_id() is None
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", json.dumps({"metadata": {"job_submission_id": "raysubmit_9"}}))
    assert submission_id() == "raysubmit_9"
