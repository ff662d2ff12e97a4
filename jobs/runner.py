"""The runner of jobs: submits them by Ray's job API, says how far they are, ends them. One for all kinds of jobs."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import orjson
import psutil

from actors.runtime.base import WorkloadActor
from contracts import job_requests as jr
from contracts import requests as rq
from contracts.answers import Calculation, Page
from contracts.errors import InvalidInput, Unavailable, UnknownJob, first_line
from contracts.settings import environment_of
from jobs.told import FOLDER
from jobs.work import KIND, Work
from store import ModelStore
from store.place import store_place

LIST_MOST = 200
STATES = {
    "PENDING": "pending",
    "RUNNING": "running",
    "STOPPED": "stopped",
    "FAILED": "failed",
    "SUCCEEDED": "succeeded",
}
LIVE = ("pending", "running")
AGAIN_S = 2.0
MESSAGE_MOST = 500


class RayJobs(Protocol):
    """What is used of Ray's `JobSubmissionClient`."""

    def submit_job(self, **options: Any) -> str:
        """Start a job."""

    def list_jobs(self) -> list[Any]:
        """List all jobs."""

    def stop_job(self, job_id: str) -> bool:
        """End a job."""

    def get_job_logs(self, job_id: str) -> str:
        """Give what a job printed."""


def connect() -> RayJobs:
    """Connect to the job server of the Ray that this process is in.

    Raises
    ------
    Unavailable
        The cluster takes no jobs.
    """
    import ray
    from ray.dashboard.modules.job.sdk import JobSubmissionClient
    from ray.dashboard.utils import ray_address_to_api_server_url

    if not ray.is_initialized():
        raise Unavailable("jobs run on Ray, and this process is in none")
    try:
        made: Any = JobSubmissionClient(ray_address_to_api_server_url(ray.get_runtime_context().gcs_address))
    except (RuntimeError, ValueError, ConnectionError) as error:
        raise Unavailable(f"the cluster takes no jobs: {first_line(error)}", retry_after_s=AGAIN_S) from None
    client: RayJobs = made
    return client


class Jobs(WorkloadActor):
    """Answers about jobs. What they compute is in processes of their own; this one only asks."""

    connected: Callable[[], RayJobs] = staticmethod(connect)

    def prepare(self) -> None:
        """Open the store."""
        self.store = ModelStore(store_place(self.settings), self.settings.keep_versions)
        self._client: RayJobs | None = None

    def recompute(self, request: jr.Recompute) -> Calculation:
        """Submit a recompute; one that is under way is found, one that was ended goes on."""
        work = self._work(request)
        self.store.head(work.model_id)  # a name that is none is told now, not by the job
        known = self._known(work.job_id)
        if known is not None and known["state"] in LIVE:
            return _told({**known, "already": True}, f"job {work.job_id} is under way")
        # Another id for each attempt: Ray holds on to what a former one was called by, for a while after its end.
        attempt = 1 + (known["attempt"] if known is not None else 0)
        words = [sys.executable, "-m", f"jobs.{KIND}", *work.arguments()]
        try:
            self._api().submit_job(
                entrypoint=shlex.join(words),
                submission_id=f"{work.job_id}.{attempt}",
                runtime_env={"env_vars": self._environment()},
                metadata={"kind": KIND, "model_id": work.model_id, "job_id": work.job_id, "attempt": str(attempt)},
            )
        except RuntimeError as error:
            again = self._known(work.job_id)
            if again is None or again["state"] not in LIVE:  # else another process submitted it just now
                self._client = None
                raise Unavailable(f"Ray did not take the job: {first_line(error)}", retry_after_s=AGAIN_S) from None
        return _told(self._found(work.job_id), f"submitted job {work.job_id}")

    def list_jobs(self, _request: rq.Empty) -> Page:
        """All jobs with how far they are, the newest first."""
        rows = sorted(self._all(), key=lambda row: -(row["started_at"] or 0.0))[:LIST_MOST]
        return Page({"jobs": rows, "count": len(rows)})

    def job_status(self, request: jr.JobRef) -> Page:
        """One job."""
        return Page(self._found(request.job_id))

    def job_logs(self, request: jr.JobLogs) -> Page:
        """What a job printed last."""
        row = self._found(request.job_id)
        text = self._ask("logs", row["submission_id"]) if row["submission_id"] else ""
        return Page({"job_id": request.job_id, "lines": str(text).splitlines()[-request.lines :]})

    def cancel_job(self, request: jr.CancelJob) -> Calculation:
        """End a job; one that has ended stays as it is."""
        row = self._found(request.job_id)
        if row["state"] not in LIVE:
            return _told(row, f"job {request.job_id} had ended: {row['state']}", event=False)
        if row["submission_id"] is None:
            pid = next(one["pid"] for one in self._told() if one["job_id"] == row["job_id"])
            raise InvalidInput(
                f"job {request.job_id} was not submitted to Ray: end its process {pid} where it was started",
                field="job_id",
            )
        self._ask("stop", row["submission_id"])
        return _told(self._found(request.job_id), f"job {request.job_id} is being ended")

    # -- inside

    def _work(self, request: jr.Recompute) -> Work:
        for name in ("data", "out"):
            place = getattr(request, name)
            if place is not None and not self._allowed(place):
                raise InvalidInput(
                    f"jobs that are asked for may not use {place}: FACTOR_ENGINE_JOB_PLACES names what they may",
                    field=name,
                )
        more = {} if request.what is None else {"what": tuple(request.what)}
        return Work(
            request.model_id,
            str(request.start) if request.start else None,
            str(request.end) if request.end else None,
            factors=tuple(request.factors or ()),
            data=request.data,
            out=request.out,
            settings=request.settings,
            **more,
        )

    def _allowed(self, place: str) -> bool:
        """Say whether a place lies below one that is named; a folder by where it really is."""
        for allowed in self.settings.job_places:
            if "://" in allowed:
                if place.startswith(allowed.rstrip("/") + "/") and "/../" not in place:
                    return True
            elif "://" not in place and Path(place).resolve().is_relative_to(Path(allowed).resolve()):
                return True
        return False

    def _environment(self) -> dict[str, str]:
        more = {name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ}
        return {**environment_of(self.settings), **more}

    def _api(self) -> RayJobs:
        if self._client is None:
            self._client = self.connected()
        return self._client

    def _ask(self, what: str, job_id: str) -> Any:
        doing = {"stop": "stop_job", "logs": "get_job_logs"}
        try:
            return getattr(self._api(), doing[what])(job_id)
        except RuntimeError as error:
            raise Unavailable(f"Ray's job server: {first_line(error)}", retry_after_s=AGAIN_S) from None
        except (ConnectionError, OSError) as error:
            self._client = None
            raise Unavailable(f"Ray's job server does not answer: {first_line(error)}", retry_after_s=AGAIN_S) from None

    def _found(self, job_id: str) -> dict[str, Any]:
        row = self._known(job_id)
        if row is None:
            raise UnknownJob(f"there is no job {job_id!r}", field="job_id")
        return row

    def _known(self, job_id: str) -> dict[str, Any] | None:
        return next((row for row in self._all() if job_id in (row["job_id"], row["submission_id"])), None)

    def _all(self) -> Iterator[dict[str, Any]]:
        """Give Ray's jobs, with what they told themselves, and those that only told: of a Ray that is gone."""
        try:
            listed = self._api().list_jobs()
        except (RuntimeError, ConnectionError, OSError) as error:
            self._client = None
            raise Unavailable(f"Ray's job server does not answer: {first_line(error)}", retry_after_s=AGAIN_S) from None
        told = {one.get("submission_id") or one["job_id"]: one for one in self._told()}
        newest: dict[str, Any] = {}
        for info in sorted((one for one in listed if one.submission_id), key=_attempt):
            newest[(info.metadata or {}).get("job_id") or info.submission_id] = info
        # The others are drivers that nobody submitted: the engine's own.
        rows = [_row(info, told.pop(info.submission_id, None)) for info in newest.values()]
        known = {row["job_id"] for row in rows}
        yield from rows
        for one in told.values():
            if one["job_id"] not in known:
                yield _row(None, one)

    def _told(self) -> Iterator[dict[str, Any]]:
        for path in (self.settings.store_path / FOLDER).glob("*.json"):
            try:
                yield orjson.loads(path.read_bytes())
            except (OSError, ValueError):  # removed, or of another release
                continue


def _attempt(info: Any) -> int:
    return int((info.metadata or {}).get("attempt", 0))


def _row(info: Any, told: dict[str, Any] | None) -> dict[str, Any]:
    started = info.start_time / 1e3 if info is not None and info.start_time else None
    if told is not None and started is not None and told["started_at"] < started:
        told = None  # what a former run of the same work told
    one = told or {}
    state = STATES.get(str(getattr(info.status, "value", info.status)), "running") if info is not None else None
    if state is None:
        state = {"done": "succeeded", "failed": "failed"}.get(one["state"], "running" if _lives(one) else "lost")
    metadata = (info.metadata if info is not None else None) or {}
    message = one.get("message") or (info.message if info is not None else "") or ""
    live = state in LIVE
    return {
        "job_id": one.get("job_id") or metadata.get("job_id") or info.submission_id,
        "attempt": _attempt(info) if info is not None else 0,
        "submission_id": info.submission_id if info is not None else None,
        "kind": metadata.get("kind") or (KIND if told else "job"),
        "state": state,
        "message": str(message)[:MESSAGE_MOST],
        "model_id": one.get("model_id") or metadata.get("model_id"),
        **{name: one.get(name) for name in ("stage", "percent", "rows", "rows_per_s", "out")},
        "what": one.get("what", []),
        "eta_s": one.get("eta_s") if live else None,
        "started_at": started or one.get("started_at"),
        "ended_at": info.end_time / 1e3 if info is not None and info.end_time else None if live else one.get("at"),
        "told_at": one.get("at"),
        "table": one.get("table", {}),
        **({} if info is None else {"entrypoint": info.entrypoint}),
    }


def _lives(told: dict[str, Any]) -> bool:
    """Say whether the process that told this is there; on another machine it cannot be seen, and is taken for gone."""
    try:
        return "jobs.recompute" in psutil.Process(told["pid"]).cmdline()
    except psutil.Error:
        return False


def _told(row: dict[str, Any], message: str, *, event: bool = True) -> Calculation:
    return Calculation(values=row, message=message, confidence_score=1.0, event=event)
