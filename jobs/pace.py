"""How often a chain keeps what it carries: seldom enough that keeping it is little beside the work."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

EVERY_S = 5.0
"""A carried state is saved after so much work: what is behind it is computed again after a kill, and not written."""
SHARE = 0.05
"""Saving takes this share of the work at most: a model of 2,000 names carries 600 MB, one of many more gigabytes."""


class Pace:
    """Says when a state is due, by how long the work went on since the last one and how long that one took."""

    def __init__(self) -> None:
        self._took = 0.0
        self._began = time.monotonic()

    @property
    def due(self) -> bool:
        """Whether there was work enough since the last state, or since the beginning."""
        return time.monotonic() - self._began > max(EVERY_S, self._took / SHARE)

    @contextmanager
    def saving(self) -> Iterator[None]:
        """Note how long the saving takes that is done within; the work goes on from its end."""
        began = time.monotonic()
        yield
        self._began = time.monotonic()
        self._took = self._began - began
