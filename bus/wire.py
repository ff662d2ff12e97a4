"""Events written straight into the NATS protocol, many in one write.

nats-py's ``publish`` checks and encodes nine headers with regular expressions, tens of microseconds an event; joined as
one text the same bytes cost a few. They go through nats-py's own send buffer, so flushing and back pressure are as for
``publish``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache

from nats.aio.client import Client
from nats.errors import ConnectionClosedError

from contracts.events import Event
from contracts.work import Priority

HEADER_ALLOWANCE = 8192
"""What the headers of a message of ours may take of the server's largest one."""
_SUBJECT = re.compile(r"[^\s.*>\x00-\x1f\x7f]+(\.[^\s.*>\x00-\x1f\x7f]+)*")


def hpub(event: Event, sequence: int | None, reply: str, of_unit: tuple[str, int, bool] | None = None) -> bytes:
    """Encode one publication with the headers of `Event.headers`.

    Parameters
    ----------
    of_unit : (str, int, bool), optional
        The unit that the stream stores whole or not at all: its id, the place in it from 1, and whether it ends here.

    Raises
    ------
    ValueError
        The subject is none that can be published on. The server would end the connection for it.
    """
    headers = event.headers(sequence)
    if of_unit is not None:
        headers["Nats-Batch-Id"] = of_unit[0][-64:]
        headers["Nats-Batch-Sequence"] = str(of_unit[1])
        if of_unit[2]:
            headers["Nats-Batch-Commit"] = "1"
    return publication(event.subject, headers, event.data, reply)


def unpublishable(event: Event) -> str | None:
    """Say why an event can never be sent; None when it can."""
    if not _is_subject(event.subject):
        return "its subject is none"
    try:
        Priority(event.priority)
    except ValueError as error:
        return str(error)
    return None


@lru_cache(maxsize=4096)
def _is_subject(text: str) -> bool:
    """Say whether one can publish on it; mostly the same few are asked about."""
    return _SUBJECT.fullmatch(text) is not None


def publication(subject: str, headers: Mapping[str, str], data: bytes, reply: str = "") -> bytes:
    """Encode one publication.

    Raises
    ------
    ValueError
        The subject is none that can be published on.
    """
    if not _is_subject(subject):
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
