"""Where a job says how far it is, and under which id Ray runs it."""

from __future__ import annotations

import json
import os
from pathlib import Path

FOLDER = "jobs"


def progress_path(store: Path, job_id: str) -> Path:
    """Give the file that says how far a job is."""
    return store / FOLDER / f"{job_id}.json"


def submission_id() -> str | None:
    """Give the id under which Ray runs this process as a job; None where it is none."""
    try:
        given = json.loads(os.environ["RAY_JOB_CONFIG_JSON_ENV_VAR"])["metadata"]["job_submission_id"]
    except (KeyError, ValueError, TypeError):
        return None
    return str(given)
