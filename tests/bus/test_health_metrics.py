"""The second's health: changes that make up the whole, a whole now and then, and a bucket with the newest."""

import asyncio
import json

import orjson
from fixtures_nats import ClientDouble, bridge_over, peer_of, until
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bus import bridge as bridge_module
from bus import health_metrics
from bus.health_metrics import BUCKET, LATEST, HealthTeller, patch
from bus.subjects import HEALTH
from contracts.health_metrics import HealthMetrics, Metrics

VALUES = st.recursive(
    st.booleans() | st.integers() | st.text(max_size=3) | st.lists(st.integers(), max_size=2),
    lambda inner: st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=8,
)
WHOLES = st.dictionaries(st.sampled_from("abc"), VALUES, max_size=3)


def merged(target, change):
    """RFC 7396, section 2, as it stands there."""
    if not isinstance(change, dict):
        return change
    target = dict(target) if isinstance(target, dict) else {}
    for name, value in change.items():
        if value is None:
            target.pop(name, None)
        else:
            target[name] = merged(target.get(name), value)
    return target


@given(WHOLES, WHOLES)
@settings(deadline=None, database=None, suppress_health_check=list(HealthCheck))
def test_a_change_applied_to_what_was_gives_what_is(before, after):
    assert merged(before, patch(before, after)) == after
    assert patch(after, after) == {}


def health(calls, errors=0):
    row = {"calls": calls, "errors": {"x": errors}, "devices": {"cpu": calls}}
    actor = {"workload": "risk", "state": "READY", "device": "cpu", "queue_length": 0, "calls": calls}
    return {
        "state": "READY",
        "actors": [{**actor, "p50_ms": 1.23456, "p99_ms": 9.87654, "operations": {"margin": row}}],
    }


class Told(ClientDouble):
    def __init__(self):
        super().__init__()
        self.calls_so_far = 0

    async def health(self):
        self.calls_so_far += 10
        return health(self.calls_so_far, self.calls_so_far // 10)


def test_who_applies_the_changes_has_what_the_bucket_has(own_server, monkeypatch):
    monkeypatch.setattr(bridge_module, "HEALTH_S", 0.05)
    monkeypatch.setattr(health_metrics, "ACTORS_S", 0.0)
    monkeypatch.setattr(health_metrics, "WHOLE_S", 0.5)

    async def run():
        async with peer_of(own_server) as nc, bridge_over(own_server, Told()) as bridge:
            messages = []

            async def take(msg):
                messages.append(orjson.loads(msg.data))

            await nc.subscribe(HEALTH, cb=take)
            await until(lambda: len(messages) > 25, "some were published")
            bucket = await nc.jetstream().key_value(BUCKET)
            await bridge.stop()
            latest = orjson.loads((await bucket.get(LATEST)).value)
            await until(lambda: messages[-1]["sequence"] == latest["sequence"], "the last one came")
            messages = messages[next(i for i, m in enumerate(messages) if m["whole"]) :]
            for message in (*messages, latest):
                HealthMetrics.model_validate(message)
            first = messages[0]["sequence"]
            assert [m["sequence"] for m in messages] == list(range(first, first + len(messages)))
            assert sum(m["whole"] for m in messages) > 1
            assert not all(m["whole"] for m in messages)
            known = {}
            for message in messages:
                known = message["metrics"] if message["whole"] else merged(known, message["changes"])
                Metrics.model_validate(known)
                if message["sequence"] == latest["sequence"]:
                    assert known == latest["metrics"]
            assert latest["sequence"] == messages[-1]["sequence"]
            assert known["actors"]["risk"]["p99_ms"] == 9.88
            assert known["success"] == 0.9
            small = [len(json.dumps(m)) for m in messages if not m["whole"]]
            assert max(small) < min(len(json.dumps(m)) for m in messages if m["whole"])

    asyncio.run(run())


def collected(teller, seen):
    status = {"mode": "full", "jetstream": "ready", "connections": 1}
    kept = {"requests": 0, "acknowledged": 0, "in_flight": 0, "in_work": 0, "refused": 0}
    stats = {**kept, "durable": {"rejected": 0}, "bars": {"rejected": 0}}
    return asyncio.run(teller.collect(status, stats, lambda rows: rows))


def test_what_is_not_known_is_left_out_and_never_nought(monkeypatch):
    monkeypatch.setattr(health_metrics, "ACTORS_S", 0.0)
    seen = health(0)

    async def look():
        return seen

    teller = HealthTeller(look, dict)
    first = collected(teller, seen)
    assert "success" not in first
    assert "answers" not in first["throughput_per_s"]
    Metrics.model_validate(first)
    seen = health(10, 10)
    assert collected(teller, seen)["success"] == 0.0
    seen = health(5)  # the actor began anew
    assert "success" not in collected(teller, seen)


def test_the_actors_are_not_asked_each_second():
    looks = []

    async def look():
        looks.append(1)
        return health(3)

    teller = HealthTeller(look, dict)
    for _ in range(5):
        collected(teller, None)
    assert len(looks) == 1
