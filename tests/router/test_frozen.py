"""A process that does nothing tells its stack, stuck or stopped."""

import signal
import subprocess
import sys
import time

import psutil

from router.frozen import is_stopped, kill, stack_of, works

STUCK = """
import sys, time
from router.frozen import tell_stack_on_signal
tell_stack_on_signal()
def where_it_hangs():
    print("up", flush=True)
    time.sleep(600)
where_it_hangs()
"""


BUSY_BESIDE = """
import threading
print(1, flush=True)
busy = threading.Thread(target=lambda: [0 for _ in iter(int, 1)])
busy.start()
busy.join()
"""


def until(true):
    """Wait for a condition with a deadline: what was just started or stopped takes a moment to be seen so."""
    deadline = time.monotonic() + 20.0
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_stuck_and_a_stopped_process_tell_their_stacks_and_can_be_killed(tmp_path):
    part = tmp_path / "part.err"
    with (
        part.open("wb") as log,
        subprocess.Popen([sys.executable, "-c", STUCK], stdout=subprocess.PIPE, stderr=log) as process,
    ):
        assert process.stdout is not None
        try:
            told_while_stuck_and_stopped(process, part, tmp_path)
        finally:  # or leaving the block would wait for it
            kill(process.pid)
        assert process.wait(10.0) == -signal.SIGKILL
        kill(process.pid)
        assert not psutil.pid_exists(process.pid)


def told_while_stuck_and_stopped(process, part, tmp_path):
    assert process.stdout.readline() == b"up\n"
    part.rename(tmp_path / f"worker-x-{process.pid}.err")
    assert not is_stopped(process.pid)
    until(lambda: not works(process.pid))
    assert "where_it_hangs" in stack_of(process.pid, tmp_path)
    process.send_signal(signal.SIGSTOP)
    until(lambda: is_stopped(process.pid))
    assert "where_it_hangs" in stack_of(process.pid, tmp_path)


def test_a_process_without_a_log_is_told_so(tmp_path):
    assert "no log of process 1 " in stack_of(1, tmp_path)


def test_a_process_that_computes_is_seen_at_work_though_its_main_thread_waits():
    with subprocess.Popen([sys.executable, "-c", BUSY_BESIDE], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout.readline() == b"1\n"
            until(lambda: works(process.pid))
        finally:
            process.kill()
