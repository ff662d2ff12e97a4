"""Events that can be made again from the journal: straight into the stream, and acknowledged before the bar is.

The outbox makes durable what could not be made twice. What a bar gives can: when it is not acknowledged the bar comes
again, and gives the same events under the same ids. They go one after the other, each when the stream has the one
before it: as one unit, stored whole or not at all, two events took 20 ms instead of 0.4, as nats-server syncs units.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from bus.feed import Feed
from bus.outbox_table import MODEL_EVENTS
from bus.straight import subscribe
from bus.streams import EVENTS
from bus.wire import HEADER_ALLOWANCE, hpub, publish_all
from contracts.errors import BodyTooLarge, Unavailable, first_line
from contracts.events import Event

ACK_S = 10.0
LOOK_S = 0.02


class Direct:
    """Publishes events and waits until the stream has them all.

    Parameters
    ----------
    feed
        Gets the events too, for websockets.
    told
        Notes which versions were told; see `bus.retell`. Called beside the event loop.
    waiting
        Says whether earlier events of a subject wait in the outbox; they go first.

    Attributes
    ----------
    published, duplicates, repeats : int
        Events that the stream took; that it had; and that were not sent, as they were out before.
    """

    def __init__(
        self,
        feed: Feed,
        told: Callable[[Sequence[Event]], None] | None = None,
        waiting: Callable[[str], bool] = lambda _: False,
    ) -> None:
        self._feed = feed
        self._told = told
        self._earlier = waiting
        self._nc: Client | None = None
        self._inbox = ""
        self._waiting: dict[str, asyncio.Future[Msg]] = {}
        self._count = 0
        self.published = 0
        self.duplicates = 0
        self.repeats = 0

    async def start(self, nc: Client) -> None:
        """Work over a new connection."""
        self._nc, self._inbox = nc, nc.new_inbox()
        await subscribe(nc, f"{self._inbox}.*", self._on_ack)

    def _on_ack(self, msg: Msg) -> None:
        waiting = self._waiting.pop(msg.subject.rpartition(".")[2], None)
        if waiting is not None and not waiting.done():
            waiting.set_result(msg)

    async def publish(self, events: Sequence[Event], *, again: bool = False) -> None:
        """Put events into the stream, in their order.

        Parameters
        ----------
        again : bool
            They may be out already, longer ago than the server remembers ids: the last one is looked for.

        Raises
        ------
        Unavailable
            The stream did not take all of them; the same events may be published again.
        """
        nc = self._nc
        if nc is None or not nc.is_connected:
            raise Unavailable("NATS is not connected", retry_after_s=1.0)
        for event in events:
            if len(event.data) + HEADER_ALLOWANCE > nc.max_payload:
                raise BodyTooLarge(f"an event of {len(event.data)} bytes is over the server's {nc.max_payload}")
        if again and await self._are_out(nc, events[-1]):
            self.repeats += len(events)
            await self._note(events)
            return
        try:
            async with asyncio.timeout(ACK_S):
                for event in events:
                    while self._earlier(event.subject):  # noqa: ASYNC110  another process may have put them
                        await asyncio.sleep(LOOK_S)
                    self._count_ack(event, await self._sent(nc, event))
        except (NatsError, TimeoutError, OSError) as error:
            why = first_line(error) or "no acknowledgement"
            raise Unavailable(f"the stream did not take an event: {why}", retry_after_s=1.0) from None
        await self._note(events)

    async def _sent(self, nc: Client, event: Event) -> Msg:
        """Publish an event and give the stream's answer."""
        self._count += 1
        name = str(self._count)
        answer = self._waiting[name] = asyncio.get_running_loop().create_future()
        try:
            await publish_all(nc, [hpub(event, None, f"{self._inbox}.{name}")])
            ack: Msg = await answer
            return ack
        finally:
            self._waiting.pop(name, None)

    async def _note(self, events: Sequence[Event]) -> None:
        """Have it known that these versions were told, as the outbox does for its own."""
        if self._told is not None and any(event.subject.startswith(MODEL_EVENTS) for event in events):
            await asyncio.to_thread(self._told, events)

    def _count_ack(self, event: Event, ack: Msg) -> None:
        if (ack.headers is not None and ack.headers.get("Status") == "503") or b'"error"' in ack.data:
            raise Unavailable(f"the stream did not take {event.subject}", retry_after_s=1.0)
        self.published += 1
        if b'"duplicate"' in ack.data:
            self.duplicates += 1
        else:
            self._feed.add_event(event)

    async def _are_out(self, nc: Client, event: Event) -> bool:
        with contextlib.suppress(NatsError, TimeoutError):
            last = await nc.jetstream().get_last_msg(EVENTS, event.subject)
            return (last.headers or {}).get("Nats-Msg-Id") == event.id
        return False
