"""Children of a run: they end with it, are out of the terminal's reach, and leave no zombie."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

import psutil

PR_SET_PDEATHSIG = 1
"""From linux/prctl.h."""
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


def ends_with_parent(number: int = signal.SIGKILL) -> Callable[[], None] | None:
    """Give what a child does first so that the kernel signals it when the thread that started it ends; Linux only."""
    if _libc is None:
        return None
    parent, libc = os.getpid(), _libc

    def first() -> None:
        libc.prctl(PR_SET_PDEATHSIG, int(number), 0, 0, 0)
        if os.getppid() != parent:  # it ended meanwhile
            os._exit(1)

    return first


def spawn(
    command: Sequence[str],
    *,
    output: Path | None = None,
    death: int = signal.SIGKILL,
    environment: Mapping[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """Start a child in a session of its own: Ctrl-C at the terminal is for its parent, which ends it in its turn.

    Parameters
    ----------
    command
        Program and arguments.
    output
        Where it writes; default: where this process writes. A file that cannot be written is done without.
    death
        The signal that it gets when this process ends.
    environment
        Default: this process's.
    """
    with contextlib.ExitStack() as stack:
        told: IO[bytes] | int | None = None
        if output is not None:
            told = subprocess.DEVNULL
            with contextlib.suppress(OSError):
                told = stack.enter_context(output.open("wb"))
        return subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=told,
            stderr=told,
            start_new_session=True,
            preexec_fn=ends_with_parent(death),  # noqa: PLW1509  # children are started by the main thread
            env=dict(environment) if environment is not None else None,
        )


def reap(own: Sequence[subprocess.Popen[bytes] | None]) -> None:
    """Take the leave of adopted orphans that ended; the children in `own` are asked by themselves."""
    kept = {child.pid for child in own if child is not None}
    for orphan in psutil.Process().children():
        if orphan.pid in kept:
            continue
        with contextlib.suppress(psutil.NoSuchProcess, ChildProcessError):
            if orphan.status() == psutil.STATUS_ZOMBIE:
                os.waitpid(orphan.pid, os.WNOHANG)


def last_line(path: Path) -> str:
    """Give the last line of a child's output that says something; empty when there is none."""
    try:
        lines = path.read_text(errors="replace").strip().splitlines()
    except OSError:
        return ""
    return lines[-1].strip()[:300] if lines else ""
