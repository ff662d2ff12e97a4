"""What every face does with a request: check it, have it computed, shape the answer, put the event into the outbox."""

from __future__ import annotations

import hashlib
import string
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from functools import lru_cache
from typing import Any, Protocol

from actors.runtime.meter import Meter
from bus.answer_text import BLOCK, Few, TooLong, as_json, n_values, written
from bus.audit import LONGEST, Audit
from bus.outbox import OutboxError, Trouble
from bus.read_request import request_of
from contracts import tracing
from contracts.answer_table import ArrowValues
from contracts.answers import Calculation, Page
from contracts.bus_mode import BusMode, ModeFile
from contracts.caller import asked
from contracts.caller import request_id as id_asked
from contracts.errors import DeadlineExceeded, EngineError
from contracts.events import Event, event, token
from contracts.frames import ARROW_STREAM
from contracts.operations import Operation
from contracts.requests import Request
from contracts.results import ModelAnswer
from contracts.work import Presence, Priority, WorkResult, new_id
from router.order import Order, Turn

EVENT_LIMIT_BYTES = 900_000
"""A larger event goes out without its values: an external server takes 1 MiB by default, headers included."""
HOLD_S = 0.25
"""An answer waits so long for an outbox that another process has locked; its event is written later then."""
DEFAULT_PORTFOLIO = "default"
_PRIORITIES = {priority.name.lower(): priority for priority in Priority}
_VALUES = ("factor_values", "factor_exposures")
_TIMES = frozenset(("timings_ms", "calculation_time_ms", "steps"))
"""What differs when the same is made again."""

Publish = Callable[[list[Event]], Awaitable[None]]


class EventKeeper(Protocol):
    """What a face needs of an `Outbox`, this node's or the head's."""

    async def put(self, events: Sequence[Event], wait_s: float | None = None) -> bool:
        """Keep events; says whether they are durable now."""

    def look(self) -> Trouble | None:
        """Say why events cannot be kept, if they cannot."""


class FaceClient(Protocol):
    """What a face needs of the `RouterClient`."""

    order: Order

    @property
    def table(self) -> Any:
        """The route table; `default_model` and `bus` are read."""

    async def call(
        self,
        operation: str,
        request: Request,
        *,
        priority: Priority,
        timeout_s: float | None = None,
        request_id: str | None = None,
        turn: Turn | None = None,
        presence: Presence | None = None,
    ) -> WorkResult:
        """Have one operation done."""


class Face:
    """The way in and out of one process.

    Parameters
    ----------
    client : RouterClient
        Where requests go.
    outbox : EventKeeper or None
        Where events go; None when the message bus is switched off.
    connected : callable, optional
        Tells whether NATS is connected; default: what the route table says. The bridge knows it first hand.
    audit : Audit, optional
        Where writes are noted.
    mode : ModeFile, optional
        While it says off, no events are made.

    Attributes
    ----------
    meter : Meter
        The stages of answers that only a face sees: `dispatch` and `publish`.
    """

    def __init__(
        self,
        client: FaceClient,
        outbox: EventKeeper | None,
        connected: Callable[[], bool] | None = None,
        audit: Audit | None = None,
        mode: ModeFile | None = None,
    ) -> None:
        self._mode = mode
        self._client = client
        self._audit = audit
        self._outbox = outbox
        self._connected = connected or self._table_connected
        self.meter = Meter()

    def _table_connected(self) -> bool:
        return bool(self._client.table.bus.connected)

    @property
    def default_model(self) -> str | None:
        """The model that a request without one means."""
        default: str | None = self._client.table.default_model
        return default

    def turn(self, operation: Operation, named: object) -> AbstractAsyncContextManager[Turn]:
        """Wait for the turn to write what is named and hold it over all that belongs to the write."""
        return self._client.order.turn(operation.line(named))

    def read(self, operation: Operation, payload: Any) -> Request:
        """Check what the caller sent and fill in the default model.

        Large frames take a while: call this in a thread, then `answer` with the request.

        Raises
        ------
        MalformedBody, InvalidInput
            Says which field and which rows.
        """
        return request_of(operation, payload, self.default_model)

    async def answer(
        self,
        operation: Operation,
        payload: Mapping[str, Any] | Request,
        *,
        priority: Priority | None = None,
        timeout_s: float | None = None,
        request_id: str | None = None,
        calculation_id: str | Callable[[Calculation], str] | None = None,
        turn: Turn | None = None,
        publish: Publish | None = None,
        presence: Presence | None = None,
    ) -> dict[str, Any]:
        """Do one operation and give the response as a dictionary that orjson can write.

        Parameters
        ----------
        operation : Operation
            The row of the operation table.
        payload : mapping or Request
            What the caller sent, or what `read` made of it.
        priority : Priority, optional
            Default: the request's `messagebus_priority`.
        timeout_s : float, optional
            Default: the operation's.
        request_id : str, optional
            Default: the request's; a repeated one repeats a write safely.
        calculation_id : str, or callable of what was made, optional
            For work that may be done again after a crash: the same id makes the same event ids.
        turn : Turn, optional
            The turn that the caller holds for this write; see `turn`.
        publish : callable, optional
            Where the events go instead of the outbox: the caller does the same again until they are out. They are then
            the same to the byte each time, without the times that it took.
        presence : Presence, optional
            Who waits for a write, if he can go away before it is done. A read is cancelled.

        Raises
        ------
        EngineError
            Bad input, a limit, a deadline, or a component that is down.
        """
        began = time.monotonic()
        request = payload if isinstance(payload, Request) else self.read(operation, payload)
        if timeout_s is not None and timeout_s <= 0:
            raise DeadlineExceeded("the deadline passed before the request was read")
        if priority is None:
            priority = _PRIORITIES[request.messagebus_priority]
        request_id = request_id or request.request_id
        ignored = request.ignored_fields
        whose = asked.get()
        if operation.writes:
            # The actor commits under this id, so that the router may send the write again after a crash.
            request_id = request_id or id_asked() or new_id()
        if whose is not None and request_id:
            whose.id = request_id
        if operation.writes:
            request = request.model_copy(update={"request_id": request_id})
        doing = self._client.call(
            operation.name,
            request,
            priority=priority,
            timeout_s=operation.timeout_s if timeout_s is None else timeout_s,
            request_id=request_id,
            turn=turn,
            presence=presence,
        )
        if self._audit is not None and (operation.writes or operation.operator or request.keeps is not None):
            doing = self._audit.noted(operation, request, doing)
        result = await doing
        made = result.unwrap()
        if isinstance(made, Page):
            return {**made.body, "ignored_fields": list(ignored)} if ignored else dict(made.body)
        if callable(calculation_id):
            calculation_id = calculation_id(made)
        identity = calculation_id or _calculation_id(operation, request, request_id)
        left_s = (operation.timeout_s if timeout_s is None else timeout_s) - (time.monotonic() - began)
        wait_s = min(HOLD_S, max(0.0, left_s))
        if publish is None:
            calculation = await self.announce(operation, request, made, identity, result.timings_ms, priority, wait_s)
        else:
            calculation = await self.tell(operation, request, made, identity, result.timings_ms, priority, publish)
        response = {"success": True, "message": made.message, "calculation_result": calculation}
        if ignored:
            response["ignored_fields"] = list(ignored)
        if operation.result is ModelAnswer:
            response["model_id"] = _model_of(request)
            response["model_version"] = made.model_version
        timings = calculation["timings_ms"]
        stages = {"dispatch": timings.get("dispatch", 0.0) / 1e3}
        if "publish" in timings:
            stages["publish"] = timings["publish"] / 1e3
        self.meter.answered(operation.name, made.device._value_, **stages)
        return response

    async def note_refused(self, name: str, named: Mapping[str, Any], error: EngineError) -> None:
        """Note in the audit log what a door refused to somebody whom it knows."""
        if self._audit is not None:
            cut = {field: str(value)[:LONGEST] for field, value in named.items()}
            await self._audit.note_other(name, cut, outcome=error.code)

    async def announce(
        self,
        operation: Operation,
        request: Request,
        made: Calculation,
        calculation_id: str,
        timings_ms: Mapping[str, float],
        priority: Priority,
        wait_s: float | None = None,
    ) -> dict[str, Any]:
        """Put the events of what was made into the outbox; gives the `calculation_result`, which is their data too.

        A job, which makes something without a request of a caller's, tells of it by this alone. The same
        `calculation_id` makes the same events. `wait_s` is for how long an outbox that is locked is waited for, before
        they are held in memory: a process that ends then has none, so by default it waits.
        """
        calculation = _calculation(operation, made, calculation_id, timings_ms)
        if made.event and await self._publish(operation, request, calculation, priority, made, wait_s):
            return Few(calculation)
        return calculation

    async def _publish(
        self,
        operation: Operation,
        request: Request,
        calculation: dict[str, Any],
        priority: Priority,
        made: Calculation,
        wait_s: float | None,
    ) -> bool:
        """Put the events into the outbox, and note in the answer what became of them; says if it is known to be few."""
        if self._outbox is None or not operation.events or self._off:
            return False
        few = False
        connected = self._connected()
        began = time.perf_counter()
        calculation["messagebus_published"] = connected
        if not connected:
            calculation["messagebus_queued"] = True
        try:
            text, few = await event_text(request, calculation, few=made.few)
            events = events_of(operation, request, calculation, priority, text, made.tables)
            with tracing.span("outbox put"):
                durable = await self._outbox.put(events, wait_s)
            if not durable:
                calculation |= {"messagebus_published": False, "messagebus_queued": True}
        except OutboxError:
            calculation["messagebus_published"] = False
            calculation.pop("messagebus_queued", None)
        calculation["timings_ms"]["publish"] = (time.perf_counter() - began) * 1e3
        return few

    @staticmethod
    async def tell(
        operation: Operation,
        request: Request,
        made: Calculation,
        calculation_id: str,
        timings_ms: Mapping[str, float],
        priority: Priority,
        publish: Publish,
    ) -> dict[str, Any]:
        """Publish the events of what was made past the outbox; gives the `calculation_result`.

        They are the same to the byte each time that it is made, without the times that it took.
        """
        calculation = _calculation(operation, made, calculation_id, timings_ms)
        if made.event:
            began = time.perf_counter()
            calculation["messagebus_published"] = True
            same = {name: value for name, value in calculation.items() if name not in _TIMES}
            text, _ = await event_text(request, same)
            await publish(events_of(operation, request, same, priority, text, made.tables))
            calculation["timings_ms"]["publish"] = (time.perf_counter() - began) * 1e3
        return calculation

    @property
    def _off(self) -> bool:
        return self._mode is not None and self._mode.now is BusMode.OFF

    def outbox_trouble(self) -> Trouble | None:
        """Say why events cannot be put into the outbox, and since when; None while they can."""
        return self._outbox.look() if self._outbox is not None else None

    async def broadcast(self, events: list[Event]) -> tuple[bool, bool]:
        """Put events that no operation made; gives (published, queued) as the answers tell them."""
        if self._outbox is None or self._off:
            return False, False
        try:
            durable = await self._outbox.put(events, HOLD_S)
        except OutboxError:
            return False, False
        connected = self._connected() and durable
        return connected, not connected


def events_of(
    operation: Operation,
    request: Request,
    calculation: Mapping[str, Any],
    priority: Priority,
    text: bytes,
    tables: Sequence[bytes] = (),
) -> list[Event]:
    """Make the events of a result, one for each event subject of the operation; the same result gives the same ids.

    Tables of values, Arrow IPC streams, go out on the same subject before the event that announces them: who has the
    event has them all. `text` is the events' data, of `event_text`.
    """
    out = []
    for template in operation.events:
        subject = _filled(template, _tokens(template, operation, request)) if "{" in template else template
        identity = _event_id(calculation, subject)
        out += [
            event(
                subject,
                f"{operation.message_type}_VALUES",
                table,
                priority=priority,
                event_id=_event_id(calculation, f"{subject}:{number}"),
                content_type=ARROW_STREAM,
            )
            for number, table in enumerate(tables)
        ]
        out.append(event(subject, operation.message_type, text, priority=priority, event_id=identity))
    return out


async def event_text(request: Request, calculation: Mapping[str, Any], *, few: bool = False) -> tuple[bytes, bool]:
    """Write the data of a result's events as JSON; one that is too large for a message goes without its values.

    Says too whether the calculation has so few values that it can be written in one go; `few` where that is known.
    """
    data = _event_data(request, calculation)
    few = few or n_values(data, BLOCK) <= BLOCK
    try:
        if not few:
            return await written(data, most_bytes=EVENT_LIMIT_BYTES), False
        text = as_json(data)
        if len(text) <= EVENT_LIMIT_BYTES:
            return text, "values_omitted" not in data
    except TooLong:
        pass
    slim = {name: item for name, item in data.items() if name not in _VALUES}
    return await written(slim | {"values_omitted": True}), False


def _event_data(request: Request, calculation: Mapping[str, Any]) -> dict[str, Any]:
    data = {**calculation, "model_id": _model_of(request)}
    for name in _VALUES:
        if isinstance(data.get(name), ArrowValues):  # a table of any size is for who asked for it
            del data[name]
            data["values_omitted"] = True
    if hasattr(request, "portfolio_id"):
        data["portfolio_id"] = request.portfolio_id or DEFAULT_PORTFOLIO
    return data


def _event_id(calculation: Mapping[str, Any], what: str) -> str:
    return hashlib.blake2b(f"{calculation['calculation_id']}:{what}".encode(), digest_size=16).hexdigest()


def _tokens(template: str, operation: Operation, request: Request) -> tuple[str, ...]:
    """Give the names that stand in an event subject: fields of the request, or the factor type."""
    return tuple(
        operation.factor_type
        if name == "factor_type"
        else str(getattr(request, name) or (DEFAULT_PORTFOLIO if name == "portfolio_id" else ""))
        for name in fields_in(template)
    )


@lru_cache(maxsize=256)
def fields_in(template: str) -> tuple[str, ...]:
    """List the names in braces of an event subject."""
    return tuple(name for _, name, _, _ in string.Formatter().parse(template) if name)


@lru_cache(maxsize=4096)
def _filled(template: str, names: tuple[str, ...]) -> str:
    return template.format_map(dict(zip(fields_in(template), map(token, names), strict=True)))


def _calculation(
    operation: Operation, made: Calculation, calculation_id: str, timings_ms: Mapping[str, float]
) -> dict[str, Any]:
    return {
        "calculation_id": calculation_id,
        "factor_type": operation.factor_type,
        operation.values: made.values,
        "calculation_time_ms": timings_ms.get("compute", 0.0),
        "hardware_used": made.device,
        "confidence_score": made.confidence_score,
        "model_version": made.model_version,
        "messagebus_published": False,
        "timings_ms": dict(timings_ms),
        **made.details,
    }


def _model_of(request: Request) -> str | None:
    model_id: str | None = getattr(request, "model_id", None)
    return model_id


def _calculation_id(operation: Operation, request: Request, request_id: str | None) -> str:
    """Give a repeated write the id that it had, so that its event is not sent twice."""
    if operation.writes and request_id:
        text = f"{operation.name}:{getattr(request, operation.written)}:{request_id}"
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
    return new_id()
