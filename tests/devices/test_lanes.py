"""The process of a device that is ended while somebody waits for its answer."""

import subprocess
import sys

import pytest

from devices.lanes import DiedError, ProcessLane


def test_who_waits_for_a_process_that_is_being_ended_hears_that_it_was():
    """Whoever ends it closes its stream, on another thread."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.close()
        with pytest.raises(DiedError, match="was ended"):
            ProcessLane._answer(process, 60.0)
        process.kill()
