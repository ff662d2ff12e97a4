"""Niceness is of a thread: what computes for long steps back, what answers at once does not."""

import ctypes
import os
import platform
import sys
import threading

import pytest

from actors.runtime.niceness import (
    _ATTRIBUTES,
    _SETATTR,
    HEAVY_NICENESS,
    NICENESS,
    SLICE_NS,
    step_back,
    step_behind_light,
)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux counts niceness by thread")


def own() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


def in_a_thread(*steps):
    seen = []

    def work():
        for step in steps:
            step()
            seen.append(own())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return seen


def test_a_thread_steps_back_alone_and_never_forward():
    before = own()
    assert in_a_thread(step_behind_light, step_behind_light) == [max(HEAVY_NICENESS, before)] * 2
    assert in_a_thread(step_back, step_behind_light) == [NICENESS, NICENESS]
    assert own() == before


def slice_ns():
    """Read the calling thread's slice, as Linux 6.12 and later tell it; 0 from earlier ones."""
    told = ctypes.create_string_buffer(_ATTRIBUTES.size)
    ctypes.CDLL(None).syscall(_SETATTR[platform.machine()] + 1, 0, told, _ATTRIBUTES.size, 0)
    return _ATTRIBUTES.unpack(told.raw)[5]


@pytest.mark.skipif(platform.machine() not in _SETATTR, reason="the system call's number is not known here")
@pytest.mark.parametrize("step", [step_behind_light, step_back])
def test_a_thread_that_stepped_back_does_not_hold_up_one_that_wakes(step):
    if not slice_ns():
        pytest.skip("this kernel knows no slice of a thread")
    seen = []

    def work():
        before = slice_ns()
        step()
        # What it starts, as the threads of a library's pool, is as it is itself.
        inner = threading.Thread(target=lambda: seen.extend([slice_ns(), own()]))
        inner.start()
        inner.join()
        seen.extend([slice_ns(), before])

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen[0] == seen[2] == SLICE_NS > seen[3]
    assert seen[1] >= HEAVY_NICENESS
    assert slice_ns() == seen[3]
