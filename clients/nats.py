"""The NATS client: typed requests, durable requests, and events as they come."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import orjson
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import ConnectionClosedError, NoRespondersError
from nats.errors import Error as NatsError
from nats.js.errors import NoStreamResponseError

from clients.methods import Surface
from clients.shown import plot_frame, watched_frame
from clients.surface import ANSWER_HEADER, ANYHOW, How, TableAnswer, body_of, wait_s
from contracts.access import NatsAccess, read_access
from contracts.errors import (
    BodyTooLarge,
    DeadlineExceeded,
    EngineError,
    InternalError,
    InvalidInput,
    Unavailable,
    UnknownOperation,
)
from contracts.frames import ARROW_STREAM, encode
from contracts.identity import ENGINE_HEADER, engine_id
from contracts.live_call import TOO_LARGE
from contracts.live_requests import SINGLE, PutWatch
from contracts.operations import OPERATIONS, Operation
from contracts.requests import Request
from contracts.work import new_id

if TYPE_CHECKING:
    import polars as pl
    from matplotlib.axes import Axes

    from factors.notebook.style import Picture

ERROR_HEADER = "Nats-Service-Error-Code"
TICKS = "market_data.ticks"
DURABLE_PREFIX = "factor.in."
PARTS_HEADER, ID_HEADER, OFFSET_HEADER = "factor-parts", "factor-answer-id", "factor-answer-offset"
BYTES_HEADER, SHA256_HEADER = "factor-answer-bytes", "factor-answer-sha256"
EVENT_QUEUE = 4096


class Received(NamedTuple):
    """An event that came."""

    subject: str
    id: str
    type: str
    sequence: int | None
    data: Any
    headers: dict[str, str]


class Watched(NamedTuple):
    """Values of a watch.

    Parameters
    ----------
    sequence
        Of the watch's messages; a jump is what the watch's rate left out or a slow reader missed.
    market_time
        The newest time of a tick that is in it.
    seen
        Share of the awaited names that have a return.
    provisional
        Of a day that runs: never stored, without a version.
    replay
        The ticks are a player's.
    data
        The JSON object, or the bytes of an Arrow IPC stream.
    withheld
        Why the returns of the factors are not told yet; None when they are, or when none are watched.
    """

    watch_id: str
    sequence: int
    date: str
    market_time: str | None
    compute_ms: float
    seen: float
    provisional: bool
    replay: bool
    data: Any
    withheld: str | None = None

    def to_polars(self, part: str | None = None) -> pl.DataFrame:
        """Give `values` by name, `factor_returns` or `portfolios`; by default the first of them that is there.

        Raises
        ------
        FactorError
            The message has no such part.
        """
        return watched_frame(self.data, part)

    def plot(self, axes: Axes | None = None, part: str | None = None, column: str = "") -> Picture:
        """Draw a column of such a part as bars, by default the first.

        Raises
        ------
        FactorError
            No such part, or nothing to draw in it; without matplotlib, which the extra `report` brings.
        """
        return plot_frame(self.to_polars(part), self._line(), axes, column=column)

    def _repr_html_(self) -> str:
        from factors.notebook.table import of_frame

        return of_frame(self.to_polars(), self._line())

    def _line(self) -> str:
        kind = "provisional" if self.provisional else "final"
        return f"{self.watch_id} at {(self.market_time or self.date)[:16]}, {self.seen:.0%} seen, {kind}"


class NatsEngine(Surface):
    """A connection to the engine over NATS; use it as an asynchronous context manager.

    Parameters
    ----------
    access : NatsAccess
        The server, such as ``NatsAccess("nats://user:password@host:4222")``.
    engine_id : str, optional
        The only engine that may do the requests, where several share a server; others refuse them (`WrongEngine`).
    options
        Further options of ``nats.connect``.
    """

    def __init__(self, access: NatsAccess, engine_id: str | None = None, **options: Any) -> None:
        self.engine_id = engine_id
        self._access = access
        self._options = options
        self._nc: Client | None = None

    @staticmethod
    def of_run(run_dir: Path, role: str | None = None, **options: Any) -> NatsEngine:
        """Make a client of the embedded server of a run directory.

        Parameters
        ----------
        run_dir : Path
            The run directory.
        role : str, optional
            The peer engine that asks (``risk``, ``ml``, ...), or ``feed``: it may do what its role says. Default: the
            engine's own log-in, which may do everything.
        options
            Further options of ``nats.connect``.

        Raises
        ------
        Unavailable
            No server was started there.
        """
        access = read_access(run_dir, role)
        if access is None:
            raise Unavailable(f"no NATS server was started in {run_dir}" + (f" for {role}" if role else ""))
        return NatsEngine(access, engine_id(run_dir), **options)

    async def __aenter__(self) -> Self:
        defaults = {"max_reconnect_attempts": -1, "reconnect_time_wait": 0.25, "name": "factor-engine client"}
        self._nc = Client()
        self._access.introduce(self._nc)
        try:
            await self._nc.connect(**{**defaults, **self._options, **self._access.options()})
        except (OSError, NatsError) as error:
            await self._nc.close()
            raise Unavailable(f"NATS at {self._access.public_url} cannot be reached: {error}") from None
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._nc is not None:
            await self._nc.close()

    @property
    def connection(self) -> Client:
        """The connection itself, for what this client does not cover."""
        if self._nc is None:
            raise Unavailable("the client is not connected; use it with `async with`")
        return self._nc

    async def send(self, operation: Operation, body: dict[str, Any], how: How) -> dict[str, Any]:
        """Send a request and give the answer as it came.

        Raises
        ------
        UnknownOperation
            The operation is reached over HTTP only.
        DeadlineExceeded, Unavailable
            No answer in time; nobody answers this subject, or the connection is away.
        EngineError
            What the engine answered with.
        """
        content, _ = await self._whole(operation, body, how, {})
        answer: dict[str, Any] = orjson.loads(content)
        return answer

    async def send_for_table(self, operation: Operation, body: dict[str, Any], how: How) -> TableAnswer:
        """Do one operation and give its answer as a table, as it came."""
        content, headers = await self._whole(operation, body, how, {"Accept": ARROW_STREAM})
        if ANSWER_HEADER not in headers:
            raise InternalError("the engine answered with something else than a table")
        return TableAnswer(content, orjson.loads(headers[ANSWER_HEADER]))

    async def _whole(
        self, operation: Operation, body: dict[str, Any], how: How, headers: dict[str, str]
    ) -> tuple[bytes, Mapping[str, str]]:
        """Ask, and fetch what does not fit into one message; gives the body and the headers of its first part."""
        began = time.monotonic()
        subject = _subject(operation)
        asked = {**(self._headers(how) or {}), **headers, PARTS_HEADER: "yes"}
        first = await self._replied(subject, operation, orjson.dumps(body), asked, wait_s(how))
        found: Mapping[str, str] = first.headers or {}
        if ID_HEADER not in found:
            return first.data, found
        out = bytearray(first.data)
        n_bytes = int(found[BYTES_HEADER])
        while len(out) < n_bytes:
            left_s = max(wait_s(how) - (time.monotonic() - began), 0.001)
            place = {**(self._headers(How()) or {}), ID_HEADER: found[ID_HEADER], OFFSET_HEADER: str(len(out))}
            part = await self._replied(subject, operation, b"", place, left_s)
            if not part.data:
                raise InternalError("the engine gave less of an answer than it announced")
            out += part.data
        if hashlib.sha256(out).hexdigest() != found[SHA256_HEADER]:
            raise InternalError("the parts of an answer are not what was announced")
        return bytes(out), found

    async def _replied(
        self, subject: str, operation: Operation, content: bytes, headers: dict[str, str], limit_s: float
    ) -> Msg:
        try:
            reply = await self.connection.request(subject, content, timeout=limit_s, headers=headers)
        except NoRespondersError:
            raise Unavailable(f"no factor engine answers {subject}", retry_after_s=1.0) from None
        except TimeoutError:
            raise DeadlineExceeded(f"no reply to {operation.name} within {limit_s:g} s") from None
        except NatsError as error:
            raise Unavailable(f"NATS: {error}", retry_after_s=1.0) from None
        if reply.headers and ERROR_HEADER in reply.headers:
            raise EngineError.from_problem(orjson.loads(reply.data))
        return reply

    def _headers(self, how: How) -> dict[str, str] | None:
        out = {} if self.engine_id is None else {ENGINE_HEADER: self.engine_id}
        if how.timeout_s is not None:
            if how.timeout_s <= 0:
                raise InvalidInput("timeout_s must be above 0", field="timeout_s")
            out["factor-timeout-ms"] = f"{how.timeout_s * 1e3:.3f}"
        if how.request_id is not None:
            out["factor-request-id"] = how.request_id
        if how.priority is not None:
            out["factor-priority"] = how.priority
        return out or None

    async def send_durably(self, name: str, request: Request, how: How = ANYHOW) -> str:
        """Hand a request to the stream that keeps it until it is done; gives its id.

        The result comes as an event. Sending again with the same id within two minutes changes nothing.

        Raises
        ------
        Unavailable
            The stream did not take it (full, or the server is away); nothing was sent.
        """
        subject = _subject(OPERATIONS[name])
        identity = how.request_id or request.request_id or new_id()
        headers = {**(self._headers(how) or {}), "Nats-Msg-Id": identity, "factor-request-id": identity}
        try:
            await self.connection.jetstream().publish(
                DURABLE_PREFIX + subject, orjson.dumps(body_of(request)), headers=headers
            )
        except NoStreamResponseError:
            raise Unavailable("no stream keeps requests; was the engine ever started here?") from None
        except (NatsError, TimeoutError) as error:
            raise Unavailable(f"the request was not taken: {error}", retry_after_s=1.0) from None
        return identity

    async def send_ticks(self, frame: pl.DataFrame) -> None:
        """Send rows of the day that runs, one a name, to every model that follows their market; docs/live.md.

        Parameters
        ----------
        frame
            `symbol`, `time`, and what is known of the name: `price` and `size`, or fields of the day.

        Raises
        ------
        Unavailable
            The journal did not take it.
        """
        headers = {"Content-Type": ARROW_STREAM}
        try:
            await self.connection.jetstream().publish(TICKS, encode(frame), headers=headers)
        except (NatsError, TimeoutError) as error:
            raise Unavailable(f"the ticks were not taken: {error}", retry_after_s=1.0) from None

    @asynccontextmanager
    async def events(self, subject: str = "factor.>") -> AsyncIterator[AsyncIterator[Received]]:
        """Follow events as they are published from now on: ``async with client.events() as events``, ``async for``.

        A reader that is more than 4,096 events late misses the oldest; `Received.sequence` shows the gap.
        """
        queue: asyncio.Queue[Msg] = asyncio.Queue(EVENT_QUEUE)

        async def take(msg: Msg) -> None:
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(msg)

        subscription = await self.connection.subscribe(subject, cb=take)
        await self.connection.flush()
        try:
            yield _decoded(queue)
        finally:
            await subscription.unsubscribe()

    async def watch(self, watch: PutWatch | str, how: How = ANYHOW) -> AsyncIterator[Watched]:
        """Put a watch, or name one that is there, and follow its values: ``async for value in engine.watch(...)``.

        The first value is the last one that was published, if there is one: a reader begins with the present. A reader
        that is slow gets the newest value, and `Watched.sequence` jumps. The watch stays when the reader goes.

        Raises
        ------
        EngineError
            What is wrong with the watch.
        BodyTooLarge
            A value is over the server's largest message; over HTTP's websocket it comes whole.
        """
        watch_id = watch if isinstance(watch, str) else watch.watch_id
        newest: asyncio.Queue[Msg] = asyncio.Queue(1)

        async def take(msg: Msg) -> None:
            if not msg.data and TOO_LARGE not in (msg.headers or {}):
                return  # it asks only who listens
            if newest.full():
                newest.get_nowait()
            newest.put_nowait(msg)

        subscription = await self.connection.subscribe(f"factor.live.{watch_id}", cb=take)
        await self.connection.flush()
        try:
            if not isinstance(watch, str):
                await self.put_watch(watch, how)
            elif newest.empty():
                with contextlib.suppress(NatsError):
                    kept = await self.connection.jetstream().get_last_msg(
                        "KV_factor_live", f"$KV.factor_live.{watch_id}"
                    )
                    if kept.headers and (kept.data or TOO_LARGE in kept.headers):
                        yield _watched(kept.headers, kept.data)
            while True:
                msg = await newest.get()
                yield _watched(msg.headers or {}, msg.data)
        finally:
            # Whoever stops to listen may have closed the connection before this runs.
            with contextlib.suppress(ConnectionClosedError):
                await subscription.unsubscribe()


def _watched(headers: Mapping[str, str], body: bytes | None) -> Watched:
    def said(name: str) -> str:
        return headers.get(f"factor-{name}", "")

    if TOO_LARGE in headers:
        raise BodyTooLarge(
            f"a value of watch {said('watch-id')} has {headers[TOO_LARGE]}; ask for less of it, "
            f"or for encoding {SINGLE!r}, which is half as large as 'arrow'"
        )
    data = orjson.loads(body or b"null") if headers.get("Content-Type") == "application/json" else body
    time = said("market-time")
    return Watched(
        said("watch-id"),
        int(said("sequence") or 0),
        said("date"),
        None if time in ("", "None") else time,
        float(said("compute-ms") or "nan"),
        float(said("seen") or "nan"),
        said("provisional") == "true",
        said("replay") == "true",
        data,
        said("withheld") or None,
    )


def _subject(operation: Operation) -> str:
    if not operation.subjects:
        route = operation.routes[0]
        raise UnknownOperation(f"{operation.name} is reached over HTTP only ({route.method} {route.path})")
    return operation.subjects[0]


async def _decoded(queue: asyncio.Queue[Msg]) -> AsyncIterator[Received]:
    while True:
        msg = await queue.get()
        headers: Mapping[str, str] = msg.headers or {}
        if "ce-id" not in headers:
            continue
        number = headers.get("ce-sequence")
        data = orjson.loads(msg.data) if headers.get("Content-Type") == "application/json" else msg.data
        yield Received(
            msg.subject,
            headers["ce-id"],
            headers.get("ce-type", ""),
            int(number) if number else None,
            data,
            dict(headers),
        )
