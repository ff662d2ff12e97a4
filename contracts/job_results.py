"""What callers get back about jobs, and about the versions of a model."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from contracts.results import Result


class JobPage(Result):
    """A job: how far it is, and what came of it."""

    job_id: str
    kind: str = Field(description="recompute, or what else was submitted.")
    state: str = Field(description="pending, running, succeeded, failed, stopped, or lost (with the Ray it ran on).")
    message: str
    model_id: str | None = None
    stage: str | None = None
    percent: float | None = Field(None, description="Of the parts that are to be there.")
    eta_s: float | None = None
    rows: int | None = None
    rows_per_s: float | None = None
    started_at: float | None = Field(None, description="Seconds of the epoch.")
    ended_at: float | None = None
    told_at: float | None = Field(None, description="When the job said last how far it is.")
    out: str | None = Field(None, description="The folder of the results.")
    table: dict[str, Any] = Field(default_factory=dict, description="Rows, seconds, bytes, nulls by kind, at the end.")


class JobList(Result):
    """All jobs, the newest first."""

    jobs: list[JobPage]
    count: int


class JobLog(Result):
    """What a job printed."""

    job_id: str
    lines: list[str]


class VersionSummary(Result):
    """A kept version of a model, and what it changed."""

    version: int
    operation: str
    created_at: str
    n_dates: int
    n_assets: int
    last_date: str | None
    newest: bool
    changed: list[str] = Field(description="Against the kept version before it, in words.")


class VersionList(Result):
    """The kept versions of a model, the newest first."""

    model_id: str
    versions: list[VersionSummary]
    count: int
