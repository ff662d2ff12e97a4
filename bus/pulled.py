"""What a durable consumer has, as it comes: one request for many messages stands at the server at any time.

nats-py's own `fetch` returns when all the messages that it asked for are there, or after its time: a message that came
between two of them waited for that, up to seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

STANDS_S = 5.0
"""So long a request stands; then the server says that it ended, and the next one is made."""
GRACE_S = 1.0
NEXT = "$JS.API.CONSUMER.MSG.NEXT"
HEARTBEAT, NONE, ENDED = "100", "404", "408"


async def batches(nc: Client, stream: str, durable: str, most: int) -> AsyncGenerator[list[Msg], None]:
    """Yield the messages of a consumer that is there, those that came together as one list, until the connection ends.

    Parameters
    ----------
    most : int
        Messages that are asked for at once.

    Raises
    ------
    NatsError
        The server ended the request for another reason than its time: the consumer is gone, say.
    """
    came: asyncio.Queue[Msg] = asyncio.Queue()
    inbox = nc.new_inbox()
    subscription = await nc.subscribe(inbox, cb=came.put)
    try:
        left = 0
        while not nc.is_closed:
            if left <= 0:
                asked = {"batch": most, "expires": int(STANDS_S * 1e9)}
                await nc.publish(f"{NEXT}.{stream}.{durable}", json.dumps(asked).encode(), reply=inbox)
                left = most
            found: list[Msg] = []
            try:
                async with asyncio.timeout(STANDS_S + GRACE_S):
                    told = [await came.get()]
            except TimeoutError:  # the connection went meanwhile, and what the server would have said with it
                left = 0
                continue
            while not came.empty():
                told.append(came.get_nowait())
            why = ""
            for msg in told:
                status = _status(msg)
                if status is None:
                    found.append(msg)
                    left -= 1
                elif status != HEARTBEAT:
                    left = 0
                    if status not in (NONE, ENDED):
                        why = f"{status} {(msg.headers or {}).get('Description', '')}".strip()
            if found:
                yield found
            if why:
                raise NatsError(f"{durable} of {stream}: {why}")
    finally:
        with contextlib.suppress(NatsError):
            await subscription.unsubscribe()


def _status(msg: Msg) -> str | None:
    """Read what the server says of a request; None for a message of the stream."""
    if msg.headers is None or msg.data:
        return None
    return msg.headers.get("Status")
