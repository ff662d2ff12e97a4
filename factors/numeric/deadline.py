"""Computations that end when nobody waits for them any more.

Who computes for somebody says until when (`until`); what takes long looks at it between blocks of dates or of names
(`check`, and `factors.numeric.threads.spread` by itself). Without a deadline nothing is looked at and nothing is cut.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

BLOCK_S = 0.25
"""How long a block is meant to take: a computation goes on for about so long behind its deadline."""
FIRST_PARTS = 16
"""The first block is this part of the whole; how long it takes says how large the others may be."""
QUICK_S = 2e-3
"""A first block of less is the beginning of something short: the rest is one block."""

_held = threading.local()


class DeadlinePassed(Exception):
    """The deadline passed before the computation was done. No `FactorError`: the input may be right."""


def current() -> float | None:
    """Give the deadline of the calling thread, seconds since the epoch."""
    deadline: float | None = getattr(_held, "deadline", None)
    return deadline


@contextlib.contextmanager
def until(deadline: float | None) -> Iterator[None]:
    """Compute until `deadline`, seconds since the epoch, at most; None: as long as it takes."""
    before = current()
    _held.deadline = deadline
    try:
        yield
    finally:
        _held.deadline = before


def check(deadline: float | None = None) -> None:
    """Go on, unless the deadline has passed: the thread's own, or the one given.

    Raises
    ------
    DeadlinePassed
        It has.
    """
    limit = current() if deadline is None else deadline
    if limit is not None and time.time() > limit:
        raise DeadlinePassed("the deadline passed during the computation")


def in_blocks(work: Callable[[int, int], Any], begin: int, end: int, least: int, deadline: float) -> list[Any]:
    """Call ``work(begin, end)`` on consecutive blocks of a range and look at the deadline between them.

    Parameters
    ----------
    least : int
        No block but a last one is shorter than this.
    """
    out = []
    size = max(least, (end - begin) // FIRST_PARTS, 1)
    while begin < end:
        check(deadline)
        stop = end if end - begin - size < least else begin + size
        started = time.perf_counter()
        out.append(work(begin, stop))
        took = time.perf_counter() - started
        size = end - stop if took < QUICK_S else max(least, int((stop - begin) * BLOCK_S / took), 1)
        begin = stop
    return out
