"""Events written straight into the NATS protocol, many in one write.

nats-py's ``publish`` checks and encodes nine headers with regular expressions, tens of microseconds an event; joined as
one text the same bytes cost a few. They go through nats-py's own send buffer, so flushing and back pressure are as for
``publish``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType

from nats.aio.client import Client
from nats.errors import ConnectionClosedError

from bus.subjects import SUBJECT_MOST_BYTES
from contracts.events import Event
from contracts.work import Priority

HEADER_ALLOWANCE = 8192
"""What the headers of a message of ours may take of the server's largest one."""
DIRECT_BYTES = 2**16
"""While less than this waits in the socket's own buffer, more is put there at once."""
_OWN = ("ce-id", "Nats-Msg-Id", "ce-time")
_OWN_LINES = len(_OWN) + 1
"""Those, and the sequence."""
_SUBJECT = re.compile(r"[^\s.*>\x00-\x1f\x7f]+(\.[^\s.*>\x00-\x1f\x7f]+)*")


def hpub(event: Event, sequence: int | None, reply: str, more: Mapping[str, str] = MappingProxyType({})) -> bytes:
    """Encode one publication with the headers of `Event.headers`, and more.

    Raises
    ------
    ValueError
        The subject is none that can be published on. The server would end the connection for it.
    """
    if sequence is not None:
        head = _head(event, sequence, more)
        if head is not None:
            return _command(event.subject, reply, head, event.data)
    return publication(event.subject, {**event.headers(sequence), **more}, event.data, reply)


def unpublishable(event: Event) -> str | None:
    """Say why an event can never be sent; None when it can."""
    if not _is_subject(event.subject):
        return "its subject is none"
    if len(event.subject.encode()) > SUBJECT_MOST_BYTES:
        return f"its subject has more than {SUBJECT_MOST_BYTES} bytes"
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
    _require_subject(subject)
    return _command(subject, reply, f"NATS/1.0\r\n{_lines(headers)}\r\n".encode(), data)


def _require_subject(subject: str) -> None:
    if not _is_subject(subject):
        raise ValueError(f"{subject!r} is not a subject")


def _command(subject: str, reply: str, head: bytes, data: bytes) -> bytes:
    size = len(head)
    command = f"HPUB {subject} {reply} {size} {size + len(data)}\r\n".encode()
    return b"".join((command, head, data, b"\r\n"))


def _lines(headers: Mapping[str, str]) -> str:
    text = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    if text.count("\n") != len(headers) or text.count("\r") != len(headers):
        # A line break inside a value would begin another header.
        text = "".join([f"{name}: {' '.join(value.split())}\r\n" for name, value in headers.items()])
    return text


def _head(event: Event, sequence: int, more: Mapping[str, str]) -> bytes | None:
    """Give the headers of an event of its own; None where a value would have to be mended."""
    own = f"ce-id: {event.id}\r\nNats-Msg-Id: {event.id}\r\nce-time: {event.time}\r\nce-sequence: {sequence}\r\n"
    for name, value in more.items():
        own += f"{name}: {value}\r\n"
    lines = _OWN_LINES + len(more)
    if own.count("\n") != lines or own.count("\r") != lines:
        return None
    return f"{_shared(event.subject, event.type, event.priority, event.content_type)}{own}\r\n".encode()


@lru_cache(maxsize=4096)
def _shared(subject: str, kind: str, priority: int, content_type: str) -> str:
    """Give the part of an event's headers that many events have alike.

    Raises
    ------
    ValueError
        The subject is none that can be published on.
    """
    _require_subject(subject)
    headers = Event("", subject, kind, "", priority, b"", content_type).headers()
    return "NATS/1.0\r\n" + _lines({name: value for name, value in headers.items() if name not in _OWN})


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


def publish_now(nc: Client, command: bytes) -> bool:
    """Give an encoded publication to the socket, behind all that was sent before; says whether it took it.

    It takes none while something waits to be sent, or without a connection. nats-py's own way costs two turns of the
    event loop, one for its task and one for whoever wakes it: a tenth of a millisecond where nothing else runs.
    """
    # All of this is nats-py's own; where it is another one day nothing is taken, and test_wire.py says so.
    writer = getattr(getattr(nc, "_transport", None), "_io_writer", None)
    if writer is None or not nc.is_connected or nc._pending_data_size:  # noqa: SLF001
        return False
    transport = writer.transport
    if transport.is_closing() or transport.get_write_buffer_size() > DIRECT_BYTES:
        return False
    writer.write(command)
    nc.stats["out_msgs"] += 1
    return True
