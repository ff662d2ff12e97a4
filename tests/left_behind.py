"""The processes of a test run, found by a mark in the environment that each of them inherited."""

from __future__ import annotations

import contextlib
import os

import psutil

MARK = "TEST_FOLDER_OF_THE_ENGINE"
"""Holds the folder of the run. Tests of the start do not take this name out of the environment."""
KILL_S = 2.0


def processes_of(mark: str, name: str = MARK) -> list[psutil.Process]:
    """Find the living processes that carry the mark, whoever is their parent now; not this one, nor those above it."""
    above = {process.pid for process in psutil.Process().parents()}
    found = []
    for process in psutil.process_iter():
        if process.pid == os.getpid() or process.pid in above:
            continue
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            if process.environ().get(name) == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def end_all(processes: list[psutil.Process], grace_s: float) -> list[str]:
    """Wait so long for them to end by themselves, then kill them; gives the command lines of those that had not."""
    _, alive = psutil.wait_procs(processes, timeout=grace_s)
    told = []
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            told.append(f"{process.pid} {' '.join(process.cmdline())[:200]}")
            process.kill()
    psutil.wait_procs(alive, timeout=KILL_S)
    return told
