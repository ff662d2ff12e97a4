"""The running day on the bus: market data goes to the actor that holds it in one call, values come back and go out.

While a call is in flight what comes waits, and leaves together as the next one. Values are core NATS: nothing queues
behind a slow subscriber, and the newest is kept in a bucket for who comes later.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.api import ConsumerConfig, DeliverPolicy, StorageType

from bus.journal import BEHIND, Journal, beginning
from bus.line import Line
from bus.streams import MARKET_DATA
from bus.subjects import LIVE_PREFIX
from bus.wire import HEADER_ALLOWANCE, publication, publish_all
from contracts.backoff import backoff_s
from contracts.errors import EngineError, first_line
from contracts.events import token
from contracts.live_call import TOO_LARGE, Answered, MarketData, Told, WatchValue, pack, unpack_answer

log = logging.getLogger(__name__)

BUCKET = "factor_live"
SINCE = "_since"
"""The bucket's keys ``_since.<model>``: the place of a model's last final bar in the journal."""
BUCKET_BYTES = 256 * 2**20
KEEP_EVERY_S = 1.0
"""The last value of a watch is put into the bucket so often at most, and when no other follows."""
ASK_EVERY_S = 10.0
"""So often a value asks, by a reply subject, whether anybody listens: the server answers when nobody does."""
ASKS = 4
"""So often within the time after which it ends a watch that has no values to send asks, likewise."""
WAITING = {"factor-state": "waiting"}
"""The headers of such a message, without a body, where there was no value yet; else it is the newest one again."""
RETRY_S = (0.05, 0.1, 0.2, 0.5)
IDLE_S = 2.0
"""Where the actor has no line to this machine: while no market data comes, a call without any so often. A watch put
meanwhile begins, the first one too, and an actor that began anew is noticed; a line tells of both by itself."""
HOLD_MOST_S = 0.25
"""How long market data waits that gives no values yet: so far behind are the counts of a running day, no value is."""

Call = Callable[[bytes], Awaitable[bytes]]
End = Callable[[str], Awaitable[object]]


class Market:
    """Hands the journal on, and publishes what comes back.

    Parameters
    ----------
    call : callable
        One Ray call to the actor; raises `EngineError` while it is away.
    end : callable
        Ends a watch to which nobody listens.
    limit : int
        Messages that may wait.
    replay_hours : float
        How far back a running day is taken up at most.

    Attributes
    ----------
    calls, values, too_large, lost, told : int
        Calls, values published and those of them that went without their body, calls that were made again, and messages
        put into streams: ends of days, corrections.
    lags_ms : deque
        From the first message of a call that was taken in to its values being sent.
    """

    def __init__(self, call: Call, end: End, limit: int, replay_hours: float) -> None:
        self.journal = Journal(limit)
        self.newest: dict[str, tuple[int, WatchValue]] = {}
        self.calls = 0
        self.values = 0
        self.lost = 0
        self.too_large = 0
        self.ended = 0
        self.told = 0
        self.lags_ms: deque[float] = deque(maxlen=2048)
        self.state = "not connected"
        self._call = call
        self._end = end
        self._hours = replay_hours
        self._news = asyncio.Event()
        self._count = 0
        self._to_keep: dict[str, WatchValue | None] = {}
        self._keep_poke = asyncio.Event()
        self._asked: dict[str, float] = {}
        self._refused: set[str] = set()
        self._unheard: dict[str, float] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._idle_s: dict[str, float] = {}
        self._inbox = ""
        self._js: JetStreamContext | None = None
        self._line: Line | None = None

    async def run(self, nc: Client) -> None:
        """Work over a connection until it ends."""
        js = self._js = nc.jetstream()
        await self._bucket(js)
        inbox = nc.new_inbox()
        self._inbox = inbox
        unheard = await nc.subscribe(f"{inbox}.*", cb=self._nobody)
        keeping = asyncio.create_task(self._keep(nc, js), name="last values of watches")
        asking = asyncio.create_task(self._ask_quiet(nc), name="listeners of quiet watches")
        try:
            attempt = 0
            while not nc.is_closed:
                try:
                    await self._follow(nc, js)
                    attempt = 0
                except EngineError as error:
                    self.state = f"waits: {first_line(error)}"
                    self.lost += 1
                    await asyncio.sleep(backoff_s(RETRY_S, attempt))
                    attempt += 1
        finally:
            self.state = "not connected"
            keeping.cancel()
            asking.cancel()
            with contextlib.suppress(Exception):
                await unheard.unsubscribe()

    async def _follow(self, nc: Client, js: JetStreamContext) -> None:
        """Ask up to where the live state has the journal, and read on from there until something is missed."""
        created = (await js.stream_info(MARKET_DATA)).created
        stream = f"{MARKET_DATA} {created}"
        known = await self._ask(MarketData(stream, -1, 0, []))
        await self._connect(known.line)
        first = known.taken + 1 if known.taken else 0
        if first:
            config = ConsumerConfig(deliver_policy=DeliverPolicy.BY_START_SEQUENCE, opt_start_seq=first)
        else:
            config = beginning(await self._since(js, known.models), self._hours)
        stop = await self.journal.follow(nc, js, config, first)
        self.state = "following"
        if self._line is not None:
            self.journal.hurry()  # what the actor told meanwhile was not heard
        again_in_s, hold_until = known.again_in_s, 0.0
        try:
            while not nc.is_closed:
                await self._wait(again_in_s)
                await self._hold(hold_until)
                began = time.perf_counter()
                answer = await self._ask(self.journal.batch(stream))
                await self._publish(nc, answer)
                if answer.told:
                    self._spawn(self._tell(js, answer.told))
                if answer.values:
                    self.lags_ms.append((time.perf_counter() - began) * 1e3)
                again_in_s = answer.again_in_s
                hold_until = time.monotonic() + min(answer.hold_s, HOLD_MOST_S)
                if answer.again_from is not None:
                    return
        finally:
            self._hang_up()
            with contextlib.suppress(Exception):
                await stop()  # type: ignore[misc]

    async def _connect(self, path: str) -> None:
        """Take the short way to the actor, where it has one to this machine."""
        if path:
            with contextlib.suppress(OSError):
                self._line = await Line.to(path, self.journal.hurry)

    def _hang_up(self) -> None:
        if self._line is not None:
            self._line.close()
        self._line = None

    async def _wait(self, again_in_s: float | None) -> None:
        """Wait for market data, until values are due, or, where the actor cannot call for a call, a while."""
        news = self.journal.news
        if news.is_set():
            return
        try:
            idle_s = IDLE_S if self._line is None else None
            async with asyncio.timeout(idle_s if again_in_s is None else again_in_s):
                await news.wait()
        except TimeoutError:
            pass

    async def _hold(self, until: float) -> None:
        """Let what comes wait for the first watch that may send again, unless it is much, or of the past."""
        left = until - time.monotonic()
        if left > 0 and self.journal.news.is_set() and self.journal.behind <= BEHIND:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self.journal.full.wait()

    async def _ask(self, data: MarketData) -> Answered:
        self.calls += 1
        answer = unpack_answer(await self._call(pack(data))) if self._line is None else await self._line.call(data)
        self._idle_s = answer.watches
        for gone in self._asked.keys() - answer.watches.keys():  # one of the same name may be put later
            self._refused.discard(gone)
            self._unheard.pop(gone, None)
            del self._asked[gone]
        for gone in self.newest.keys() - answer.watches.keys():
            del self.newest[gone]
            self._to_keep[gone] = None
            self._keep_poke.set()
        return answer

    # -- values

    async def _publish(self, nc: Client, answer: Answered) -> None:
        if not answer.values:
            return
        now = time.monotonic()
        commands = []
        for value in answer.values:
            reply = ""
            if now - self._asked.get(value.watch_id, 0.0) > ASK_EVERY_S:
                reply = self._heard(value.watch_id, now)
            headers, body = _fitting(value, nc.max_payload)
            self.too_large += TOO_LARGE in headers
            commands.append(publication(LIVE_PREFIX + value.watch_id, headers, body, reply))
        await publish_all(nc, commands)
        self.values += len(commands)
        for value in answer.values:
            self._count += 1
            self.newest[value.watch_id] = self._count, value
            self._to_keep[value.watch_id] = value
        self._news.set()
        self._keep_poke.set()

    async def _ask_quiet(self, nc: Client) -> None:
        """Ask of watches that no market data moves, too, whether anybody listens."""
        while True:
            await asyncio.sleep(ASK_EVERY_S)
            now, commands = time.monotonic(), []
            for watch_id, idle_s in self._idle_s.items():
                if now - self._asked.setdefault(watch_id, now) > max(ASK_EVERY_S, idle_s / ASKS):
                    value = self.newest[watch_id][1] if watch_id in self.newest else None
                    headers, body = (WAITING, b"") if value is None else _fitting(value, nc.max_payload)
                    reply = self._heard(watch_id, now)
                    commands.append(publication(LIVE_PREFIX + watch_id, headers, body, reply))
            with contextlib.suppress(NatsError, OSError):
                await publish_all(nc, commands)

    def _heard(self, watch_id: str, now: float) -> str:
        """Give the reply subject by which a value asks who listens; end a watch that was not heard so long."""
        if watch_id in self._refused:
            self._refused.discard(watch_id)
            since = self._unheard.setdefault(watch_id, self._asked[watch_id])
            if now - since > self._idle_s.get(watch_id, float("inf")):
                del self._unheard[watch_id]
                self.ended += 1
                self._spawn(self._quietly(self._end(watch_id)))
        else:
            self._unheard.pop(watch_id, None)
        self._asked[watch_id] = now
        return f"{self._inbox}.{watch_id}"

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self._ending.add(task := asyncio.create_task(work))
        task.add_done_callback(self._ending.discard)

    async def _tell(self, js: JetStreamContext, told: Iterable[Told]) -> None:
        """Put messages into their streams; one that does not arrive is told again by the actor."""
        for each in told:
            try:
                await js.publish(each.subject, each.body, headers={**each.headers, "Nats-Msg-Id": each.message_id})
                self.told += 1
            except (NatsError, TimeoutError) as error:
                log.warning("%s was not told: %s", each.message_id, first_line(error))

    async def _quietly(self, work: Awaitable[object]) -> None:
        try:
            await work
        except EngineError as error:
            log.warning("a watch to which nobody listens was not ended: %s", first_line(error))

    async def _nobody(self, msg: Msg) -> None:
        """Take the server's word that a value had no subscriber."""
        if msg.headers is not None and msg.headers.get("Status") == "503":
            self._refused.add(msg.subject.rpartition(".")[2])

    async def value(self, watch_id: str, after: int, timeout_s: float) -> dict[str, Any]:
        """Give the newest value of a watch that is newer than number `after`, waiting for it at most `timeout_s`."""
        deadline = time.monotonic() + timeout_s
        self._refused.discard(watch_id)
        self._unheard.pop(watch_id, None)
        while True:
            number, value = self.newest.get(watch_id, (0, None))
            if value is not None and number > after:
                return {"number": number, "headers": value.headers, "body": bytes(value.body)}
            left = deadline - time.monotonic()
            if left <= 0:
                return {"number": after, "headers": None, "body": None}
            self._news.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._news.wait()

    # -- the bucket

    async def _bucket(self, js: JetStreamContext) -> None:
        try:
            await js.create_key_value(
                bucket=BUCKET, history=1, max_bytes=BUCKET_BYTES, storage=StorageType.FILE,
                description="The last value of each watch",
            )  # fmt: skip
        except NatsError as error:
            if "already in use" not in str(error):
                raise

    async def _keep(self, nc: Client, js: JetStreamContext) -> None:
        """Put the newest values into the bucket, each watch's now and then."""
        while True:
            await self._keep_poke.wait()
            self._keep_poke.clear()
            kept, self._to_keep = self._to_keep, {}
            for watch_id, value in kept.items():
                with contextlib.suppress(NatsError, TimeoutError):
                    gone = {"KV-Operation": "DEL"}, b""
                    headers, body = gone if value is None else _fitting(value, nc.max_payload)
                    await js.publish(f"$KV.{BUCKET}.{watch_id}", bytes(body), headers=headers)
            await asyncio.sleep(KEEP_EVERY_S)

    async def final_bar(self, model_id: str, place: int) -> None:
        """Note up to where the journal belongs to days of a model that are committed."""
        if self._js is not None:
            with contextlib.suppress(NatsError, TimeoutError):
                await self._js.publish(_since_key(model_id), str(place).encode())

    async def _since(self, js: JetStreamContext, models: Iterable[str]) -> int:
        """Give the place behind which every model's running day lies; 0 where that is not known."""
        places = []
        for model_id in models:
            try:
                places.append(int((await js.get_last_msg(f"KV_{BUCKET}", _since_key(model_id))).data or b"0"))
            except (NatsError, ValueError):
                return 0
        return min(places, default=0)

    def stats(self) -> dict[str, Any]:
        """Count what came, what was held back and what went out."""
        return {
            "state": self.state,
            "received": self.journal.received,
            "conflated": self.journal.conflated,
            "waiting": len(self.journal),
            "behind": self.journal.behind,
            "calls": self.calls,
            "values": self.values,
            "values_too_large": self.too_large,
            "calls_lost": self.lost,
            "watches": len(self._idle_s),
            "watches_ended_unheard": self.ended,
            "told": self.told,
        }


def _fitting(value: WatchValue, limit: int) -> tuple[dict[str, str], bytes]:
    """Give the headers and body of a value; no body where it is over the server's limit, and a header that says so.

    The server would end the connection for it, and with it every request, value and event that is on its way.
    """
    size = len(value.body)
    if size + HEADER_ALLOWANCE <= limit:
        return value.headers, value.body
    return {**value.headers, TOO_LARGE: f"{size} bytes, NATS takes {limit}"}, b""


def _since_key(model_id: str) -> str:
    return f"$KV.{BUCKET}.{SINCE}.{token(model_id)}"
