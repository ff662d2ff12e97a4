"""Whether the day that runs has begun: one that a name or two began, by a clock that is ahead, may be put off."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from actors.live.messages import Block

WITNESSES = 3
"""Names that must have said which day it is, or that a watermark has passed: one clock may be wrong."""
HELD_MOST = 50_000
"""Blocks of an earlier day that are held meanwhile; the oldest go first."""


class Beginning:
    """What was said of the day that began, and of earlier ones, until so many names said the same.

    Parameters
    ----------
    expected : int
        Names from which ticks are awaited.

    Attributes
    ----------
    sure : bool
        The day runs, whatever is said of earlier ones.
    begun, earlier : deque of Block
        Ticks that were taken of the day, and those of days between the last one and it.
    """

    def __init__(self, expected: int) -> None:
        self.sure = False
        self.begun: deque[Block] = deque(maxlen=HELD_MOST)
        self.earlier: deque[Block] = deque(maxlen=HELD_MOST)
        self._witnesses = min(WITNESSES, max(expected, 1))

    def take(self, block: Block, taken: NDArray[np.bool_]) -> int:
        """Take notice of ticks of the day; gives how many of earlier days are refused, now that it is sure."""
        if self.sure or not taken.any():
            return 0
        self.begun.append(block.some(taken))
        return self.settle() if self._enough(self.begun) else 0

    def hold(self, block: Block, earlier: NDArray[np.bool_]) -> bool:
        """Hold ticks of an earlier day; says whether enough names have said that it is that day."""
        self.earlier.append(block.some(earlier))
        return self._enough(self.earlier)

    def settle(self) -> int:
        """Be sure of the day; gives how many ticks of earlier days were held, which are refused."""
        self.sure = True
        refused = sum(len(block.symbols) for block in self.earlier)
        self.begun.clear()
        self.earlier.clear()
        return refused

    def _enough(self, blocks: Iterable[Block]) -> bool:
        return len({symbol for block in blocks for symbol in block.symbols}) >= self._witnesses
