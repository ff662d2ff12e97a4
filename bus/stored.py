"""Messages read back from a stream, whatever whoever published them put into their headers."""

from __future__ import annotations

from email.header import Header, decode_header
from typing import Any

from nats.js import JetStreamContext
from nats.js.api import RawStreamMsg


async def stored(js: JetStreamContext, stream: str, seq: int, subject: str | None = None) -> RawStreamMsg:
    """Give a message of a stream; its headers are a dict of text, empty where it has none.

    Parameters
    ----------
    js
        The server.
    stream
        The stream's name.
    seq
        The message's number; with `subject` the first of that subject from this number on is given.
    subject
        May have wildcards.

    Raises
    ------
    NotFoundError
        There is none.
    NatsError, TimeoutError
        The stream does not answer.
    """
    found = await js.get_msg(stream, seq) if subject is None else await js.get_msg(stream, seq, subject, next=True)
    found.headers = {str(name): _text(value) for name, value in (found.headers or {}).items()}
    return found


def _text(value: Any) -> str:
    """Write a header's value: nats-py reads stored headers as those of a mail, whose text beyond ASCII is an object."""
    if not isinstance(value, Header):
        return str(value)
    parts = (part for part, _ in decode_header(value))
    return "".join(part.decode("utf-8", "replace") if isinstance(part, bytes) else part for part in parts)
