"""Computations that end when nobody waits for them any more.

Who computes for somebody says until when (`until`); what takes long looks at it between blocks of dates or of names
(`check`, and `factors.numeric.threads.spread` by itself). Without a deadline nothing is looked at and nothing is cut.
Who learns that nobody waits any more ends the computation before its time, from any thread (`Deadline.end`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
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


class Ended(DeadlinePassed):
    """Nobody waits for the computation any more, before its time."""


class Deadline:
    """Until when somebody waits.

    Attributes
    ----------
    at : float
        Seconds since the epoch.
    ended : bool
        Whether it was brought forward because nobody waits any more.
    """

    __slots__ = ("at", "ended")

    def __init__(self, at: float) -> None:
        self.at = at
        self.ended = False

    def end(self) -> None:
        """Let the computation end at its next look; for any thread."""
        self.ended = True
        self.at = 0.0


def current() -> Deadline | None:
    """Give the deadline of the calling thread."""
    deadline: Deadline | None = getattr(_held, "deadline", None)
    return deadline


class until:  # noqa: N801  read as a word: ``with until(deadline)``
    """Compute until a deadline, or seconds since the epoch, at most; None: as long as it takes."""

    __slots__ = ("_before", "_deadline")

    def __init__(self, deadline: Deadline | float | None) -> None:
        self._deadline = Deadline(deadline) if isinstance(deadline, int | float) else deadline

    def __enter__(self) -> None:
        self._before = current()
        _held.deadline = self._deadline

    def __exit__(self, *_: object) -> None:
        _held.deadline = self._before


def check(deadline: Deadline | None = None) -> None:
    """Go on, unless the deadline has passed: the thread's own, or the one given.

    Raises
    ------
    DeadlinePassed
        It has.
    Ended
        Nobody waits any more.
    """
    limit = current() if deadline is None else deadline
    if limit is not None and time.time() > limit.at:
        if limit.ended:
            raise Ended("nobody waits for the computation any more")
        raise DeadlinePassed("the deadline passed during the computation")


def in_blocks(work: Callable[[int, int], Any], begin: int, end: int, least: int, deadline: Deadline) -> list[Any]:
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
