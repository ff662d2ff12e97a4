"""The durable ways in: requests on ``factor.in.>`` and bars on ``market_data.bar.*``, taken from their streams.

A bar is appended to its model, durably, and then the factor library of the model takes one step and is published.
A message is acknowledged after it was computed. When the bridge dies in between, the stream delivers it again, and the
request id, made from the message's place in its stream, keeps a write from making a second version.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from bus import dead_letters
from bus.answer_form import ACCEPT, JSON, Formed, formed, wants_arrow
from bus.answer_text import as_json, written
from bus.behind import Behind
from bus.direct import Direct
from bus.face import Face, Publish
from bus.foreseen import Foresee, Foreseen
from bus.journal import FINAL_WORD
from bus.pulled import batches
from bus.reader import Reader
from bus.requests import (
    REQUEST_ID_HEADER,
    fitting,
    problem_headers,
    read_headers,
    read_priority,
)
from bus.spool import Spool
from bus.streams import INBOUND, MARKET_DATA
from bus.subjects import BAR_PREFIX, BARS, INBOUND_PREFIX, may_reply, rejected, resolve
from contracts import tracing
from contracts.answers import Calculation
from contracts.backoff import backoff_s
from contracts.caller import Asked, asked, caller
from contracts.errors import EngineError, UnknownOperation
from contracts.events import Event, event, untoken
from contracts.operations import OPERATIONS, Operation
from contracts.requests import Request
from contracts.unexpected import unexpected
from contracts.work import Priority
from router.order import Turn

log = logging.getLogger(__name__)

ACK_WAIT_S = 30.0
MAX_DELIVER = 10
RETRY_S = (1.0, 2.0, 5.0, 10.0)
FETCH = 64
REPLY_HEADER = "factor-reply-to"
CLOSED_AT_HEADER = "factor-closed-at"
"""Of a bar that the engine made: the place in the journal of the message that ended its day."""


class Write(NamedTuple):
    """What a message writes, and by which operation."""

    operation: Operation
    named: Any


Work = Callable[[Msg, Turn | None], Awaitable[Formed]]
WriteOf = Callable[[Msg], Awaitable[Write | None]]
Committed = Callable[[str, int], Awaitable[None]]


class Inbound:
    """Takes messages from one stream and has them computed; writes in their order, which the face's client holds.

    Parameters
    ----------
    face : Face
        What computes.
    reader : Reader
        What reads the messages.
    limit : int
        Messages in work at once.
    committed : callable of (model, place), optional
        Told of every final bar that is done, with its place in the stream.
    direct : Direct, optional
        Where the events of bars go; default: the outbox.
    spool : Spool, optional
        Where answers lie that are larger than a message; without one they are not given.
    foresee : callable of (operation's name, request), optional
        Asked of a bar that is being appended, so that the library computes beside the writer; see `bus.foreseen`.

    Attributes
    ----------
    taken, done, retried, rejected, foreseen : int
        Messages; and bars whose values were there when they were durable.
    """

    def __init__(
        self,
        face: Face,
        reader: Reader,
        limit: int,
        committed: Committed | None = None,
        direct: Direct | None = None,
        spool: Spool | None = None,
        foresee: Foresee | None = None,
        is_model: Callable[[str], bool] = lambda _: False,
    ) -> None:
        self._foresee = foresee
        self._is_model = is_model
        self._spool = spool
        self._committed = committed
        self._direct = direct
        self._read: dict[str, Request] = {}
        self._face = face
        self._reader = reader
        self._limit = limit
        self._nc: Client | None = None
        self._held: dict[str, Msg] = {}
        self._behind: dict[str, int] = {}
        self.taken = 0
        self.done = 0
        self.retried = 0
        self.rejected = 0
        self.foreseen = 0

    async def run_requests(self, nc: Client, js: JetStreamContext) -> None:
        """Take requests until the connection ends: the writes of a model in their order, all else at the same time."""
        batches = _batches(nc, js, INBOUND, "factor-engine-requests", f"{INBOUND_PREFIX}>")
        await self._run(nc, batches, self._write_of, self._request)

    async def run_bars(self, nc: Client, js: JetStreamContext) -> None:
        """Take bars until the connection ends: those of a model in their order, models at the same time."""
        batches = _batches(nc, js, MARKET_DATA, "factor-engine-bars", BARS)
        await self._run(nc, batches, self._bar_of, self._append)

    async def _run(self, nc: Client, batches: AsyncIterator[list[Msg]], write_of: WriteOf, work: Work) -> None:
        self._nc = nc
        self._held.clear()
        self._read.clear()
        self._behind.clear()
        places = asyncio.Semaphore(self._limit)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep())
            async for messages in batches:
                self._held.update((msg.reply, msg) for msg in messages)
                for msg in messages:
                    await places.acquire()
                    write = await write_of(msg)
                    task = group.create_task(self._alone(msg, write, work))
                    task.add_done_callback(lambda _: places.release())

    async def _alone(self, msg: Msg, write: Write | None, work: Work) -> None:
        """Settle one message; what fails with it ends neither the others in work nor the taking of more."""
        plain = msg.subject.removeprefix(INBOUND_PREFIX)
        caller.set("feed" if plain == msg.subject else f"durable:{plain.partition('.')[0]}")
        identity = identity_of(msg)
        asked.set(Asked(identity))
        parent = (msg.headers or {}).get(tracing.HEADER, "")
        # Of a bar the last token is its model: the span's name has none.
        name = plain if plain != msg.subject else BARS
        try:
            with tracing.span(name, tracing.SERVER, parent, request_id=identity, delivery=msg.metadata.num_delivered):
                await self._in_line(msg, write, work)
        except Exception:
            log.exception("a message on %s could not be settled; it comes again", msg.subject)
            self._held.pop(msg.reply, None)

    async def _in_line(self, msg: Msg, write: Write | None, work: Work) -> None:
        """Do the work when it is the message's turn; behind one that has to come again, it comes again too."""
        if write is None:
            await self._settle(msg, work, None)
            return
        async with self._face.turn(write.operation, write.named) as turn:
            seq = msg.metadata.sequence.stream
            # One that never comes again (purged, for one) must not hold the line for ever.
            patient = msg.metadata.num_delivered < MAX_DELIVER
            if patient and seq > self._behind.get(turn.line, seq):
                await self._nak(msg)
            elif await self._settle(msg, work, turn):
                self._behind.pop(turn.line, None)
            else:
                self._behind[turn.line] = seq

    async def _keep(self) -> None:
        """Tell the stream that what was taken is being worked on, or it would give it out again."""
        while True:
            await asyncio.sleep(ACK_WAIT_S / 3)
            for msg in list(self._held.values()):
                with contextlib.suppress(NatsError):
                    await msg.in_progress()

    async def _nak(self, msg: Msg) -> None:
        """Give the message back, to come again later."""
        self._held.pop(msg.reply, None)
        self._read.pop(msg.reply, None)
        delay = backoff_s(RETRY_S, msg.metadata.num_delivered - 1)
        with contextlib.suppress(NatsError):
            await msg.nak(delay=delay)

    async def _settle(self, msg: Msg, work: Work, turn: Turn | None) -> bool:
        """Do the work and tell the stream; False when the message comes again later."""
        self.taken += 1
        try:
            answer = await work(msg, turn)
        except EngineError as error:
            return await self._refuse(msg, error)
        except Exception as error:  # noqa: BLE001  a defect of ours: the message is told of, not lost
            return await self._refuse(msg, unexpected(error, log))
        self.done += 1
        await self._reply(msg, answer, None)
        self._held.pop(msg.reply, None)
        with contextlib.suppress(NatsError):
            await msg.ack()
        return True

    async def _refuse(self, msg: Msg, error: EngineError) -> bool:
        if error.retryable and msg.metadata.num_delivered < MAX_DELIVER:
            self.retried += 1
            await self._nak(msg)
            return False
        self.rejected += 1
        problem = error.to_problem(instance=msg.subject)
        subject = rejected(msg.subject)
        try:
            assert self._nc is not None
            await dead_letters.keep(self._nc, msg, error, identity_of(msg))
        except (NatsError, TimeoutError, OSError) as lost:
            log.warning("a message on %s cannot be kept as a dead letter and comes again: %s", msg.subject, lost)
            self.rejected -= 1
            await self._nak(msg)
            return False
        data = {"subject": msg.subject, "request_id": identity_of(msg), "problem": problem}
        await self._face.broadcast(
            [
                event(
                    subject,
                    "FACTOR_REQUEST_REJECTED",
                    data,
                    priority=Priority.HIGH,
                    event_id=f"rejected-{identity_of(msg)}",
                )
            ]
        )
        await self._reply(msg, Formed(as_json(problem), JSON, {}), problem_headers(error))
        self._held.pop(msg.reply, None)
        with contextlib.suppress(NatsError):
            await msg.term()
        return True

    async def _reply(self, msg: Msg, answer: Formed, headers: dict[str, str] | None) -> None:
        """Answer to the subject that the sender named in a header, if it did: `reply` is the stream's own."""
        target = (msg.headers or {}).get(REPLY_HEADER)
        if target and may_reply(target) and self._nc is not None:
            body = answer.body
            try:
                if headers is None:
                    body, headers = await fitting(answer, msg.headers or {}, self._nc.max_payload, self._spool)
            except (
                EngineError
            ) as told:  # what was asked is done; that the answer does not fit must not look like silence
                body, headers = as_json(told.to_problem()), problem_headers(told)
            with contextlib.suppress(NatsError):
                await self._nc.publish(target, body, headers=headers)

    async def _named(self, msg: Msg, field: str) -> Any:
        """Read what a message's body names; one that cannot be read is alone and is refused when its turn comes."""
        try:
            return await self._reader.named(msg.data, field)
        except EngineError:
            return f"unreadable {msg.metadata.sequence.stream}"

    async def _write_of(self, msg: Msg) -> Write | None:
        """Read what a request writes; None for a read."""
        try:
            operation, named = resolve(msg.subject.removeprefix(INBOUND_PREFIX))
        except UnknownOperation:
            return None
        if not operation.writes:
            return None
        return Write(operation, await self._named(msg, operation.written) or named.get(operation.written))

    def _meant(self, subject: str) -> str | None:
        """Give the model of a bar that names none: the one that its subject is called by, else the default one."""
        with contextlib.suppress(EngineError):
            named = untoken(subject.removeprefix(BAR_PREFIX))
            if self._is_model(named):
                return named
        return self._face.default_model

    async def _bar_of(self, msg: Msg) -> Write | None:
        """Read which model a bar is for; None for a running bar, which commits nothing."""
        if FINAL_WORD in msg.data and await self._named(msg, "final") is False:
            return None
        operation = OPERATIONS["append_day"]
        try:
            request = self._read[msg.reply] = await self._reader.bar(msg.data, self._meant(msg.subject))
        except EngineError:  # it is refused when its turn comes
            return Write(operation, await self._named(msg, operation.written) or self._meant(msg.subject))
        return Write(operation, getattr(request, operation.written))

    async def _request(self, msg: Msg, turn: Turn | None) -> Formed:
        operation, named = resolve(msg.subject.removeprefix(INBOUND_PREFIX))
        arrow = wants_arrow((msg.headers or {}).get(ACCEPT), operation)
        priority, timeout_s, request_id = read_headers(msg.headers or {})
        request = await self._reader.request(operation, msg.data, named, {}, self._face.default_model, timeout_s)
        identity = request_id or request.request_id or identity_of(msg)
        answer = await self._face.answer(
            operation,
            request,
            priority=priority,
            timeout_s=timeout_s,
            request_id=identity,
            # A write's follows from its request id, the same as over any other way in (`bus.retell` counts on it).
            calculation_id=None if operation.writes else _digest(f"{operation.name}:{identity}"),
            turn=turn,
        )
        return await formed(operation, answer, arrow)

    async def _append(self, msg: Msg, turn: Turn | None) -> Formed:
        """Append a bar, {model_id, rows: frame}, to its model, and let the library of the model take its step."""
        if turn is None:
            return Formed(as_json({"final": False}), JSON, {})
        operation = OPERATIONS["append_day"]
        request = self._read.pop(msg.reply, None) or await self._reader.bar(msg.data, self._meant(msg.subject))
        identity = (msg.headers or {}).get(REQUEST_ID_HEADER) or identity_of(msg)
        priority = read_priority(msg.headers or {})
        model_id = getattr(request, operation.written)
        closed_at = (msg.headers or {}).get(CLOSED_AT_HEADER, "")
        # A day's end that is read again gives its bar again, which is not known by the place of its message.
        again = msg.metadata.num_delivered > 1 or bool(closed_at)
        # A bar that comes again may be what ended an actor.
        foresee = None if msg.metadata.num_delivered > 1 or self._direct is None else self._foresee
        async with Foreseen(foresee, operation.name, request) as foreseen, Behind(self._direct, again=again) as out:
            publish = None if self._direct is None else out.publish

            def named(made: Calculation) -> str:
                foreseen.stored(made)
                return _of_version("bar", model_id, made)

            answer = await self._face.answer(
                operation,
                request,
                priority=priority,
                request_id=identity,
                calculation_id=named,
                turn=turn,
                publish=publish,
            )
            told = await self._tell_foreseen(foreseen, model_id, priority, out)
            answer["factor_library"] = await self._update_library(answer, priority, identity, publish, told)
        if self._committed is not None:
            place = int(closed_at) if closed_at.isdecimal() else msg.metadata.sequence.stream
            await self._committed(answer["model_id"], place)
        return Formed(await written(answer), JSON, {})

    async def _tell_foreseen(
        self, foreseen: Foreseen, model_id: str, priority: Priority | None, out: Behind
    ) -> dict[str, Any] | None:
        """Publish the library's values where they are here already; gives what is answered of them, else None."""
        made = await foreseen.values()
        if made is None:
            return None
        operation = OPERATIONS["update_factors"]
        request = self._face.read(operation, {"model_id": model_id, "values": True})
        calculation = await self._face.tell(
            operation,
            request,
            made,
            _of_version("library", model_id, made),
            {},
            priority or Priority.parse(request.messagebus_priority),
            out.publish,
        )
        await out.all_out()  # the step, which nobody waits for any more, is not to take their processor
        self.foreseen += 1
        return {"success": True, "message": made.message, "calculation_result": calculation}

    async def _update_library(
        self,
        answer: dict[str, Any],
        priority: Priority | None,
        identity: str,
        publish: Publish | None,
        told_already: dict[str, Any] | None,
    ) -> dict[str, Any]:
        """Let the library take its step; when it cannot, the bar comes again, and its append is known by its id.

        A library that is kept takes the step at once; one that is not is waited for in the lane of long requests. Of
        values that are told already no more is said.
        """
        model_id, version = answer["model_id"], answer.get("model_version")
        try:
            for wait in (False, True):
                told = await self._face.answer(
                    OPERATIONS["update_factors"],
                    {"model_id": model_id, "values": told_already is None, "wait": wait},
                    priority=priority,
                    request_id=identity,
                    calculation_id=partial(_of_version, "library", model_id),
                    publish=publish if told_already is None else _nowhere,
                )
                if "tables" in told["calculation_result"]:
                    break
        except EngineError as error:
            detail = f"the bar is in version {version} of {model_id}, but the library did not follow: {error.detail}"
            raise type(error)(detail, field=error.field, retry_after_s=error.retry_after_s) from None
        return told_already or told


async def _nowhere(_: Sequence[Event]) -> None:
    """Publish nothing: the events are out."""


async def _batches(
    nc: Client, js: JetStreamContext, stream: str, durable: str, subject: str
) -> AsyncIterator[list[Msg]]:
    """Yield what the durable consumer has, as it comes."""
    config = ConsumerConfig(
        durable_name=durable,
        deliver_policy=DeliverPolicy.ALL,
        ack_policy=AckPolicy.EXPLICIT,
        ack_wait=ACK_WAIT_S,
        max_ack_pending=4 * FETCH,
        filter_subject=subject,
    )
    made = await js.pull_subscribe(subject, durable, stream, config)  # makes the consumer where there is none
    await made.unsubscribe()
    async with contextlib.aclosing(batches(nc, stream, durable, FETCH)) as found:
        async for messages in found:
            yield messages


def identity_of(msg: Msg) -> str:
    """Name a stored message: its place in the stream and the time when it came, so that a new stream repeats none."""
    own = (msg.headers or {}).get("Nats-Msg-Id")
    data = msg.metadata
    return f"{data.stream}-{data.sequence.stream}-{data.timestamp.timestamp():.6f}" + (f"-{own[:64]}" if own else "")


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _of_version(what: str, model_id: str, made: Calculation) -> str:
    """Name what was made of a version: whoever makes it again names it the same."""
    return _digest(f"{what}:{model_id}:{made.model_version}")
