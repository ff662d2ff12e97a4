"""Threads that compute for long, behind those that answer at once.

Linux counts niceness by thread; elsewhere it would hold for the whole process, and nothing is done.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import sys
import threading

NICENESS = 19
"""The most there is: for what nobody waits for, or what goes on beside everything."""
HEAVY_NICENESS = 18
"""For what somebody waits for, but for seconds. Ray starts its workers at 15, HAProxy with them, behind nats-server.

That is best for 64 requests at once: 3.4 times the echo, and 2.7 times with all at 0. Where there is not enough of the
processors for all, a thread of the light lane gets twice as much as a heavy one.
"""

SLICE_NS = 20_000_000
"""What such a thread computes in one go, beside others like it. It is not for its own sake: a thread that wakes up and
has a shorter slice (1.4 to 3 ms where none is set) does not wait for the end of this one's."""
_SETATTR = {"x86_64": 314, "aarch64": 274}
"""The number of the system call `sched_setattr(2)`, which the C library does not offer everywhere."""
_ATTRIBUTES = struct.Struct("=IIQiIQQQ")
"""Size, policy, flags, niceness, priority, and three times of which the first is the slice, since Linux 6.12."""

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
        niceness = max(niceness, os.getpriority(os.PRIO_PROCESS, me))
        os.setpriority(os.PRIO_PROCESS, me, niceness)
        _set_slice(niceness)


def _set_slice(niceness: int) -> None:
    """Give the calling thread the slice; an older kernel takes no notice of it."""
    number = _SETATTR.get(platform.machine())
    if number is not None and os.sched_getscheduler(0) == os.SCHED_OTHER:
        told = _ATTRIBUTES.pack(_ATTRIBUTES.size, os.SCHED_OTHER, 0, niceness, 0, SLICE_NS, 0, 0)
        ctypes.CDLL(None, use_errno=True).syscall(number, 0, ctypes.c_char_p(told), 0)
