"""Threads that compute for long, behind those that answer at once."""

from __future__ import annotations

import os
import sys
import threading

NICENESS = 19
"""The most there is: Ray starts its workers at 15, and only root could go below what a thread has."""


def step_back() -> None:
    """Let every short answer on this machine go before the calling thread, for as long as the thread lives.

    A step of the whole library is tens of milliseconds, a warm-up seconds; an exposure is one. Where there are fewer
    cores than work, the kernel then lets the short one in at once. Linux counts niceness by thread; elsewhere it would
    hold for the whole process, and nothing is done.
    """
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
