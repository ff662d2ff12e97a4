"""Processes that do nothing: told from busy ones, asked for their stack, and killed; and those that do not come."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import signal
import time
from pathlib import Path

import psutil

STACK_SIGNAL = signal.SIGUSR2
STACK_WAIT_S = 0.5
STACK_LIMIT_BYTES = 16_384
MEMORY_FULL_PERCENT = 94.0
"""From about here on Ray ends processes to save the machine (95 %)."""
BUSY_LOAD = 3.0
_STDERR = 2


def tell_stack_on_signal() -> None:
    """Have this process write the stacks of all its threads into its log when it gets `STACK_SIGNAL`.

    The handler is the interpreter's own and waits for no lock of it, so a process that is stuck answers too.
    """
    with contextlib.suppress(RuntimeError, OSError, ValueError):  # no standard error
        faulthandler.register(STACK_SIGNAL, file=_STDERR, all_threads=True)


def is_stopped(pid: int) -> bool:
    """Say whether a process of this machine was stopped (SIGSTOP, a debugger, the freezer)."""
    try:
        return psutil.Process(pid).status() in (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP)
    except psutil.Error:
        return False


def works(pid: int) -> bool:
    """Say whether a thread of a process of this machine computes, or would if it were given a processor."""
    tasks = Path(f"/proc/{pid}/task")
    if not tasks.exists():
        try:
            return bool(psutil.Process(pid).status() == psutil.STATUS_RUNNING)
        except psutil.Error:
            return False
    for task in tasks.glob("*/stat"):
        with contextlib.suppress(OSError):  # the thread ended
            if task.read_text().rpartition(")")[2].split()[0] in "RD":
                return True
    return False


def stack_of(pid: int, logs: Path) -> str:
    """Have a process of this machine tell its stacks; gives them, or what there is instead.

    Parameters
    ----------
    pid
        A process that called `tell_stack_on_signal`. One that was stopped is let go on for it, so kill it then.
    logs
        Ray's folder of logs, where the process writes.
    """
    files = list(logs.glob(f"worker-*-{pid}.err"))
    if not files:
        return f"no log of process {pid} in {logs}"
    file = files[0]
    begin = file.stat().st_size
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, STACK_SIGNAL)
        os.kill(pid, signal.SIGCONT)
    deadline = time.monotonic() + STACK_WAIT_S
    size = begin
    while time.monotonic() < deadline:
        time.sleep(0.05)
        now = file.stat().st_size
        if now > begin and now == size:
            break  # it came, and all of it
        size = now
    with file.open("rb") as told:
        told.seek(begin)
        text = told.read(STACK_LIMIT_BYTES).decode(errors="replace").strip()
    return text or f"process {pid} told no stack; the kernel says it waits in {_wait_channel(pid)}"


def why_no_process() -> str:
    """Say what may keep Ray from starting a process on this machine."""
    memory = psutil.virtual_memory()
    if memory.percent > MEMORY_FULL_PERCENT:
        return f"{memory.percent:.0f} % of the memory is in use, and Ray starts none, or ends the newest"
    load = os.getloadavg()[0] / (os.cpu_count() or 1)
    if load > BUSY_LOAD:
        return f"{load:.0f} processes want each processor of this machine"
    return "Ray has not started its process, or its code is being loaded; Ray's logs of the node say more"


def kill(pid: int) -> None:
    """Kill a process of this machine; a frozen one does not hear Ray."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)


def _wait_channel(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/wchan").read_text() or "user space"
    except OSError:
        return "a place that it does not tell"
