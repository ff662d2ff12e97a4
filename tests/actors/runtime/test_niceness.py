"""Niceness is of a thread: what computes for long steps back, what answers at once does not."""

import os
import sys
import threading

import pytest

from actors.runtime.niceness import HEAVY_NICENESS, NICENESS, step_back, step_behind_light

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
