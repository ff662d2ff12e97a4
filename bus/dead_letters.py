"""Dead letters: what came durably and cannot be computed, kept with the reason, to be read and sent again."""

from __future__ import annotations

import base64
import datetime as dt
import re
from typing import Any

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js.api import RawStreamMsg
from nats.js.errors import NotFoundError

from bus.stored import stored
from bus.streams import DEAD, DEAD_SUBJECT
from bus.subjects import SUBJECT_MOST_BYTES
from contracts.errors import EngineError, InvalidInput, Unavailable, UnknownLetter, first_line

SUBJECT, CODE, DETAIL, DELIVERIES, CAME = (
    "factor-dead-subject",
    "factor-dead-code",
    "factor-dead-detail",
    "factor-dead-deliveries",
    "factor-dead-came",
)
"""Headers of a letter beside those that its message had."""
CUT = "factor-dead-bytes-cut"
"""The body was so large that it could not be kept beside these headers."""
OWN = (SUBJECT, CODE, DETAIL, DELIVERIES, CAME, CUT, "Nats-Msg-Id")
_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
"""What can be a header's name; the server takes others too, which no client can send on."""
HEADERS_MOST = 4096
DETAIL_MOST = 500
LIST_MOST = 200
ANSWER_S = 5.0


async def keep(nc: Client, msg: Msg, error: EngineError, identity: str) -> None:
    """Keep a message that cannot be computed.

    Raises
    ------
    NatsError, TimeoutError
        The stream did not take it: the message has to come again.
    """
    told = {
        SUBJECT: msg.subject,
        CODE: error.code,
        DETAIL: " ".join(error.detail.split())[:DETAIL_MOST].encode("ascii", "replace").decode(),
        DELIVERIES: str(msg.metadata.num_delivered),
        CAME: msg.metadata.timestamp.isoformat(),
    }
    given = {name: value for name, value in (msg.headers or {}).items() if _kept(name)}
    data = msg.data
    beside = len(msg.subject.encode()) + sum(len(name) + len(value.encode()) for name, value in given.items())
    if len(data) + beside > nc.max_payload - HEADERS_MOST:
        data, given, told[CUT] = b"", {}, str(len(msg.data))
    headers = {**given, **told, "Nats-Msg-Id": f"dead-{identity}"}
    await nc.jetstream().publish(DEAD_SUBJECT, data, timeout=ANSWER_S, headers=headers)


def _kept(name: str) -> bool:
    """Say whether a header of a message goes along with it.

    Not the server's own (expectations, roll-up, time to live), which were about the stream that it came from, nor ours,
    which its sender would say of the letter.
    """
    return _NAME.fullmatch(name) is not None and not name.lower().startswith(("nats-", "factor-dead-"))


class DeadLetters:
    """Lists, reads, and sends again.

    Parameters
    ----------
    nc : Client
        Connected; what fails with it is `Unavailable`.
    """

    def __init__(self, nc: Client) -> None:
        self._js = nc.jetstream()

    async def listed(self, after: int = 0, limit: int = 50) -> dict[str, Any]:
        """Give the letters behind number `after`, oldest first, without their bodies.

        Returns
        -------
        dict
            ``dead_letters``: a row for each; ``count``: how many there are in all; ``last``: what to ask with next.
        """
        try:
            state = (await self._js.stream_info(DEAD)).state
            rows: list[dict[str, Any]] = []
            last = after
            while len(rows) < min(limit, LIST_MOST):
                try:
                    found = await stored(self._js, DEAD, last + 1, DEAD_SUBJECT)
                except NotFoundError:
                    break
                last = int(found.seq or 0)
                rows.append(_row(found))
        except (NatsError, TimeoutError, OSError) as error:
            raise _away(error) from None
        return {"dead_letters": rows, "count": state.messages, "last": last}

    async def one(self, number: int) -> dict[str, Any]:
        """Give a letter whole: ``headers``, and ``body`` as text, or ``body_base64`` where it is none.

        Raises
        ------
        UnknownLetter
            There is none of this number, or no longer.
        """
        found = await self._found(number)
        headers = {name: value for name, value in (found.headers or {}).items() if name not in OWN}
        data = found.data or b""
        try:
            body: dict[str, Any] = {"body": data.decode()}
        except UnicodeDecodeError:
            body = {"body_base64": base64.b64encode(data).decode()}
        return {**_row(found), "headers": headers, **body}

    async def resend(self, number: int) -> dict[str, Any]:
        """Send a letter's message again where it came from, and forget the letter when the stream has it.

        It is a new message there: it gets as many attempts as any. Two that send the same letter at once send it once.
        """
        found = await self._found(number)
        if _cut(found) is not None:
            raise InvalidInput(f"the body of dead letter {number} was too large to be kept", field="letter_id")
        subject = str((found.headers or {})[SUBJECT])
        if len(subject.encode()) > SUBJECT_MOST_BYTES:
            raise InvalidInput(f"the subject of dead letter {number} is too long to be sent again", field="letter_id")
        kept = {name: value for name, value in (found.headers or {}).items() if name not in OWN}
        came = found.time.timestamp() if found.time is not None else 0.0
        kept["Nats-Msg-Id"] = f"again-{number}-{came:.6f}"
        try:
            ack = await self._js.publish(subject, found.data or b"", timeout=ANSWER_S, headers=kept)
            await self._js.delete_msg(DEAD, number)
        except NotFoundError:
            pass
        except (NatsError, TimeoutError, OSError) as error:
            raise _away(error) from None
        return {"id": number, "subject": subject, "stream": ack.stream, "sequence": ack.seq}

    async def _found(self, number: int) -> RawStreamMsg:
        try:
            found = await stored(self._js, DEAD, number)
        except NotFoundError:
            raise UnknownLetter(f"there is no dead letter {number}", field="id") from None
        except (NatsError, TimeoutError, OSError) as error:
            raise _away(error) from None
        if found.subject != DEAD_SUBJECT:  # the probe's
            raise UnknownLetter(f"there is no dead letter {number}", field="id")
        return found


def _row(found: RawStreamMsg) -> dict[str, Any]:
    headers, cut = found.headers or {}, _cut(found)
    return {
        "id": found.seq,
        "subject": headers.get(SUBJECT),
        "code": headers.get(CODE),
        "detail": headers.get(DETAIL),
        "deliveries": int(headers.get(DELIVERIES, 0)),
        "came": headers.get(CAME),
        "time": found.time.astimezone(dt.UTC).isoformat() if found.time is not None else None,
        "bytes": len(found.data or b"") if cut is None else cut,
    }


def _cut(found: RawStreamMsg) -> int | None:
    """Give the size of a body that was not kept; a letter of before may have had the header from its sender."""
    text = (found.headers or {}).get(CUT, "")
    return int(text) if text.isdecimal() and not found.data else None


def _away(error: BaseException) -> Unavailable:
    return Unavailable(f"the stream {DEAD} does not answer: {first_line(error) or 'no answer'}", retry_after_s=1.0)
