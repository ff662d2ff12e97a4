import subprocess
import sys
import time
from collections.abc import Callable

import psutil
import pytest

from engine.processes import Known, command_of, lives

LEADER_ENDS = """
import ctypes, threading, time
threading.Thread(target=time.sleep, args=(60,)).start()
ctypes.CDLL(None).pthread_exit(0)
"""


@pytest.fixture
def sleeper():
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    yield process
    process.kill()
    process.wait()


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 60.0
    while not condition():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.01)


def until_status(process: psutil.Process, status: str) -> None:
    until(lambda: process.status() == status, status)


def test_a_process_that_runs_has_a_command_and_one_that_ended_has_none(sleeper):
    known = Known(sleeper.pid, psutil.Process(sleeper.pid).create_time(), "sleeper")
    # Linux shows no command line for a moment, after a program was found and before it begins.
    until(lambda: command_of(sleeper.pid) != "", "its command line is there")
    assert command_of(sleeper.pid).endswith("import time; time.sleep(60)")
    assert known.process() is not None
    sleeper.kill()
    until_status(psutil.Process(sleeper.pid), psutil.STATUS_ZOMBIE)
    assert command_of(sleeper.pid) is None, "a zombie"
    assert known.process() is None
    sleeper.wait()
    assert command_of(sleeper.pid) is None


@pytest.mark.skipif(sys.platform != "linux", reason="a process outlives its first thread on Linux only")
def test_a_zombie_whose_threads_go_on_still_lives_as_it_holds_its_ports():
    process = subprocess.Popen([sys.executable, "-c", LEADER_ENDS])
    try:
        found = psutil.Process(process.pid)
        until_status(found, psutil.STATUS_ZOMBIE)
        assert lives(found)
        assert command_of(process.pid) == ""
    finally:
        process.kill()
        process.wait()
