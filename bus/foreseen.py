"""What the library says of a bar while the writer makes it durable: kept until it is known what was stored.

The values of a bar are then in the bridge when its version is there. Only what was stored to the bit as it came is
told from here; all else is asked for as without this.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import Self

from contracts.answers import Calculation
from contracts.requests import Request

log = logging.getLogger(__name__)

Foresee = Callable[[str, Request], Awaitable[Calculation | None]]


class Foreseen:
    """One bar's.

    Parameters
    ----------
    foresee : callable of (operation's name, request), optional
        Asks the library; nothing is foreseen without it.
    operation : str
        The write that the bar is.
    request : Request
    """

    def __init__(self, foresee: Foresee | None, operation: str, request: Request) -> None:
        self._foresee = foresee
        self._about = operation, request
        self._asked: asyncio.Task[Calculation | None] | None = None
        self._stored: Calculation | None = None

    async def __aenter__(self) -> Self:
        if self._foresee is not None:
            # A task begins when this one waits: behind the writer's own request.
            self._asked = asyncio.create_task(self._ask(self._foresee), name="foreseen values")
        return self

    async def _ask(self, foresee: Foresee) -> Calculation | None:
        try:
            return await foresee(*self._about)
        except Exception:  # a hint only: what is wrong with the day is told by who appends it
            log.exception("a day could not be foreseen")
            return None

    async def __aexit__(self, *_: object) -> None:
        """Let go of it; a bar whose append failed has no values."""
        if self._asked is not None and not self._asked.done():
            self._asked.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._asked

    def stored(self, made: Calculation) -> None:
        """Take what the writer made of the bar."""
        self._stored = made

    async def values(self) -> Calculation | None:
        """Give what the library said if the day that is stored is the one that it meant, else None.

        It is waited for: the library computes the day under a lock, so nobody would have its values sooner.
        """
        if self._asked is None or self._stored is None or not self._stored.day:
            return None
        found = await self._asked
        if found is None or found.day != self._stored.day or found.model_version != self._stored.model_version:
            return None
        return found
