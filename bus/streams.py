"""The JetStream streams: what they hold, how much, and that none of them covers a request subject."""

from __future__ import annotations

import datetime as dt
import logging
from functools import partial

from nats.js import JetStreamContext
from nats.js.api import (
    AckPolicy,
    ConsumerConfig,
    DeliverPolicy,
    DiscardPolicy,
    RetentionPolicy,
    StorageType,
    StreamConfig,
)
from nats.js.errors import APIError, NotFoundError

from bus.probe import PROBE_SUBJECT
from bus.subjects import INBOUND_PREFIX, event_patterns, groups

log = logging.getLogger(__name__)

EVENTS = "FACTOR_EVENTS"
INBOUND = "FACTOR_IN"
MARKET_DATA = "MARKET_DATA"
DEAD = "FACTOR_DEAD"
DEAD_SUBJECT = "_factor_dead.letter"
"""Under no subject that a peer may hear: a letter has a whole request in it."""
DUPLICATE_WINDOW_S = 120.0
"""How long the server remembers `Nats-Msg-Id`. After a longer pause the drainer asks the stream what it has already."""
TAIL = 4096
"""So many of the newest events are looked at then: more than all bridges of a cluster have in flight."""
TAIL_WAIT_S = 2.0
DAY_S = 86_400.0
GIB = 2**30
DISK_SHARE = 0.5
"""The streams together take at most this share of what the server's disk has for them."""
SMALLEST_BYTES = 2**20
NAMES = (EVENTS, INBOUND, MARKET_DATA, DEAD)
_NAME_IN_USE = 10058


def definitions(room_bytes: int | None = None) -> tuple[StreamConfig, ...]:
    """Give the streams of the engine.

    Parameters
    ----------
    room_bytes
        What the server's disk has for them, free or in use; on a small one each stream is smaller. Default: enough.
    """
    stream = partial(StreamConfig, storage=StorageType.FILE, duplicate_window=DUPLICATE_WINDOW_S, num_replicas=1)
    share = 1.0 if room_bytes is None else min(1.0, room_bytes * DISK_SHARE / (5.25 * GIB))

    def sized(full_bytes: int) -> int:
        return max(SMALLEST_BYTES, int(full_bytes * share))

    return (
        stream(
            name=EVENTS,
            description="Results of the factor engine",
            subjects=[*event_patterns(), PROBE_SUBJECT + EVENTS],
            retention=RetentionPolicy.LIMITS,
            discard=DiscardPolicy.OLD,
            max_age=DAY_S,
            max_bytes=sized(2 * GIB),
            # Many events of one subject that gathered are stored whole or not at all (nats-server 2.12 and later).
            allow_atomic=True,
        ),
        stream(
            name=INBOUND,
            description="Requests that must not be lost",
            subjects=[f"{INBOUND_PREFIX}>", PROBE_SUBJECT + INBOUND],
            retention=RetentionPolicy.WORK_QUEUE,
            # A full queue tells its publisher; it does not forget what it took.
            discard=DiscardPolicy.NEW,
            max_bytes=sized(GIB),
        ),
        stream(
            name=MARKET_DATA,
            description="Market data for the models",
            subjects=["market_data.>", PROBE_SUBJECT + MARKET_DATA],
            retention=RetentionPolicy.LIMITS,
            discard=DiscardPolicy.OLD,
            max_age=7 * DAY_S,
            max_bytes=sized(2 * GIB),
        ),
        stream(
            name=DEAD,
            description="Durable messages that could not be computed",
            subjects=[DEAD_SUBJECT, PROBE_SUBJECT + DEAD],
            retention=RetentionPolicy.LIMITS,
            discard=DiscardPolicy.OLD,
            max_age=30 * DAY_S,
            max_bytes=sized(GIB // 4),
        ),
    )


async def ensure(js: JetStreamContext, free_bytes: int | None = None) -> dict[str, int]:
    """Make the streams, or bring them to their definition; gives the limit of each in bytes.

    Parameters
    ----------
    js
        The server.
    free_bytes
        Room on its disk; default: enough. A stream never gets smaller than what it holds.
    """
    held = {name: await _held_bytes(js, name) for name in NAMES}
    room = None if free_bytes is None else free_bytes + sum(held.values())
    limits = {}
    for wanted in definitions(room):
        name = str(wanted.name)
        config = wanted.evolve(max_bytes=max(int(wanted.max_bytes or 0), held[name]))
        try:
            await js.add_stream(config)
        except APIError as error:
            if error.err_code != _NAME_IN_USE:
                raise
            await js.update_stream(config)
        limits[name] = int(config.max_bytes or 0)
    return limits


async def _held_bytes(js: JetStreamContext, name: str) -> int:
    try:
        return int((await js.stream_info(name)).state.bytes)
    except NotFoundError:
        return 0


async def newest_ids(js: JetStreamContext) -> set[str]:
    """Give the ids of the newest events in the stream, if the server may have forgotten them; else nothing.

    An event that was stored, and whose acknowledgement was lost with the server, is sent again at the next connection.
    Within the duplicate window the server drops it; an outage longer than that needs this.
    """
    state = (await js.stream_info(EVENTS)).state
    if not state.messages:
        return set()
    newest = await js.get_msg(EVENTS, state.last_seq)
    assert newest.time is not None
    if (dt.datetime.now(dt.UTC) - newest.time).total_seconds() < DUPLICATE_WINDOW_S / 2:
        return set()
    start = max(state.first_seq, state.last_seq - TAIL + 1)
    config = ConsumerConfig(
        ack_policy=AckPolicy.NONE,
        deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
        opt_start_seq=start,
        headers_only=True,
        inactive_threshold=10.0,
    )
    pull = await js.pull_subscribe(">", stream=EVENTS, config=config)
    ids: set[str] = set()
    seen = start - 1
    while seen < state.last_seq:
        for msg in await pull.fetch(512, TAIL_WAIT_S):
            ids.add((msg.headers or {}).get("Nats-Msg-Id", ""))
            seen = msg.metadata.sequence.stream
    await pull.unsubscribe()
    return ids


async def takes_batches(js: JetStreamContext) -> bool:
    """Say whether the event stream stores several messages as one."""
    return bool((await js.stream_info(EVENTS)).config.allow_atomic)


async def covering(js: JetStreamContext) -> dict[str, str]:
    """Find streams that cover a request subject: {group: stream}.

    Such a stream, somebody else's on a shared server, answers every requester with its own acknowledgement first.
    """
    found = {}
    for group in groups():
        try:
            found[group] = await js.find_stream_name_by_subject(f"{group}.*")
        except NotFoundError:
            continue
    for group, stream in found.items():
        log.error(
            "stream %s covers the request subjects %s.*: requesters get its acknowledgement, not ours", stream, group
        )
    return found
