"""Ray's job server, for tests of what stands before it: to start Ray would take longer than they do."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any


class RayJobsDouble:
    """Ray's job server as the runner uses it: jobs that were submitted run until they are stopped."""

    def __init__(self) -> None:
        self.jobs: dict[str, SimpleNamespace] = {}

    def submit_job(self, **options: Any) -> str:
        name = options["submission_id"]
        if name in self.jobs:
            raise RuntimeError(f"there is a job {name}")
        more = {"entrypoint": options["entrypoint"], "metadata": options["metadata"], "message": "it runs"}
        self.jobs[name] = SimpleNamespace(
            submission_id=name, status="RUNNING", start_time=time.time() * 1e3, end_time=None, **more
        )
        return name

    def list_jobs(self) -> list[Any]:
        return list(self.jobs.values())

    def stop_job(self, job_id: str) -> bool:
        self.jobs[job_id].status, self.jobs[job_id].end_time = "STOPPED", time.time() * 1e3
        return True

    def get_job_logs(self, job_id: str) -> str:
        return f"one\ntwo of {job_id}\n"
