"""The health event names what `GET /health` names, and that the HTTP face is silent when it is."""

from bus import condition as module
from bus.condition import Condition, troubles

STATUS = {
    "streams_without_writes": {"MARKET_DATA": {"reason": "no acknowledgement", "since": 1.0}},
    "jetstream": "unavailable: no room",
    "outbox_trouble": "database is locked",
}
DISK = {"component": "disk:store", "state": "DEGRADED", "reason": "is full", "since": 5.0}


def named(condition, router=(), status=None):
    return {row["component"]: row["reason"] for row in condition.degraded(list(router), status or {})}


def test_the_bridge_names_its_streams_jetstream_and_its_outbox():
    assert dict(troubles(STATUS)) == {
        "stream:MARKET_DATA": "the stream takes no writes: no acknowledgement",
        "jetstream": "no streams: unavailable: no room",
        "outbox:bridge": "events cannot be put into the outbox: database is locked",
    }
    assert troubles({"jetstream": "ready"}) == []


def test_what_router_bridge_and_http_know_is_one_list_and_each_component_is_in_it_once():
    condition = Condition()
    router = [{"component": "actor:size_factor", "state": "STARTING", "reason": "restarting"}]
    assert set(named(condition, router)) == {"actor:size_factor"}
    condition.told_by_http([DISK, {"component": "actor:size_factor", "state": "STARTING", "reason": "restarting"}])
    rows = condition.degraded(router, STATUS)
    assert [row["component"] for row in rows] == [
        "actor:size_factor", "stream:MARKET_DATA", "jetstream", "outbox:bridge", "disk:store",
    ]  # fmt: skip
    assert rows[-1] == DISK
    condition.told_by_http([])
    assert named(condition) == {}


def test_an_http_face_that_tells_nothing_any_more_is_named_and_its_rows_are_not_believed(monkeypatch):
    condition = Condition()
    condition.told_by_http([DISK])
    monkeypatch.setattr(module, "STALE_S", 0.0)
    assert set(named(condition)) == {"http"}
