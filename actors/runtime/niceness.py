"""Threads that compute for long, behind those that answer at once.

Linux counts niceness by thread; elsewhere it would hold for the whole process, and nothing is done.
"""

from __future__ import annotations

import os
import sys
import threading

NICENESS = 19
"""The most there is: for what nobody waits for, or what goes on beside everything."""
HEAVY_NICENESS = 18
"""For what somebody waits for, but for seconds. Ray starts its workers at 15, behind nats-server and HAProxy.

That is best for 64 requests at once: 3.4 times the echo, and 2.7 times with all at 0. Where there is not enough of the
processors for all, a thread of the light lane gets twice as much as a heavy one.
"""


_stepped = threading.local()


def step_back() -> None:
    """Let every short answer on this machine go before the calling thread, for as long as the thread lives.

    A step of the whole library is tens of milliseconds, a warm-up seconds; an exposure is one. Where there are fewer
    cores than work, the kernel then lets the short one in at once.
    """
    _set(NICENESS)


def step_behind_light() -> None:
    """Let light answers go before the calling thread, which computes heavy ones; one call of a thread is enough."""
    if not getattr(_stepped, "back", False):
        _stepped.back = True
        _set(HEAVY_NICENESS)


def _set(niceness: int) -> None:
    if sys.platform == "linux":
        me = threading.get_native_id()
        # Only root could go below what a thread has.
        os.setpriority(os.PRIO_PROCESS, me, max(niceness, os.getpriority(os.PRIO_PROCESS, me)))
