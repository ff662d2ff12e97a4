import base64

import orjson
import pytest
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from web.app import make_app
from web.services import Services


def row(seq, subject, data, content_type="application/json"):
    return {
        "seq": seq, "id": str(seq), "subject": subject, "type": "FACTOR_CALCULATION", "time": "2026-01-01T00:00:00Z",
        "priority": 1, "content_type": content_type, "data": data,
    }  # fmt: skip


class Feed:
    """A bridge that gives what it was made with, once."""

    def __init__(self, events, missed=0):
        self.events, self.missed = events, missed
        self.asked = 0

    async def feed(self, after, timeout_s):
        import asyncio

        self.asked += 1
        fresh = [event for event in self.events if event["seq"] > (after or 0)]
        if not fresh:
            await asyncio.sleep(0.05)
        missed, self.missed = self.missed, 0
        return {"events": fresh, "last": max([event["seq"] for event in fresh], default=after or 0), "missed": missed}


def subscribe(run_settings, bridge, query=""):
    client = TestClient(make_app(Services(run_settings, bridge=bridge)))
    return client.websocket_connect(f"/ws/factors{query}")


def test_events_come_in_order_with_their_data(run_settings):
    bridge = Feed([row(1, "factor.risk_model.created", b'{"a": 1}'), row(2, "factor.library.A", b'{"a": 2}')])
    with subscribe(run_settings, bridge) as socket:
        first, second = orjson.loads(socket.receive_text()), orjson.loads(socket.receive_text())
    assert (first["seq"], first["data"]) == (1, {"a": 1})
    assert (second["subject"], second["data"]) == ("factor.library.A", {"a": 2})


def test_a_subject_limits_the_events(run_settings):
    bridge = Feed([row(1, "factor.risk_model.created", b"{}"), row(2, "factor.library.A", b"{}")])
    with subscribe(run_settings, bridge, "?subject=factor.library") as socket:
        assert orjson.loads(socket.receive_text())["subject"] == "factor.library.A"


def test_bytes_that_are_no_json_come_in_base64(run_settings):
    bridge = Feed([row(1, "factor.library.A", b"\x00\xff", "application/vnd.apache.arrow.stream")])
    with subscribe(run_settings, bridge) as socket:
        event = orjson.loads(socket.receive_text())
    assert event["encoding"] == "base64"
    assert base64.b64decode(event["data"]) == b"\x00\xff"


def test_a_slow_reader_is_told_how_many_events_it_missed(run_settings):
    with subscribe(run_settings, Feed([row(9, "factor.library.A", b"{}")], missed=7)) as socket:
        assert orjson.loads(socket.receive_text()) == {"missed": 7}
        assert orjson.loads(socket.receive_text())["seq"] == 9


def test_who_only_looks_on_gets_the_newest_at_its_pace_and_one_call_for_all_of_them(run_settings):
    bridge = Feed([row(n, "factor.library.A", b"{}") for n in range(1, 151)])
    with subscribe(run_settings, bridge, "?pace_ms=10000") as socket:
        assert orjson.loads(socket.receive_text()) == {"missed": 50}
        assert [orjson.loads(socket.receive_text())["seq"] for _ in range(100)] == list(range(51, 151))
        assert bridge.asked == 1


def test_a_pace_that_is_no_number_is_none(run_settings):
    bridge = Feed([row(n, "factor.library.A", b"{}") for n in range(1, 151)])
    with subscribe(run_settings, bridge, "?pace_ms=soon") as socket:
        assert orjson.loads(socket.receive_text())["seq"] == 1


def test_while_the_bridge_is_away_the_subscriber_is_told(run_settings):
    with subscribe(run_settings, None) as socket:
        assert orjson.loads(socket.receive_text())["state"] == "DEGRADED"


def test_subscribers_beyond_the_limit_are_refused(run_settings, monkeypatch):
    monkeypatch.setattr("web.feed.MAX_SUBSCRIBERS", 0)
    with pytest.raises(WebSocketDisconnect) as refused, subscribe(run_settings, None):
        pass
    assert refused.value.code == 1013


class Watched:
    """A bridge that has values of one watch."""

    def __init__(self, *values):
        self.values = values

    async def watch_value(self, watch_id, after, timeout_s):
        import asyncio

        assert watch_id == "desk"
        if after >= len(self.values):
            await asyncio.sleep(0.05)
            return {"number": after, "headers": None, "body": None}
        kind, body = self.values[after]
        return {"number": after + 1, "headers": {"Content-Type": kind, "factor-sequence": "7"}, "body": body}


def test_a_watchs_values_come_as_they_are_and_a_table_behind_what_is_said_of_it(run_settings):
    bridge = Watched(("application/json", b'{"sequence": 6}'), ("application/vnd.apache.arrow.stream", b"\xff\x00"))
    with subscribe(run_settings, bridge, "?watch=desk") as socket:
        assert orjson.loads(socket.receive_text()) == {"sequence": 6}
        assert orjson.loads(socket.receive_text())["factor-sequence"] == "7"
        assert socket.receive_bytes() == b"\xff\x00"


def test_a_reader_of_a_watch_is_told_while_the_bridge_is_away(run_settings):
    with subscribe(run_settings, None, "?watch=desk") as socket:
        assert orjson.loads(socket.receive_text())["state"] == "DEGRADED"
