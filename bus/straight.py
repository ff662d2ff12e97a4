"""Subscriptions whose messages are handed on where they are read, without nats-py's queue and its task.

For handlers that only note something and return: a queue between them and the socket costs as much as they do.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

_log = logging.getLogger(__name__)


class _Straight:
    """Stands where a subscription has its queue; it is always empty."""

    def __init__(self, subscription: Subscription, take: Callable[[Msg], None]) -> None:
        self._subscription = subscription
        self._take = take

    def put_nowait(self, msg: Msg) -> None:
        """Hand a message on; an error of the taker ends neither the reading nor the connection."""
        self._subscription._pending_size -= len(msg.data)  # noqa: SLF001
        try:
            self._take(msg)
        except Exception:  # noqa: BLE001
            _log.exception("a message on %s was not taken", msg.subject)

    def empty(self) -> bool:
        """Say that nothing waits."""
        return True

    def qsize(self) -> int:
        """Count what waits."""
        return 0

    async def join(self) -> None:
        """Wait for nothing."""

    async def get(self) -> Msg:
        """Wait for what never waits here."""
        msg: Msg = await asyncio.get_running_loop().create_future()
        return msg

    def task_done(self) -> None:
        """Take notice of what nobody waits for."""


async def subscribe(nc: Client, subject: str, take: Callable[[Msg], None], queue: str = "") -> Subscription:
    """Have `take` called with each message of a subject, in their order, while the connection reads.

    It must return at once: nothing else is read meanwhile.
    """

    async def early(msg: Msg) -> None:
        take(msg)

    subscription = await nc.subscribe(subject, queue, cb=early)
    # nats-py has no way to say so; test_straight.py notices when its queue is another.
    before: asyncio.Queue[Msg] = subscription._pending_queue  # noqa: SLF001
    own: Any = _Straight(subscription, take)
    subscription._pending_queue = own  # noqa: SLF001
    while not before.empty():
        own.put_nowait(before.get_nowait())
    return subscription


async def drain(nc: Client, subscription: Subscription) -> None:
    """End a subscription when all that the server sent to it was taken.

    Not nats-py's own: its PING overtakes the UNSUB that waits to be written, so that the answer comes while the server
    still sends messages here, which are then dropped.
    """
    await nc._send_unsubscribe(subscription._id)  # noqa: SLF001
    await nc._flush_pending(force_flush=True)  # noqa: SLF001
    await nc.flush()
    await subscription.unsubscribe()
