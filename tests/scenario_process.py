"""A scenario that builds and breaks a Ray cluster, in a process group of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from fixtures_ray import short_folder

TOO_SLOW = "The current node timed out during startup"
"""Ray waits thirty seconds for a node, whatever else the machine does; it has no setting for that."""
STARTS = 2


def run_scenario(
    script: Path, environment: Mapping[str, str], limit_s: float, told: Callable[[Path], tuple[list[str], str | None]]
) -> None:
    """Run a script to its end; once more where the machine was too slow for Ray's start, and nothing was tried yet.

    Parameters
    ----------
    script
        A Python file.
    environment
        Of its process.
    limit_s
        For each attempt.
    told : callable
        Its arguments and its input, for a folder for Ray's session.
    """
    for left in reversed(range(STARTS)):
        with short_folder() as temp:
            arguments, given = told(temp)
            process = subprocess.Popen(
                [sys.executable, str(script), *arguments],
                env={**environment}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                start_new_session=True,
            )  # fmt: skip
            try:
                said, _ = process.communicate(given, timeout=limit_s)
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGTERM)
                process.wait(20)
        if process.returncode == 0 or TOO_SLOW not in said or not left:
            assert process.returncode == 0, said[-4000:]
            return
