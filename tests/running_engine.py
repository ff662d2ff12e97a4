"""`make run` as a user has it, in a process tree of its own, for tests of the running engine."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import httpx
import psutil
import pytest
from left_behind import processes_of

from engine.ports import free_port
from engine.run_dir import RunDir

ROOT = Path(__file__).parent.parent
START_S = 400.0
"""The first start on a machine compiles; on two busy cores that takes minutes. Timing is the benchmarks' business."""
STOP_S = 10.0
lifecycle = pytest.mark.skipif(
    "FACTOR_ENGINE_TEST_LIFECYCLE" not in os.environ, reason="takes minutes of both processors: make lifecycle"
)


class Run:
    """One foreground run of the engine.

    Parameters
    ----------
    run_dir, port, data
        Where it keeps things, where it listens, and its market.
    before
        A command that becomes the run in its turn, such as ``prlimit --nofile=256``.
    environment
        On top of this process's.
    """

    def __init__(
        self, run_dir: Path, port: int, data: Path | None = None, before: Sequence[str] = (), **environment: str
    ) -> None:
        self.run_dir, self.port = run_dir, port
        self.log_path = run_dir.parent / f"{run_dir.name}-{time.monotonic_ns()}.log"
        own = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "FACTOR_ENGINE_"))},
            "FACTOR_ENGINE_RUN_DIR": str(run_dir),
            "FACTOR_ENGINE_HTTP_PORT": str(port),
            "FACTOR_ENGINE_NATS_PORT": str(free_port()),
            **environment,
        }
        command = [*before, sys.executable, "-m", "launch", *(["--data", str(data)] if data else [])]
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen(command, cwd=ROOT, env=own, stdout=log, stderr=subprocess.STDOUT)

    @property
    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def until_ready(self) -> None:
        until(lambda: "Ready after" in self.log or self.process.poll() is not None, "the run is ready", START_S)
        assert self.process.poll() is None, self.log

    def tree(self) -> list[psutil.Process]:
        return [psutil.Process(self.process.pid), *psutil.Process(self.process.pid).children(recursive=True)]

    def left(self) -> list[psutil.Process]:
        """List what carries the mark of this run."""
        return processes_of(str(self.run_dir), "FACTOR_ENGINE_RUN_DIR")

    def ask(self, method: str, path: str, **more) -> httpx.Response:
        return httpx.request(
            method, f"http://127.0.0.1:{self.port}{path}", **{"timeout": 30.0, "trust_env": False, **more}
        )

    def health(self) -> dict:
        return self.ask("GET", "/health").json()

    def reasons(self) -> dict[str, str]:
        """Give why each degraded component is so."""
        return {row["component"]: row["reason"] for row in self.health()["degraded"]}


def until(condition: Callable[[], object], what: str, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.1)


@contextlib.contextmanager
def running(run_dir: Path, data: Path | None = None, before: Sequence[str] = (), **environment: str) -> Iterator[Run]:
    """Run the engine until the block ends, and leave nothing of it."""
    started = Run(run_dir, free_port(), data, before, **environment)
    try:
        yield started
    finally:
        put_away(started)


def put_away(run: Run) -> None:
    """End a run the hard way, if it still runs, and remove what it left on the machine."""
    for process in run.tree() if run.process.poll() is None else []:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    run.process.wait()
    if not run.run_dir.exists():
        return
    held = RunDir(run.run_dir)
    held.sweep()
    shutil.rmtree(held.short_temp(), ignore_errors=True)
    held.release()


def small_market(folder: Path) -> Path:
    """Write a market that is loaded in a moment."""
    from factors.sample.market import sample_market

    path = folder / "small.parquet"
    sample_market(n_assets=40, n_days=320).panel.to_frame().write_parquet(path)
    return path
