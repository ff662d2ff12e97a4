"""The processes of a test run, found by a mark in the environment that each of them inherited."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable

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


def words_of(process: psutil.Process) -> list[str]:
    """Give the command line; nothing for one that ended, which it may do between being listed and being asked."""
    try:
        return process.cmdline()
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return []


def named(processes: Iterable[psutil.Process], *names: str) -> list[psutil.Process]:
    """Keep those with one of these names; one that ended meanwhile has none."""
    found = []
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.name() in names:
                found.append(process)
    return found


def sockets_of(process: psutil.Process) -> list[tuple[str, int]]:
    """Give address and port of each TCP socket on which it listens; nothing for one that ended meanwhile."""
    try:
        connections = process.net_connections("tcp")
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return []
    return [(c.laddr.ip, c.laddr.port) for c in connections if c.status == psutil.CONN_LISTEN]


def alive_of(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    """Keep those that have not ended; one that does so while it is asked has."""
    found = []
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def end_all(processes: list[psutil.Process], grace_s: float) -> list[str]:
    """Wait so long for them to end by themselves, then kill them; gives the command lines of those that had not."""
    _, alive = psutil.wait_procs(processes, timeout=grace_s)
    told = []
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            told.append(f"{process.pid} {' '.join(words_of(process))[:200]}")
            process.kill()
    psutil.wait_procs(alive, timeout=KILL_S)
    return told
