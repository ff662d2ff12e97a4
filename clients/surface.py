"""What both clients share: how a request is to be done, and how it becomes a body and its answer a model."""

from __future__ import annotations

import abc
import asyncio
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

from clients.shown import Answer, plot_frame
from contracts.backoff import backoff_s
from contracts.errors import DeadlineExceeded, EngineError
from contracts.frames import decode
from contracts.operations import OPERATIONS, Operation
from contracts.requests import Request
from contracts.results import Result
from contracts.work import new_id

if TYPE_CHECKING:
    import polars as pl
    from matplotlib.axes import Axes

    from factors.notebook.style import Picture

R = TypeVar("R", bound=Result)


class How(NamedTuple):
    """How a request is to be done.

    Parameters
    ----------
    timeout_s : float, optional
        Deadline; default: the operation's own, and the client then waits `WAIT_S`.
    request_id : str, optional
        Repeat it to repeat a write safely.
    priority : str, optional
        low, normal, high, urgent or critical; default: the request's `messagebus_priority`.
    attempts : int
        How often the request is sent at most. It is sent again when the engine says that this helps (a full queue, a
        component that is down, another writer that was first) or cannot be reached, after the pause that it names, and
        under the same id, so that a write is done once. A passed deadline is the caller's, and ends it.
    """

    timeout_s: float | None = None
    request_id: str | None = None
    priority: str | None = None
    attempts: int = 1


class TableAnswer(NamedTuple):
    """An answer that was asked for as a table.

    Parameters
    ----------
    stream
        An Arrow IPC stream, for ``polars.read_ipc_stream`` or ``pyarrow.ipc.open_stream``.
    answer
        What the answer says beside the values; what is too long for a header is named in `left_out`.
    """

    stream: bytes
    answer: dict[str, Any]

    def to_polars(self) -> pl.DataFrame:
        """Give the table."""
        return decode(self.stream)

    def plot(self, axes: Axes | None = None, column: str = "") -> Picture:
        """Draw it: lines over dates, a heat map of a matrix, and bars of a column by name.

        Raises
        ------
        FactorError
            Nothing to draw in it; without matplotlib, which the extra `report` brings.
        """
        return plot_frame(self.to_polars(), str(self.answer.get("message") or "table"), axes, column=column)

    def _repr_html_(self) -> str:
        from factors.notebook.table import of_frame

        return of_frame(self.to_polars(), str(self.answer.get("message") or ""))


ANYHOW = How()
WAIT_S = 600.0
"""Without a deadline of the caller's the engine's own one ends the wait; this is for an engine that says nothing."""
PAUSES_S = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 10.0)
"""Between attempts when the engine names no pause; a pause that it names is kept up to the longest."""
ANSWER_HEADER = "factor-answer"
"""What an answer says beside its table."""
REPLY_GRACE_S = 0.5
"""The engine answers at the deadline, so the client waits this much longer for what it says."""


class Connection(abc.ABC):
    """What both clients share: a request is sent, again where that may help, and its answer is read.

    The methods of the operations are in `clients.methods`, which is made of the operation table.
    """

    @abc.abstractmethod
    async def send(self, operation: Operation, body: dict[str, Any], how: How) -> dict[str, Any]:
        """Do one operation and give the answer as it came."""

    @abc.abstractmethod
    async def send_for_table(self, operation: Operation, body: dict[str, Any], how: How) -> TableAnswer:
        """Do one operation and give its answer as a table, as it came."""

    async def table(self, name: str, request: Request, how: How = ANYHOW) -> TableAnswer:
        """Do one operation, by its name, and give its answer as a table; for large ones, and for data frames.

        Raises
        ------
        NotAcceptable
            The answer of this operation is no table.
        EngineError
            What the engine answered with.
        """
        return await self.send_for_table(OPERATIONS[name], body_of(request), how)

    async def ask(self, operation: Operation, request: Request, kind: type[R], how: How = ANYHOW) -> R:
        """Do one operation and give its typed answer; raises the `EngineError` that the engine answered with.

        For the operations of this version of the engine there are methods; this is for rows of another's table.
        """
        body = body_of(request)
        if how.attempts > 1 and how.request_id is None and request.request_id is None:
            how = how._replace(request_id=new_id())
        for attempt in range(how.attempts - 1):
            try:
                return _typed(kind, await self.send(operation, body, how), operation)
            except DeadlineExceeded:
                raise
            except EngineError as error:
                if not error.retryable:
                    raise
                await asyncio.sleep(min(error.retry_after_s or backoff_s(PAUSES_S, attempt), PAUSES_S[-1]))
        return _typed(kind, await self.send(operation, body, how), operation)


def _typed(kind: type[R], body: dict[str, Any], operation: Operation) -> R:
    answer = kind.model_validate(body)
    return answer.of(operation) if isinstance(answer, Answer) else answer


def body_of(request: Request) -> dict[str, Any]:
    """Give the fields that the caller set, JSON-able: a frame becomes an object of columns again."""
    fields = request.model_dump(exclude_unset=True)
    return {name: _columns(value) if isinstance(value, bytes) else value for name, value in fields.items()}


def _columns(payload: bytes) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = decode(payload).to_dict(as_series=False)
    return columns


def wait_s(how: How) -> float:
    """How long a client waits for the reply."""
    return WAIT_S if how.timeout_s is None else how.timeout_s + REPLY_GRACE_S


def as_object(body: Any) -> dict[str, Any]:
    """Take a decoded reply for the object that it is."""
    return cast("dict[str, Any]", body)
