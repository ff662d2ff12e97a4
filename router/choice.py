"""Which of a workload's several actors an item goes to: a read to the one with the least of this process's work.

What other processes have sent there is not known here. Each process with a face shares its own reads out, so the sum is
shared out too. A read keeps an actor busy in one of two lanes; both count, as they share an interpreter.
A write goes to the writer of its model, whether that is there or not.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Collection, Sequence

import ray

from router.link import Links
from router.table import FAULTED, Copy

AWAY_S = 1.0
"""An actor that lost a read is left alone so long, or it would attract all others, as nothing waits for it."""
MOST_LOST = 2
"""Actors that may go while they have one read; then it waits for the last of them, whose notes tell what it did."""


def writer_of(copies: Sequence[Copy], line: str) -> Copy:
    """Give the one of several writers that has a line of writes (`Operation.line`): always and everywhere the same."""
    return copies[zlib.crc32(line.encode(errors="surrogatepass")) % len(copies)]


class Choice:
    """Chooses among the copies that a route lists.

    Parameters
    ----------
    links
        This process's links, which know what waits.
    here
        The node of this process; default: as Ray says.
    """

    def __init__(self, links: Links, here: str | None = None) -> None:
        self._links = links
        self._here = here
        self._turn = 0
        self._away: dict[str, float] = {}

    def best(self, copies: Sequence[Copy], lost: Collection[str] = ()) -> Copy | None:
        """Give the READY copy with the least work: of equals one of this node, of those each in its turn.

        Those that lost a read just now, and those that `lost` names, come last. None where none is READY.
        """
        if self._away:
            now = time.monotonic()
            self._away = {name: until for name, until in self._away.items() if until > now}
        if self._here is None:
            self._here = str(ray.get_runtime_context().get_node_id())
        self._turn += 1
        n_copies = len(copies)
        best: Copy | None = None
        best_rank = (True, 0, True)
        for place in range(self._turn, self._turn + n_copies):
            copy = copies[place % n_copies]
            if copy.direct:
                shunned = copy.name in self._away or copy.name in lost
                rank = (shunned, self._links.load(copy.name), copy.node_id != self._here)
                if best is None or rank < best_rank:
                    best, best_rank = copy, rank
        return best

    def again(self, copies: Sequence[Copy], lost: Sequence[str]) -> Copy:
        """Give the copy for a read that was lost with others; where none is READY, one that may say why.

        It goes to another at first. A read that was lost with `MOST_LOST` may be what ends them: it waits for the last,
        unless that is not to come again, so that it ends no more of them.
        """
        if len(lost) >= MOST_LOST:
            for copy in copies:
                if copy.name == lost[-1] and copy.state != FAULTED:
                    return copy
        return self.best(copies, lost) or next((copy for copy in copies if copy.handle is not None), copies[0])

    def lost(self, name: str) -> None:
        """Take in that an actor did not answer."""
        self._away[name] = time.monotonic() + AWAY_S
