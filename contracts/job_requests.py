"""What callers send about jobs, and about the versions of a model."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any, Literal

from pydantic import Field

from contracts.requests import ModelRef, Request

JobId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,199}$", description="As the list of jobs has it.")]
What = Literal["scores", "returns", "covariance", "specific", "library", "attribution"]


class Recompute(ModelRef):
    """Make the results of a period again, as a job; the same work is the same job, and goes on where it was ended."""

    start: dt.date | None = Field(None, description="First day wanted; default: the first of the data.")
    end: dt.date | None = Field(None, description="Last day wanted; default: the last of the data.")
    what: list[What] | None = Field(None, min_length=1, max_length=6, description="What is made; default: everything.")
    factors: list[Annotated[str, Field(min_length=1, max_length=200)]] | None = Field(
        None, min_length=1, max_length=2000, description="Of the library; default: all that the data can compute."
    )
    data: str | None = Field(
        None, max_length=2000, description="A table instead of the model's days, below a place of `JOB_PLACES`."
    )
    out: str | None = Field(
        None,
        max_length=2000,
        description="For the results, below a place of `JOB_PLACES`; default: the store.",
    )
    settings: dict[str, Any] = Field(default_factory=dict, description="Settings that replace the model's, nested.")


class JobRef(Request):
    """A job: how far it is, and what came of it."""

    job_id: JobId


class CancelJob(JobRef):
    """End a job; submitted again, it goes on behind what it had made."""


class JobLogs(JobRef):
    """The last lines that a job printed."""

    lines: int = Field(100, ge=1, le=2000, description="Lines at most, from the end.")


class ModelVersions(ModelRef):
    """The kept versions of a model, the newest first, with what each changed."""


class RestoreVersion(ModelRef):
    """Make a new version of a model that is what an older, kept one was."""

    version: int | None = Field(
        None, ge=1, le=2**53, description="The number of the older version; default: the one before the newest."
    )
