"""The events of one bar, published in their order while its library takes its step."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Self

from bus.direct import Direct
from contracts.events import Event


class Behind:
    """Publishes events one behind the other, without being waited for; all are out at the end of the block.

    Parameters
    ----------
    direct : Direct or None
        Where they go.
    again : bool
        They may be out already; see `Direct.publish`.
    """

    def __init__(self, direct: Direct | None, *, again: bool) -> None:
        self._direct = direct
        self._again = again
        self._last: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def publish(self, events: Sequence[Event]) -> None:
        """Have events published behind those before them."""
        self._last = asyncio.create_task(self._publish(self._last, events))

    async def _publish(self, before: asyncio.Task[None] | None, events: Sequence[Event]) -> None:
        if before is not None:
            await before
        assert self._direct is not None
        await self._direct.publish(events, again=self._again)

    async def all_out(self) -> None:
        """Wait until the stream has all that was published up to here; raises what keeps it from that."""
        if self._last is not None:
            await asyncio.shield(self._last)

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Wait until all are out; what keeps them from it is raised, and the bar comes again."""
        if self._last is None:
            return
        if kind is not None and issubclass(kind, asyncio.CancelledError):
            self._last.cancel()
        if kind is None:
            await self._last
        else:
            # What went wrong before is what is told; the events that are out stay out, under their ids.
            await asyncio.gather(self._last, return_exceptions=True)
