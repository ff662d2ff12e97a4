"""The bridge: one NATS connection that answers requests, takes durable work, and drains the outbox.

Connecting again is the same code as connecting: when the connection ends a new one is made, with the access read anew,
and everything subscribes again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import Any, Protocol

from nats.aio.client import Client
from nats.errors import Error as NatsError

from bus import streams
from bus.audit import Audit
from bus.condition import Condition
from bus.connection import close, connect
from bus.direct import Direct
from bus.drain import Drainer
from bus.face import Face, FaceClient
from bus.feed import Feed
from bus.health_metrics import HealthTeller
from bus.inbound import Inbound
from bus.lease import Lease
from bus.market import Market
from bus.micro import Micro
from bus.operator import Operator
from bus.outbox import Outbox
from bus.outbox_afar import kept
from bus.probe import StreamProbe
from bus.reader import Reader
from bus.requests import RequestDesk
from bus.retell import Retell
from bus.spool import Spool
from bus.subjects import HEALTH
from contracts.access import want_restart
from contracts.answers import Calculation
from contracts.backoff import backoff_s
from contracts.bus_mode import BusMode, ModeFile
from contracts.errors import EngineError, first_line
from contracts.identity import engine_id
from contracts.operations import OPERATIONS
from contracts.requests import Request
from contracts.settings import Settings
from contracts.version import VERSION
from contracts.work import State
from store import ModelStore
from store.place import store_place

log = logging.getLogger(__name__)

BACKOFF_S = (0.1, 0.25, 0.5, 1.0)
RETRY_S = 1.0
REPORT_S = 1.0
HEALTH_S = 1.0
FINISH_S = 2.0
CANCEL_AGAIN_S = 0.2
MODE_LOOK_S = 0.1
INBOUND_LIMIT = 64


class BridgeClient(FaceClient, Protocol):
    """What the bridge needs of the `RouterClient`."""

    async def report_bus(self, connected: bool) -> None:
        """Tell everybody whether the bus is connected."""

    async def health(self) -> dict[str, Any]:
        """Give the state of every actor."""

    async def live(self, packed: bytes) -> bytes:
        """Hand market data to the actor that holds the running days."""

    async def foresee(self, operation: str, request: Request) -> Calculation | None:
        """Let the factor library compute a day that is being appended."""


class Bridge:
    """Owns the node's NATS connection.

    Parameters
    ----------
    current : Settings
        Where NATS and the outbox are, limits and buffering.
    client : RouterClient
        Started.
    number : int
        Of several bridges, which one. All answer requests; what keeps an order, events among it, does the one that has
        the lease.
    """

    def __init__(self, current: Settings, client: BridgeClient, number: int = 1) -> None:
        self._current = current
        self._number = number
        self.lease = Lease(current.run_dir.resolve() / "outbox" / "bridge.lease")
        self._client = client
        self._outbox = Outbox.of(current)
        self._own_outbox = Outbox.of(current)
        self.mode = ModeFile.of(current)
        self._serving = BusMode.OFF
        self._nc: Client | None = None
        self.operator = Operator(self.mode, lambda: self._nc)
        self.face = Face(client, self._outbox, lambda: self.connected, Audit.of(current), self.mode)
        self.reader = Reader(current)
        self.spool = Spool(current.run_dir / "answers")
        self.desk = RequestDesk(
            self.face,
            self.reader,
            current.bridge_limit,
            current.subscribe_to_engines,
            self.spool,
            engine_id(current.run_dir),
            current.nats_rate,
        )
        store = ModelStore(store_place(current), current.keep_versions)
        self._retell = Retell(store, self._outbox, self.face, lambda: self.lease.held)
        self._health = HealthTeller(
            self._seen_by_router,
            lambda: {model_id: found.version for model_id, found in store.newest() if not found.deleted},
        )
        self._feed = Feed()
        self.direct = Direct(self._feed, self._outbox.note_told, self._own_outbox.has)
        self.drainer = Drainer(self._own_outbox, self._feed, current.buffer_interval_ms / 1e3, self._outbox.fresh)
        self.durable = Inbound(self.face, self.reader, INBOUND_LIMIT, spool=self.spool)
        self.market = Market(client.live, self._end_watch, current.live_pending, current.live_replay_hours)
        self.bars = Inbound(
            self.face, self.reader, INBOUND_LIMIT, self.market.final_bar, self.direct, foresee=client.foresee,
            is_model=store.has,
        )  # fmt: skip
        self._micro = Micro(self.desk.endpoints, VERSION)
        self._tasks: list[asyncio.Task[None]] = []
        self.connected = False
        self.since = time.time()
        self.connections = 0
        self.errors: Counter[str] = Counter()
        self.last_error = ""
        self._server: dict[str, Any] = {}
        self._jetstream = "not connected"
        self._covered: dict[str, str] = {}
        self._limits: dict[str, int] = {}
        folder = current.run_dir / "nats" if current.nats_url is None else None
        self.probe = StreamProbe(
            streams.NAMES,
            folder,
            lambda: want_restart(current.run_dir),
            lambda: self.drainer.errors + self.drainer.retries,
        )
        self.condition = Condition()
        self._closed = asyncio.Event()
        self._reported: bool | None = None
        self._report_now: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin connecting; returns at once, and NATS may come and go from then on."""
        await asyncio.to_thread(self.reader.start)
        self._tasks = [
            asyncio.create_task(self._always(work), name=f"bridge {work.__name__}")
            for work in (self._retell.run, self._stay_connected, self._report)
        ]

    async def stop(self) -> None:
        """Leave the requests to others, finish those in work, close the connection, and let go of the outbox."""
        await self.desk.leave(FINISH_S)
        await end(self._tasks)
        self.reader.close()
        self._outbox.close()
        self._own_outbox.close()

    async def _always(self, work: Callable[[], Awaitable[None]]) -> None:
        """Begin a work again that ended by an error nobody foresaw; a bridge may not go silent."""
        while True:
            try:
                await work()
            except Exception as error:
                log.exception("the bridge's %s failed and is started again", work.__name__)
                self.errors[type(error).__name__] += 1
            await asyncio.sleep(RETRY_S)

    # -- the connection

    async def _stay_connected(self) -> None:
        attempt = 0
        follow = asyncio.create_task(self.drainer.follow())
        try:
            while True:
                if self.mode.now is BusMode.OFF:
                    await asyncio.sleep(MODE_LOOK_S)
                    continue
                try:
                    nc = await self._connect()
                except (OSError, NatsError, TimeoutError, EngineError) as error:
                    self._note(error)
                    await asyncio.sleep(backoff_s(BACKOFF_S, attempt))
                    attempt += 1
                    continue
                attempt = 0
                follow.cancel()
                try:
                    await self._serve(nc)
                except (OSError, NatsError, TimeoutError) as error:
                    self._note(error)
                finally:
                    self._set_connected(False)
                    follow = asyncio.create_task(self.drainer.follow())
                    await close(nc)
        finally:
            follow.cancel()

    async def _connect(self) -> Client:
        self._closed.clear()
        nc, self._server = await connect(self._current, "bridge", self._on_error, self._on_end)
        return nc

    async def _serve(self, nc: Client) -> None:
        """Work over this connection until it ends."""
        self.connections += 1
        self._nc, self._serving = nc, self.mode.now
        await self.direct.start(nc)
        works: list[Callable[[Client], Awaitable[None]]] = [self._drain, self._probe_streams, self._tell_health]
        if self._serving is BusMode.FULL:
            await self.desk.start(nc)
            await self._micro.start(nc)
            works += [self._take_requests, self._take_bars, self._follow_market]
        await nc.flush()
        self._set_connected(True)
        tasks = [
            asyncio.create_task(self._lead(nc, works), name="bridge lease"),
            asyncio.create_task(self._until_changed(), name="bridge mode"),
        ]
        try:
            await self._streams(nc)
            await self._ended(nc)
        finally:
            await end(tasks)
            self._serving = BusMode.OFF

    async def _ended(self, nc: Client) -> None:
        """Wait for the end of the connection. nats-py once closed it without a word: its state is looked at too."""
        while not (self._closed.is_set() or nc.is_closed):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(RETRY_S):
                    await self._closed.wait()

    async def _lead(self, nc: Client, works: Iterable[Callable[[Client], Awaitable[None]]]) -> None:
        """Do what one bridge alone does, from when no other does it."""
        async with self.lease.hold():
            tasks = [asyncio.create_task(self._again(nc, work), name=f"bridge {work.__name__}") for work in works]
            try:
                await asyncio.wait(tasks)
            finally:
                await end(tasks)

    async def _until_changed(self) -> None:
        """End the connection when the mode is another: the next one is made for it."""
        while self.mode.now is self._serving:  # noqa: ASYNC110  another process may write the file
            await asyncio.sleep(MODE_LOOK_S)
        log.info("the message bus goes from %s to %s", self._serving, self.mode.now)
        await self.desk.leave(FINISH_S)
        self._closed.set()

    async def _streams(self, nc: Client) -> None:
        """Make the streams; without JetStream requests are answered all the same, and events wait in the outbox."""
        js = nc.jetstream()
        while not nc.is_closed:
            try:
                self._limits = await streams.ensure(js, self.probe.free_bytes())
                self._covered = await streams.covering(js)
            except (NatsError, TimeoutError) as error:
                self._jetstream = f"unavailable: {first_line(error)}"
                self._note(error)
                await asyncio.sleep(RETRY_S)
                continue
            self._jetstream = "ready"
            return

    async def _again(self, nc: Client, work: Callable[[Client], Awaitable[None]]) -> None:
        """Keep a work going while the connection lasts."""
        while not nc.is_closed:
            if self._jetstream == "ready":
                try:
                    await work(nc)
                except (NatsError, OSError, TimeoutError, ExceptionGroup) as error:
                    self._note(error)
                except Exception:
                    log.exception("the bridge's %s failed and is started again", work.__name__)
            await asyncio.sleep(0.05 if self._jetstream != "ready" else RETRY_S)

    async def _drain(self, nc: Client) -> None:
        js = nc.jetstream()
        batches = await streams.takes_batches(js)
        await self.drainer.run(nc, await streams.newest_ids(js), batches=batches)

    async def _take_requests(self, nc: Client) -> None:
        await self.durable.run_requests(nc, nc.jetstream())

    async def _take_bars(self, nc: Client) -> None:
        await self.bars.run_bars(nc, nc.jetstream())

    async def _follow_market(self, nc: Client) -> None:
        await self.market.run(nc)

    async def _end_watch(self, watch_id: str) -> None:
        await self.face.answer(OPERATIONS["delete_watch"], {"watch_id": watch_id})

    async def _probe_streams(self, nc: Client) -> None:
        await self.probe.run(nc)

    async def _on_error(self, error: Exception) -> None:
        self._note(error)

    async def _on_end(self) -> None:
        self._set_connected(False)
        self._closed.set()

    def _note(self, error: BaseException) -> None:
        name = type(error).__name__
        self.errors[name] += 1
        text = first_line(error)
        if text != self.last_error:
            log.warning("NATS: %s", text)
        self.last_error = text

    def _set_connected(self, connected: bool) -> None:
        if connected == self.connected:
            return
        self.connected = connected
        self.since = time.time()
        if connected:
            log.info("connected to NATS at %s", self._server.get("url"))
            self.last_error = ""
        else:
            self._jetstream = "not connected"
        self._reported = None
        if self._number == 1 or self.lease.held:
            self._report_now = asyncio.create_task(self._report_once())

    # -- what others are told

    async def _report_once(self) -> None:
        state = self.connected
        try:
            await self._client.report_bus(state)
        except EngineError:
            return
        self._reported = state

    async def _report(self) -> None:
        """Tell the router again what it did not hear: it may have been away."""
        while True:
            mine = self._number == 1 or self.lease.held
            if mine and (self._reported != self.connected or self._client.table.bus.connected != self.connected):
                await self._report_once()
            await asyncio.sleep(REPORT_S)

    async def _seen_by_router(self) -> dict[str, Any]:
        try:
            return await self._client.health()
        except EngineError as error:
            return {"state": State.DEGRADED.value, "degraded": [{"component": "router", "reason": first_line(error)}]}

    async def _tell_health(self, nc: Client) -> None:
        """Publish the engine's health by the second; peers that see none for a while know."""
        while not nc.is_closed:
            status = self.status()
            metrics = await self._health.collect(status, self.stats(), partial(self.condition.degraded, status=status))
            self._feed.add_event(await self._health.tell(nc, HEALTH, metrics))
            await asyncio.sleep(HEALTH_S)

    def status(self) -> dict[str, Any]:
        """Say whether and where the bridge is connected, and what waits."""
        counts = self._own_outbox.counts()
        trouble = self._outbox.look()
        healthy = self.connected and self._jetstream == "ready" and not self._covered and not self.probe.faults
        healthy = healthy or self.mode.now is BusMode.OFF
        return {
            "connected": self.connected,
            "mode": self.mode.now.value,
            "number": self._number,
            "leads": self.lease.held,
            "serving": self._serving.value,
            "since": self.since,
            "state": (State.READY if healthy else State.DEGRADED).value,
            "server": self._server,
            "jetstream": self._jetstream,
            "streams_over_request_subjects": self._covered,
            "streams_without_writes": self.probe.faults,
            "stream_limit_bytes": self._limits,
            "connections": self.connections,
            "last_error": self.last_error,
            "outbox": counts._asdict(),
            "shedding": self.market.journal.shedding,
            "outbox_trouble": trouble.reason if trouble is not None else None,
            "pid": os.getpid(),
        }

    def stats(self) -> dict[str, Any]:
        """Count what went through; delays are from sending to the stream's acknowledgement."""
        desk, drainer = self.desk, self.drainer
        return {
            "requests": desk.requests,
            "problems": desk.problems,
            "refused": desk.refused,
            "without_reply": desk.without_reply,
            "replies_lost": desk.replies_lost,
            "in_work": desk.in_work,
            "waiting": desk.waiting,
            "published": drainer.published,
            "acknowledged": drainer.acknowledged,
            "duplicates": drainer.duplicates,
            "retries": drainer.retries,
            "publish_errors": drainer.errors,
            "in_flight": drainer.in_flight,
            "delivery_ms": percentiles(drainer.delays_ms),
            "durable": _inbound(self.durable),
            "bars": {**_inbound(self.bars), "foreseen": self.bars.foreseen},
            "direct": {
                "published": self.direct.published,
                "duplicates": self.direct.duplicates,
                "repeats": self.direct.repeats,
            },
            "live": {**self.market.stats(), "lag_ms": percentiles(self.market.lags_ms)},
            "errors": dict(self.errors),
            "problems_by_code": dict(desk.problems_by_code),
            "reader": self.reader.stats(),
            "stages": self.face.meter.snapshot(),
            "outbox": self._own_outbox.counts()._asdict(),
        }

    async def keep(self, packed: bytes) -> list[dict[str, Any] | None]:
        """Put what an outpost sent into the outbox; see `bus.outbox_afar.kept`."""
        return await kept(self._outbox, packed)

    async def feed(self, after: int | None, timeout_s: float) -> dict[str, Any]:
        """Give the events after a sequence number, for websockets; see `Feed.read`."""
        return await self._feed.read(after, timeout_s)

    async def watch_value(self, watch_id: str, after: int, timeout_s: float) -> dict[str, Any]:
        """Give the newest value of a watch, for websockets; see `Market.value`."""
        return await self.market.value(watch_id, after, timeout_s)


async def end(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Cancel tasks until they have ended: nats-py uses wait_for, which before Python 3.12 can lose a cancellation."""
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=CANCEL_AGAIN_S)


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """Give p50 and p99 of what was measured lately; empty when nothing was."""
    ordered = sorted(values)
    if not ordered:
        return {}
    return {"p50": ordered[len(ordered) // 2], "p99": ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]}


def _inbound(inbound: Inbound) -> dict[str, int]:
    return {
        "taken": inbound.taken,
        "done": inbound.done,
        "retried": inbound.retried,
        "rejected": inbound.rejected,
    }
