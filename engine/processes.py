"""The processes of a run: recorded while it lives, ended when it ends, and found again when it was killed."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import psutil

from contracts.files import replacing

MARK = "FACTOR_ENGINE_PROCESS_OF"
"""In the environment of every process that a run starts: its run directory. It tells whose a process is when its parent
has ended, as Ray's dashboard ends before the helpers that it was starting."""
PR_SET_CHILD_SUBREAPER = 36
"""From linux/prctl.h."""
START_TOLERANCE_S = 0.02
"""A recorded process is the same one when it began at the same time; ids are used again."""


class Known(NamedTuple):
    """A process, told apart from a later one with the same id by when it began (seconds since the epoch)."""

    pid: int
    began: float
    name: str

    def process(self) -> psutil.Process | None:
        """Give the live process, or None when it ended."""
        try:
            found = psutil.Process(self.pid)
            same = abs(found.create_time() - self.began) <= START_TOLERANCE_S
            return found if same and lives(found) else None
        except psutil.NoSuchProcess:
            return None


def lives(process: psutil.Process) -> bool:
    """Tell whether a process still runs: a killed one is a zombie while its last threads end, and holds its ports."""
    try:
        ended = process.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
        return not ended or process.num_threads() > 1
    except psutil.NoSuchProcess:
        return False


def command_of(pid: int) -> str | None:
    """Give the command line of a process that lives, empty when it cannot be read; None when there is none."""
    try:
        process = psutil.Process(pid)
        return " ".join(process.cmdline()) if lives(process) else None
    except (psutil.ZombieProcess, psutil.AccessDenied):
        return ""
    except psutil.NoSuchProcess:
        return None


def descendants(pid: int | None = None) -> list[Known]:
    """List the processes below `pid` (default: this one), itself not included."""
    known = []
    try:
        children = psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []
    for child in children:
        with contextlib.suppress(psutil.NoSuchProcess):
            known.append(Known(child.pid, child.create_time(), child.name()))
    return known


def adopt_orphans() -> None:
    """Become the parent of every process below this one that loses its own; only Linux can do that.

    From then on nothing leaves :func:`descendants`, however many parents die. What ends as an orphan stays a zombie
    until this process ends, so call it when that is near.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def marked(run_dir: Path) -> list[Known]:
    """List the processes that carry the mark of the run directory, whoever is their parent now; not this one."""
    known = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            if process.pid != os.getpid() and process.environ().get(MARK) == str(run_dir):
                known.append(Known(process.pid, process.create_time(), process.name()))
    return known


def end(known: Iterable[Known], grace_s: float) -> list[Known]:
    """End the processes that still live: asked first, killed after `grace_s` seconds; gives those that were there."""
    alive = [(row, process) for row in known if (process := row.process()) is not None]
    processes = [process for _, process in alive]
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    _, stubborn = psutil.wait_procs(processes, timeout=grace_s)
    for process in stubborn:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(stubborn, timeout=1.0)
    return [row for row, _ in alive]


class ProcessRecord:
    """The list of a run's processes in a file, so that the next run can end what a killed one left.

    Parameters
    ----------
    path
        The file; written whole each time.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, known: Iterable[Known]) -> None:
        """Put the list in place of the former."""
        with replacing(self.path) as out:
            out.write(json.dumps({"written": time.time(), "processes": [list(row) for row in known]}).encode())

    def read(self) -> list[Known]:
        """Give the list; empty when there is none or it cannot be read."""
        try:
            return [Known(int(p), float(b), str(n)) for p, b, n in json.loads(self.path.read_text())["processes"]]
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return []

    def clear(self) -> None:
        """Forget the list."""
        self.path.unlink(missing_ok=True)
