"""Replies to requests: those of one turn of the event loop leave in one write.

Answers that were computed in one call are ready in the same turn, so that what nats-py does for each publication
(checks, a future, a place in its flusher's queue) is done once for all of them. Who gets them together asks together
again: replies that leave one by one cost a third of the throughput. A lone one leaves at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from nats.aio.client import Client
from nats.errors import Error as NatsError

from bus.wire import publication, publish_all, publish_now

MUCH_BYTES = 2**20
"""Whoever replies while so much waits to be sent waits for it: what is not sent is memory."""
MOST_BYTES = 16 * 2**20
"""Who refuses a flood cannot wait; he replies no more while so much waits."""


class Replies:
    """Sends replies over whatever connection there is.

    Attributes
    ----------
    nc : Client or None
        The connection.
    lost : int
        Replies that could not be sent: the connection went meanwhile. The requester's own timeout tells it.
    """

    def __init__(self) -> None:
        self.nc: Client | None = None
        self.lost = 0
        self._waiting: list[bytes] = []
        self._bytes = 0
        self._sending: asyncio.Task[None] | None = None

    async def give(
        self, subject: str, body: bytes, headers: Mapping[str, str] | None = None, *, alone: bool = False
    ) -> None:
        """Send a reply at the end of this turn of the loop, or at once if it is alone; waits while much is to be sent.

        `subject` is where the server said that a request's reply goes, so it is one.
        """
        self._add(subject, body, headers, alone=alone)
        if self._bytes > MUCH_BYTES or (self.nc is not None and self.nc.pending_data_size > MUCH_BYTES):
            await self.out()

    def refuse(self, subject: str, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        """Send a refusal at the end of this turn of the loop, without waiting; none while too much waits."""
        if self._bytes > MOST_BYTES:
            self.lost += 1
        else:
            self._add(subject, body, headers)

    def _add(self, subject: str, body: bytes, headers: Mapping[str, str] | None, *, alone: bool = False) -> None:
        nc = self.nc
        if nc is None or len(body) > nc.max_payload:  # the server ends a connection for a body that is too large
            self.lost += 1
            return
        if headers is None:
            command = b"PUB %b %d\r\n%b\r\n" % (subject.encode(), len(body), body)
        else:
            command = publication(subject, headers, body)
        if alone and not self._waiting and publish_now(nc, command):
            return
        self._waiting.append(command)
        self._bytes += len(command)
        if self._sending is None:
            self._sending = asyncio.get_running_loop().create_task(self._send())

    async def _send(self) -> None:
        try:
            while self._waiting:
                commands, self._waiting, self._bytes = self._waiting, [], 0
                try:
                    assert self.nc is not None
                    await publish_all(self.nc, commands)
                except NatsError:
                    self.lost += len(commands)
        finally:
            self._sending = None

    async def out(self) -> None:
        """Wait until what was given has left for the connection."""
        if self._sending is not None:
            await asyncio.shield(self._sending)
