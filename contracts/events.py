"""What goes out on the bus: an event, its subject and its CloudEvents headers."""

from __future__ import annotations

import binascii
import datetime as dt
import re
import time
from functools import lru_cache
from typing import Any, NamedTuple

from contracts.errors import InvalidInput
from contracts.work import Priority, new_id

SOURCE = "factor-engine"
_PRIORITIES = {priority: priority.name.lower() for priority in Priority}
_ESCAPED = re.compile(rb"=(..)", re.DOTALL)


class Event(NamedTuple):
    """One message to publish. `subject` is complete; `data` is JSON-able or Arrow IPC bytes."""

    id: str
    subject: str
    type: str
    time: str
    priority: int
    data: bytes
    content_type: str = "application/json"

    def headers(self, sequence: int | None = None) -> dict[str, str]:
        """Give the CloudEvents binary-mode headers, with ``Nats-Msg-Id`` for the stream's own de-duplication."""
        out = {
            "ce-specversion": "1.0",
            "ce-id": self.id,
            "ce-source": SOURCE,
            "ce-type": self.type,
            "ce-time": self.time,
            "ce-subject": self.subject,
            "Nats-Msg-Id": self.id,
            "factor-priority": _PRIORITIES[Priority(self.priority)],
            "Content-Type": self.content_type,
        }
        if sequence is not None:
            out["ce-sequence"] = str(sequence)
        return out


def event(
    subject: str,
    kind: str,
    data: Any,
    *,
    priority: Priority = Priority.NORMAL,
    event_id: str | None = None,
    content_type: str = "application/json",
) -> Event:
    """Make an event that happens now; `data` other than bytes becomes JSON, bytes are what `content_type` says."""
    body = data if isinstance(data, bytes) else _json(data)
    return Event(event_id or new_id(), subject, kind, utc_now(), int(priority), body, content_type)


def _json(data: Any) -> bytes:
    import orjson

    return orjson.dumps(data, default=str, option=orjson.OPT_SERIALIZE_NUMPY)


def utc_now() -> str:
    """Give the time as RFC 3339 writes it, to the microsecond."""
    second, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
    return f"{_second_text(second)}.{nanoseconds // 1000:06d}Z"


@lru_cache(maxsize=2)
def _second_text(second: int) -> str:
    """Write a second; hundreds of events share one."""
    return dt.datetime.fromtimestamp(second, dt.UTC).strftime("%Y-%m-%dT%H:%M:%S")


def token(text: str) -> str:
    """Encode any text as one NATS subject token.

    Letters, digits, ``_`` and ``-`` stay; every other byte becomes ``=XX`` (hexadecimal), so ``BRK.B`` is ``BRK=2EB``.
    Empty text is ``=``.
    """
    out = "".join(c if c.isascii() and (c.isalnum() or c in "_-") else _escape(c) for c in text)
    return out or "="


def untoken(text: str) -> str:
    """Read back what `token` wrote; text without ``=XX`` is itself.

    Raises
    ------
    InvalidInput
        What stands behind a ``=`` is not hexadecimal, or the bytes are no UTF-8.
    """
    if text == "=":
        return ""
    if "=" not in text:
        return text
    try:
        return _ESCAPED.sub(lambda found: binascii.unhexlify(found[1]), text.encode()).decode()
    except ValueError:
        raise InvalidInput(
            f"{text[:100]!r} is no name: behind a '=' stand two hexadecimal digits", field="subject"
        ) from None


def _escape(char: str) -> str:
    return "".join(f"={byte:02X}" for byte in char.encode())
