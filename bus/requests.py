"""The request desk: requests come in from NATS, many at once, and each gets an answer or a problem document."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import Mapping

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError

from bus.answer_form import ACCEPT, JSON, Formed, at_once, formed, wants_arrow
from bus.answer_text import as_json
from bus.face import Face
from bus.micro import endpoints
from bus.reader import Reader
from bus.replies import Replies
from bus.shares import Shares, connection_of
from bus.spool import HEADERS_BYTES, ID_HEADER, OFFSET_HEADER, PARTS_HEADER, Spool
from bus.straight import drain, subscribe
from bus.subjects import QUEUE_GROUP, groups, kept_subjects, resolve
from contracts import logs, tracing
from contracts.caller import Asked, asked, caller
from contracts.errors import (
    BodyTooLarge,
    DeadlineExceeded,
    EngineError,
    InvalidInput,
    QueueFull,
    RateExceeded,
    WrongEngine,
)
from contracts.identity import ENGINE_HEADER
from contracts.unexpected import unexpected
from contracts.work import Priority, new_id

log = logging.getLogger(__name__)

PRIORITY_HEADER = "factor-priority"
TIMEOUT_HEADER = "factor-timeout-ms"
REQUEST_ID_HEADER = "factor-request-id"
MAX_REQUEST_ID = 128
DAY_S = 86_400
OK = 200
PEER_SHARE = 2
"""One peer engine has at most this part of the places: a flood of its own leaves the others room."""


class RequestDesk:
    """Answers the request subjects over whatever connection there is.

    Parameters
    ----------
    face : Face
        What computes the answers.
    reader : Reader
        What reads the bodies.
    limit : int
        Requests in work at once, of one peer engine half as many; a further one is refused at once with a `QueueFull`
        problem.
    engines : sequence of str
        The peer engines whose groups are answered.
    spool : Spool
        Where answers lie that are larger than a message.
    own_id : str, optional
        This engine's id; a request that names another engine is refused.
    per_second : float
        Requests of one connection.
    """

    def __init__(
        self,
        face: Face,
        reader: Reader,
        limit: int,
        engines: tuple[str, ...],
        spool: Spool,
        own_id: str | None = None,
        per_second: float = float("inf"),
    ) -> None:
        self._own_id = own_id
        self._shares = Shares(self._begin, per_second)
        self._spool = spool
        self._face = face
        self._reader = reader
        self._limit = limit
        self._engines = engines
        self._nc: Client | None = None
        self._subscriptions: list[Subscription] = []
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._begun = 0
        self._peer_limit = max(1, limit // PEER_SHARE)
        self._of_peer: Counter[str] = Counter()
        self.endpoints = endpoints()
        self.requests = 0
        self.problems = 0
        self.problems_by_code: Counter[str] = Counter()
        self.refused = 0
        self.without_reply = 0
        self._replies = Replies()

    async def start(self, nc: Client) -> None:
        """Subscribe on a new connection; requests in work answer over it."""
        self._nc = self._replies.nc = nc
        self._subscriptions = [
            await subscribe(nc, f"{group}.*", self._take, QUEUE_GROUP)
            for group, engine in groups().items()
            if engine in self._engines
        ]

    async def leave(self, timeout_s: float) -> None:
        """Take no more, and answer what the server has sent here, over the connection as it is.

        Not `unsubscribe`: what is on its way, or waits to be taken, would be dropped, and no other bridge has it.
        """
        end = time.monotonic() + timeout_s
        subscriptions, self._subscriptions = self._subscriptions, []
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                nc = self._nc
                leaving = [] if nc is None else [drain(nc, subscription) for subscription in subscriptions]
                drained = await asyncio.gather(*leaving, return_exceptions=True)
                for failed in drained:
                    if isinstance(failed, Exception) and not isinstance(failed, NatsError):
                        raise failed
        await self.finish(end - time.monotonic())

    def _take(self, msg: Msg) -> None:
        """Start the work and return: called for one message after another, where they are read."""
        self.requests += 1
        if not msg.reply:
            self.without_reply += 1
        elif msg.reply.startswith(kept_subjects()):
            self.refused += 1
            self._count(msg.subject, 0, InvalidInput("replies do not go to such a subject", field="reply"))
            return
        peer = msg.subject.partition(".")[0]
        self._of_peer[peer] += 1
        try:
            self._check_room(peer)
            urgent = bool(msg.headers) and (msg.headers or {}).get(PRIORITY_HEADER, "").lower() == "critical"
            self._shares.come(msg, connection_of(msg.reply), urgent=urgent)
        except (QueueFull, RateExceeded) as refused:
            self._of_peer[peer] -= 1
            self.refused += 1
            self._count(msg.subject, 0, refused)
            if msg.reply:
                self._replies.refuse(msg.reply, as_json(refused.to_problem()), problem_headers(refused))

    def _check_room(self, peer: str) -> None:
        if len(self._tasks) + self._shares.waiting >= self._limit:
            raise QueueFull(f"{self._limit} requests are in work on this bridge", retry_after_s=0.1)
        if self._of_peer[peer] > self._peer_limit:
            raise QueueFull(f"{self._peer_limit} requests of {peer} are in work on this bridge", retry_after_s=0.1)

    def _begin(self, msg: Msg, came: float, connection: str) -> None:
        number = self._begun = self._begun + 1
        self._tasks[number] = asyncio.get_running_loop().create_task(self._serve(number, msg, came, connection))

    async def _serve(self, number: int, msg: Msg, came: float, connection: str) -> None:
        """Answer a request, and give its place to those that wait."""
        began = time.perf_counter_ns()
        headers: dict[str, str] | None = None
        problem: EngineError | None = None
        body = b""
        given = msg.headers or {}
        whose = Asked(given.get(REQUEST_ID_HEADER, "")[:MAX_REQUEST_ID] or new_id())
        asked.set(whose)
        trace = None
        try:
            try:
                with tracing.span(msg.subject, tracing.SERVER, given.get(tracing.HEADER, ""), request_id=whose.id):
                    trace = tracing.trace_id() if tracing.on() else None
                    body, headers = await self._told(msg, came)
            except EngineError as error:
                problem = error
            except Exception as error:  # noqa: BLE001  a defect of ours must not leave the requester waiting
                problem = unexpected(error, log)
            if problem is not None:
                body, headers = as_json(problem.to_problem()), problem_headers(problem)
            took_ns = time.perf_counter_ns() - began
            self._count(msg.subject, took_ns, problem)
            ours = problem is not None and problem.status >= tracing.OURS
            if logs.wanted(ours=ours):
                code, status = (problem.code, problem.status) if problem is not None else (None, OK)
                about = {"request_id": whose.id, "trace_id": trace, "code": code, "nats_ms": round(took_ns / 1e6, 3)}
                logs.told(msg.subject, status, ours=ours, **about)
            if msg.reply:
                await self._replies.give(msg.reply, body, headers, alone=len(self._tasks) == 1)
        finally:
            del self._tasks[number]
            self._of_peer[msg.subject.partition(".")[0]] -= 1
            self._shares.ended(connection, len(body))

    async def _told(self, msg: Msg, came: float) -> tuple[bytes, dict[str, str] | None]:
        """Give the reply, or a part of one that was given before."""
        limit = self._nc.max_payload if self._nc is not None else None
        given = msg.headers
        if given and given.get(ID_HEADER):
            offset = given.get(OFFSET_HEADER, "0")
            return await self._spool.part(given[ID_HEADER], offset, limit or 0), {OFFSET_HEADER: offset}
        operation, named = resolve(msg.subject)
        priority: Priority | None = None
        due: float | None = None
        request_id: str | None = None
        arrow = False
        if given:
            priority, timeout_s, request_id = read_headers(given)
            require_own(given, self._own_id)
            arrow = wants_arrow(given.get(ACCEPT), operation)
            due = None if timeout_s is None else came + timeout_s
        request = await self._reader.request(operation, msg.data, named, {}, self._face.default_model, _left(due))
        if operation.writes or request.keeps is not None:
            caller.set(f"nats:{msg.subject.partition('.')[0]}")
        told = await self._face.answer(
            operation, request, priority=priority, timeout_s=_left(due), request_id=request_id
        )
        answer = at_once(told, arrow) or await formed(operation, told, arrow)
        if answer.media == JSON and limit is not None and len(answer.body) <= limit:
            return answer.body, None
        return await fitting(answer, given or {}, limit, self._spool)

    def _count(self, subject: str, nanoseconds: int, problem: EngineError | None) -> None:
        endpoint = self.endpoints.get(subject) or self.endpoints[f"{subject.rpartition('.')[0]}.*"]
        endpoint.requests += 1
        endpoint.nanoseconds += nanoseconds
        if problem is not None:
            self.problems += 1
            self.problems_by_code[problem.code] += 1
            endpoint.errors += 1
            endpoint.last_error = f"{problem.status}:{problem.code}"

    @property
    def replies_lost(self) -> int:
        """Replies that could not be sent, as the connection went meanwhile."""
        return self._replies.lost

    @property
    def in_work(self) -> int:
        """Requests being computed now."""
        return len(self._tasks)

    @property
    def waiting(self) -> int:
        """Requests that wait behind others of their connection."""
        return self._shares.waiting

    async def finish(self, timeout_s: float) -> None:
        """Wait for the requests in work and those behind them; what is not done in time is cancelled."""
        end = time.monotonic() + timeout_s
        while self._tasks and (left := end - time.monotonic()) > 0:
            await asyncio.wait(self._tasks.values(), timeout=left, return_when=asyncio.FIRST_COMPLETED)
        for task in self._tasks.values():
            task.cancel()
        await self._replies.out()


def _left(due: float | None) -> float | None:
    """Seconds until a request is due; it counts from when it came.

    Raises
    ------
    DeadlineExceeded
        It is past.
    """
    if due is None:
        return None
    left = due - time.monotonic()
    if left <= 0:
        raise DeadlineExceeded("the deadline passed while the request waited on the bridge")
    return left


async def fitting(
    answer: Formed, asked: Mapping[str, str], limit: int | None, spool: Spool | None
) -> tuple[bytes, dict[str, str] | None]:
    """Give the body of a reply, or the first part of one that is over the server's limit, and its headers.

    Raises
    ------
    BodyTooLarge
        The answer is over the limit, and whoever asked did not say that it takes parts.
    """
    headers = None if answer.media == JSON else {"Content-Type": answer.media, **answer.headers}
    if limit is None or len(answer.body) + (HEADERS_BYTES if headers else 0) <= limit:
        return answer.body, headers
    if not asked.get(PARTS_HEADER) or spool is None:
        raise BodyTooLarge(
            f"the answer has {len(answer.body)} bytes, NATS takes {limit}; with the header {PARTS_HEADER}: yes it "
            "comes in parts (docs/subjects.md), over HTTP as a whole"
        )
    begun = await spool.begin(answer.body, limit)
    return begun.body, {"Content-Type": answer.media, **answer.headers, **begun.headers}


def read_headers(headers: dict[str, str]) -> tuple[Priority | None, float | None, str | None]:
    """Read priority, timeout in seconds and request id from the headers that we know.

    Raises
    ------
    InvalidInput
        An unknown priority, or a timeout that is no positive number of milliseconds.
    """
    priority = read_priority(headers)
    text = headers.get(TIMEOUT_HEADER)
    timeout_s = None
    if text:
        try:
            timeout_s = float(text) / 1e3
        except ValueError:
            timeout_s = float("nan")
        if not 0 < timeout_s < DAY_S:
            raise InvalidInput(
                f"{TIMEOUT_HEADER} must be milliseconds above 0 and below {DAY_S * 1000:,}, was {text[:100]!r}",
                field=TIMEOUT_HEADER,
            )
    request_id = headers.get(REQUEST_ID_HEADER)
    if request_id is not None and len(request_id) > MAX_REQUEST_ID:
        raise InvalidInput(f"{REQUEST_ID_HEADER} has more than {MAX_REQUEST_ID} characters", field=REQUEST_ID_HEADER)
    return priority, timeout_s, request_id


def read_priority(headers: Mapping[str, str]) -> Priority | None:
    """Read the priority from the headers; None where they have none.

    Raises
    ------
    InvalidInput
        It is no priority.
    """
    name = headers.get(PRIORITY_HEADER)
    try:
        return Priority.parse(name) if name else None
    except InvalidInput as error:
        raise InvalidInput(error.detail, field=PRIORITY_HEADER) from None


def require_own(headers: dict[str, str], own_id: str | None) -> None:
    """Refuse a request that names another engine: on a server that several share, any of them may get it.

    Raises
    ------
    WrongEngine
        Nothing of it was done.
    """
    meant = headers.get(ENGINE_HEADER)
    if meant is not None and own_id is not None and meant != own_id:
        raise WrongEngine(f"this request is for engine {meant[:64]}, and this is engine {own_id}", retry_after_s=1.0)


def problem_headers(problem: EngineError) -> dict[str, str]:
    """Give the headers of an error reply: those of a NATS micro service, and the status."""
    return {
        "Nats-Service-Error": problem.title,
        "Nats-Service-Error-Code": str(problem.status),
        "status": str(problem.status),
        "Content-Type": "application/problem+json",
    }
