"""Kernels of a device for tests of its process: the first shock says what goes wrong."""

import os
import sys
import time
from pathlib import Path

import numpy as np

from devices import cpu
from devices.neural_engine import OutOfRangeError

WELL, HANGS, NOT_A_NUMBER, RAISES, LEAVES, WRONG, TOO_LARGE, PRINTS = range(8)


def revalue(book_exposures, shocks):
    kind = int(shocks[0, 0])
    if kind == HANGS:
        time.sleep(600)
    if kind == LEAVES:
        os._exit(3)
    if kind == RAISES:
        raise RuntimeError("no stream in this thread")
    if kind == TOO_LARGE:
        raise OutOfRangeError("layer 1 may reach 70000")
    if kind == PRINTS:
        sys.stdout.write("a library says something\n")
        sys.stdout.flush()
    made = cpu.revalue(book_exposures, shocks)
    if kind == NOT_A_NUMBER:
        made[0, 0] = np.nan
    return made * 1.01 if kind == WRONG else made


def book_risk(*arguments):
    """What goes wrong stands in a file, since the arguments are the actor's; beside it what was begun is noted."""
    kind = WELL
    if "STAND_IN" in os.environ:
        told = Path(os.environ["STAND_IN"])
        kind = int(told.read_text())
        told.with_suffix(".begun").write_text(str(os.getpid()))
    if kind == HANGS:
        time.sleep(600)
    exposures, gradient = cpu.book_risk(*arguments)
    if kind == NOT_A_NUMBER:
        gradient[0, 0] = np.nan
    return exposures * (1 + 1e-9), gradient  # told apart from the CPU's, within every tolerance
