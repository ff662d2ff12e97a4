"""What an operator asks of the bus, by name: its mode, its dead letters, and events from a place on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js.errors import NotFoundError

from bus.dead_letters import DeadLetters
from bus.stored import stored
from bus.streams import EVENTS
from contracts.bus_mode import BusMode, ModeFile
from contracts.errors import EngineError, Unavailable, first_line

EVENTS_MOST = 500
EVENTS_BYTES = 8 * 2**20


class Operator:
    """Answers what is asked by name.

    Parameters
    ----------
    mode
        The engine's mode.
    connection
        Gives the connection to NATS, or None.
    """

    def __init__(self, mode: ModeFile, connection: Callable[[], Client | None]) -> None:
        self._mode = mode
        self._connection = connection

    async def ask(self, what: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Answer, or give ``{"problem": <problem document>}``: errors cross Ray as what they are."""
        doing: dict[str, Callable[..., Awaitable[dict[str, Any]]]] = {
            "mode": self.set_mode,
            "dead_letters": self._dead_letters,
            "dead_letter": self._dead_letter,
            "resend": self._resend,
            "events": self.events,
        }
        try:
            return await doing[what](**arguments)
        except EngineError as error:
            return {"problem": error.to_problem()}

    async def set_mode(self, mode: str) -> dict[str, Any]:
        """Change the mode; the bridge and the faces follow within moments."""
        before = self._mode.change(BusMode(mode))
        return {"mode": self._mode.now.value, "before": before.value}

    async def _dead_letters(self, after: int, limit: int) -> dict[str, Any]:
        return await DeadLetters(self._connected()).listed(after, limit)

    async def _dead_letter(self, number: int) -> dict[str, Any]:
        return await DeadLetters(self._connected()).one(number)

    async def _resend(self, number: int) -> dict[str, Any]:
        return await DeadLetters(self._connected()).resend(number)

    async def events(self, after: int, limit: int, subject: str) -> dict[str, Any]:
        """Give stored events behind a place of the stream, oldest first.

        Returns
        -------
        dict
            ``events``: rows {sequence, subject, headers, data (bytes)}; ``last``: what to ask with next; ``missed``:
            whether events behind `after` were forgotten before they were asked for.
        """
        js = self._connected().jetstream()
        rows: list[dict[str, Any]] = []
        size, last = 0, after
        try:
            state = (await js.stream_info(EVENTS)).state
            if after > state.last_seq:  # of a stream that was made anew
                after, last = 0, 0
            while len(rows) < min(limit, EVENTS_MOST) and size < EVENTS_BYTES:
                try:
                    found = await stored(js, EVENTS, last + 1, subject)
                except NotFoundError:
                    # Nothing else of this subject; a later look need not search the same again.
                    last = max(last, state.last_seq)
                    break
                last = int(found.seq or 0)
                size += len(found.data or b"")
                rows.append(
                    {
                        "sequence": last,
                        "subject": found.subject,
                        "headers": dict(found.headers or {}),
                        "data": found.data or b"",
                    }
                )
        except (NatsError, TimeoutError, OSError) as error:
            why = first_line(error) or "no answer"
            raise Unavailable(f"the stream {EVENTS} does not answer: {why}", retry_after_s=1.0) from None
        return {"events": rows, "last": last, "missed": bool(after) and after + 1 < state.first_seq}

    def _connected(self) -> Client:
        nc = self._connection()
        if nc is None or not nc.is_connected:
            off = " (the message bus is off)" if self._mode.now is BusMode.OFF else ""
            raise Unavailable(f"NATS is not connected{off}", retry_after_s=1.0)
        return nc
