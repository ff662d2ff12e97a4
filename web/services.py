"""What the HTTP face needs of the engine; it is filled in when the engine is there, so that /health answers before."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from actors.runtime.meter import Meter
from bus.reader import Reader
from contracts.errors import EngineError, Unavailable, first_line
from contracts.events import Event
from contracts.operations import Operation
from contracts.requests import Request
from contracts.settings import Settings
from contracts.work import Presence, Priority


class Face(Protocol):
    """Answers an operation and publishes its result; `bus.face.Face`, or a double in tests."""

    meter: Meter
    """The stages of answers that only a face sees."""

    @property
    def default_model(self) -> str | None:
        """The model that a request without one means."""
        ...

    def read(self, operation: Operation, payload: Any) -> Request:
        """Check a payload; large frames take a while."""
        ...

    async def answer(
        self,
        operation: Operation,
        payload: Mapping[str, Any] | Request,
        *,
        priority: Priority | None = None,
        timeout_s: float | None = None,
        request_id: str | None = None,
        presence: Presence | None = None,
    ) -> dict[str, Any]:
        """Give the response body, or raise an `EngineError`."""
        ...

    def outbox_trouble(self) -> Any:
        """Say why events cannot be put into the outbox, and since when; None while they can."""
        ...

    async def note_refused(self, name: str, named: Mapping[str, Any], error: EngineError) -> None:
        """Note what a door refused to somebody whom it knows."""
        ...

    async def broadcast(self, events: list[Event]) -> tuple[bool, bool]:
        """Put events that no operation made; gives (published, queued)."""
        ...


class RouterView(Protocol):
    """The part of `router.client.RouterClient` that presentation reads."""

    async def health(self) -> dict[str, Any]:
        """Give the router's view of every actor."""
        ...

    async def routing(self) -> dict[str, Any]:
        """Give the route table with its reasons."""
        ...


class Bridge(Protocol):
    """The bridge actor, seen from the HTTP face."""

    async def status(self) -> dict[str, Any]:
        """Give connection, streams and counters."""
        ...

    async def tell(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """Take what is degraded, for the health event."""
        ...

    async def feed(self, after: int | None, timeout_s: float) -> dict[str, Any]:
        """Give the events behind number `after`, or wait for one."""
        ...

    async def ask(self, what: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """Do what an operator asks of the bus, or give ``{"problem": ...}``; see `bus.operator`."""
        ...

    async def watch_value(self, watch_id: str, after: int, timeout_s: float) -> dict[str, Any]:
        """Give the newest value of a watch behind number `after`, or wait for one."""
        ...


@dataclass
class Services:
    """Everything a request handler may use.

    Parameters
    ----------
    settings
        The service's settings.
    face, client, bridge
        None until the engine is connected; `starting_because` then says why.
    feed
        Websocket subscribers now, those refused at the limit, and events that slow ones missed.
    host
        Looks at the machine: `engine.conditions.Conditions.look`; None where nobody does.
    reload_proxy
        Has HAProxy's configuration loaded again; None where there is no HAProxy.
    doors
        Requests and websockets refused for their host or origin, by code.
    reader
        Reads large bodies, in processes of its own.
    kept
        Writes in work, which may outlive their requests.
    """

    settings: Settings
    face: Face | None = None
    client: RouterView | None = None
    bridge: Bridge | None = None
    starting_because: str = "the engine is starting"
    started_at: float = field(default_factory=time.time)
    meter: Meter = field(default_factory=Meter)
    feed: dict[str, int] = field(default_factory=lambda: {"subscribers": 0, "refused": 0, "missed": 0})
    doors: dict[str, int] = field(default_factory=dict)
    host: Callable[[], dict[str, Any]] | None = None
    reload_proxy: Callable[[], Awaitable[None]] | None = None
    close: Callable[[], Awaitable[None]] | None = None
    reader: Reader = field(init=False)

    kept: set[asyncio.Task[Any]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.reader = Reader(self.settings)

    def keep(self, task: asyncio.Task[Any]) -> None:
        """Hold on to a task that may outlive its request, and look at how it ends: nobody else may."""
        self.kept.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self.kept.discard(task)
        if not task.cancelled():
            task.exception()

    def need_face(self) -> Face:
        """Give the face, or say why there is none yet."""
        if self.face is None:
            raise Unavailable(f"the engine is not connected: {self.starting_because}", retry_after_s=1.0)
        return self.face


async def within(seconds: float, call: Awaitable[dict[str, Any]] | None) -> tuple[dict[str, Any] | None, str | None]:
    """Await `call` for at most `seconds`; give its answer, or None and the reason.

    Presentation must answer while components are down, so every failure becomes a reason here.
    """
    if call is None:
        return None, "not connected"
    try:
        async with asyncio.timeout(seconds):
            return await call, None
    except TimeoutError:
        return None, f"no answer within {seconds:g} s"
    except Exception as error:  # noqa: BLE001  # whatever a dead component raises is shown as its state
        return None, first_line(error)[:200]
