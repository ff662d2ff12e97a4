"""The market's journal as it comes: one ordered reader of the stream, from wherever the live state has it up to."""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
import re
import time
from collections.abc import Callable

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import ConsumerConfig, DeliverPolicy

from bus.streams import MARKET_DATA
from bus.subjects import BAR_PREFIX, CLOSE_PREFIX, TICK_PREFIX, TICKS
from contracts.live_call import MarketData

log = logging.getLogger(__name__)

MARKET = "market_data.>"
FINAL_WORD = b'"final"'
"""A bar whose body has no such word is a day's bar."""
NOT_FINAL = re.compile(rb'"final"\s*:\s*false')
OURS = (TICK_PREFIX, TICKS, BAR_PREFIX, CLOSE_PREFIX)
BEHIND = 1000
"""A reader with more before it reads the past: it waits for room, and leaves nothing out."""
BYTES_MOST = 16 * 2**20
"""What one call carries at most, beside the limit of messages."""
TOGETHER_MOST = 512
"""Messages that wait for a watch's rate; more are handed on before it."""
SHED_TOLD_S = 60.0
_V1_TOKENS = 9
_SEQUENCE, _PENDING = 5, 8


class Journal:
    """Messages that came and were not handed on yet, in their order.

    Parameters
    ----------
    limit : int
        Messages that may wait. In the present the newest of a subject then takes the place of those before it, which
        are counted; what comes of the past waits for room.

    Attributes
    ----------
    received, conflated : int
    news, full : asyncio.Event
        Something waits; and so much that it is not to wait longer.
    behind : int
        Messages of the journal that were not read yet, as the server said last.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._together = min(TOGETHER_MOST, limit // 2)
        self._waiting: list[tuple[str, bytes, str | None]] = []
        self._bytes = 0
        self._first = 0
        self._last = 0
        self.news = asyncio.Event()
        self.full = asyncio.Event()
        self._room = asyncio.Event()
        self.received = 0
        self.conflated = 0
        self.shed_at = 0.0
        self.behind = 0

    @property
    def shedding(self) -> str | None:
        """Say that market data was left out a moment ago, and how much in all; None when none was."""
        if not self.shed_at or time.monotonic() - self.shed_at > SHED_TOLD_S:
            return None
        return f"more market data comes than is taken in: the newest of a name counts, {self.conflated} were left out"

    def __len__(self) -> int:
        return len(self._waiting)

    async def follow(
        self, nc: Client, js: JetStreamContext, config: ConsumerConfig, first: int
    ) -> Callable[[], object]:
        """Read from a place on, forgetting what waited; gives what ends it.

        Parameters
        ----------
        config : ConsumerConfig
            Where to begin.
        first : int
            What the first batch is said to begin with: the place, or 0 for the beginning.
        """
        self._waiting, self._bytes = [], 0
        self._first, self._last = first, max(first - 1, 0)
        self.news.clear()
        self.full.clear()
        self._room.set()
        subscription = await js.subscribe(
            MARKET, stream=MARKET_DATA, config=config, ordered_consumer=True, idle_heartbeat=5.0, cb=self._take
        )
        await nc.flush()
        return subscription.unsubscribe

    async def _take(self, msg: Msg) -> None:
        """Take a message; nats-py calls this for one after another."""
        place, self.behind = _place(msg)
        self.received += 1
        while len(self._waiting) >= self._limit or self._bytes > BYTES_MOST:
            if self.behind <= BEHIND:
                self._conflate()
                break
            self._room.clear()
            self.hurry()
            await self._room.wait()
        self._last = max(place, self._last)
        if msg.subject.startswith(OURS):
            kind = msg.headers.get("Content-Type") if msg.headers else None
            if msg.subject.startswith(CLOSE_PREFIX):
                kind = str(place)
            self._waiting.append((msg.subject, msg.data, kind))
            self._bytes += len(msg.data)
            self.news.set()
            if len(self._waiting) >= self._together:
                self.full.set()

    def _conflate(self) -> None:
        """Keep the newest message of each symbol; the rows of a table are not looked into, so tables stay."""
        newest: dict[str, int] = {}
        for at, (subject, _, _) in enumerate(self._waiting):
            newest[subject if subject.startswith(TICK_PREFIX) else f"{subject} {at}"] = at
        kept = [self._waiting[at] for at in sorted(newest.values())]
        if len(kept) > 0.9 * len(self._waiting):
            # Nothing but tables, or more symbols than may wait: the older half goes, the ends of days in it apart.
            half = len(kept) // 2
            kept = [message for message in kept[:half] if _ends_a_day(message[0], message[1])] + kept[half:]
        self.conflated += len(self._waiting) - len(kept)
        self.shed_at = time.monotonic()
        self._waiting = kept
        self._bytes = sum(len(body) for _, body, _ in kept)

    def batch(self, stream: str) -> MarketData:
        """Take what waits, as the next call's."""
        messages, self._waiting, self._bytes = self._waiting, [], 0
        data = MarketData(stream, self._first, self._last, messages, self.behind > BEHIND)
        self._first = self._last + 1
        self.news.clear()
        self.full.clear()
        self._room.set()
        return data

    def hurry(self) -> None:
        """Have a call made at once, though nothing came."""
        self.news.set()
        self.full.set()


def _ends_a_day(subject: str, body: bytes) -> bool:
    """Whether a message may end a day: nothing that comes later says so again. A bar that says "final" may say no."""
    return subject.startswith(CLOSE_PREFIX) or (
        subject.startswith(BAR_PREFIX) and (FINAL_WORD not in body or NOT_FINAL.search(body) is None)
    )


def _place(msg: Msg) -> tuple[int, int]:
    """Read a message's place in the stream and how many are behind it; `Msg.metadata` takes six times as long."""
    tokens = msg.reply.split(".")
    if len(tokens) == _V1_TOKENS:
        return int(tokens[_SEQUENCE]), int(tokens[_PENDING])
    data = msg.metadata
    return data.sequence.stream, data.num_pending


def beginning(since: int, hours: float) -> ConsumerConfig:
    """Say where a reader begins that knows no place: at the end of the last day, or some hours ago."""
    if since:
        return ConsumerConfig(deliver_policy=DeliverPolicy.BY_START_SEQUENCE, opt_start_seq=since)
    start = dt.datetime.now(dt.UTC) - dt.timedelta(hours=hours)
    return ConsumerConfig(deliver_policy=DeliverPolicy.BY_START_TIME, opt_start_time=start)
