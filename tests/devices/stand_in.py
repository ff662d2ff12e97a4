"""Kernels of a device for tests of its process: the first shock says what goes wrong."""

import os
import sys
import time

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
    return cpu.book_risk(*arguments)
