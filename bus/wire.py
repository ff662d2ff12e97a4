"""Events written straight into the NATS protocol, many in one write.

nats-py's ``publish`` checks and encodes nine headers with regular expressions, tens of microseconds an event; joined as
one text the same bytes cost a few. They go through nats-py's own send buffer, so flushing and back pressure are as for
``publish``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from nats.aio.client import Client
from nats.errors import ConnectionClosedError

from contracts.events import Event

_SUBJECT = re.compile(r"[^\s.*>\x00-\x1f\x7f]+(\.[^\s.*>\x00-\x1f\x7f]+)*")


def hpub(event: Event, sequence: int, reply: str) -> bytes:
    """Encode one publication with the headers of `Event.headers`.

    Raises
    ------
    ValueError
        The subject is none that can be published on. The server would end the connection for it.
    """
    return publication(event.subject, event.headers(sequence), event.data, reply)


def publication(subject: str, headers: Mapping[str, str], data: bytes, reply: str = "") -> bytes:
    """Encode one publication.

    Raises
    ------
    ValueError
        The subject is none that can be published on.
    """
    if _SUBJECT.fullmatch(subject) is None:
        raise ValueError(f"{subject!r} is not a subject")
    text = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    if text.count("\n") != len(headers) or text.count("\r") != len(headers):
        # A line break inside a value would begin another header.
        text = "".join([f"{name}: {' '.join(value.split())}\r\n" for name, value in headers.items()])
    head = f"NATS/1.0\r\n{text}\r\n".encode()
    size = len(head)
    command = f"HPUB {subject} {reply} {size} {size + len(data)}\r\n".encode()
    return b"".join((command, head, data, b"\r\n"))


async def publish_all(nc: Client, commands: Sequence[bytes]) -> None:
    """Send encoded publications in order.

    Raises
    ------
    ConnectionClosedError
        There is no connection; nothing was sent.
    """
    if not nc.is_connected:
        raise ConnectionClosedError
    nc.stats["out_msgs"] += len(commands)
    # The client has no public way to send several at once; test_wire.py notices when these two change.
    await nc._send_command(b"".join(commands))  # noqa: SLF001
    await nc._flush_pending()  # noqa: SLF001
