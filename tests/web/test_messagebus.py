"""The routes about the bus: what they hand on, what they refuse, and that changes are in the audit log."""

import asyncio

import httpx
import orjson
import pytest
from starlette.testclient import TestClient

from clients.http import HttpEngine
from contracts.errors import InvalidInput, Unavailable, UnknownLetter
from contracts.settings import Settings
from web.app import make_app
from web.services import Services


class Bridge:
    def __init__(self):
        self.asked = []

    async def ask(self, what, arguments):
        self.asked.append((what, arguments))
        if what == "events":
            json = {"Content-Type": "application/json"}
            rows = [
                {"sequence": 7, "subject": "factor.x.y", "headers": json, "data": b'{"a":1}'},
                {"sequence": 8, "subject": "factor.x.y", "headers": {}, "data": b"\xff"},
            ]
            return {"events": rows, "last": 8, "missed": False}
        if what == "resend" and arguments["number"] == 404:
            return {"problem": UnknownLetter("there is no dead letter 404").to_problem()}
        return {"done": what}


def asked(tmp_path, bridge, doing, **changes):
    services = Services(Settings(run_dir=tmp_path, allowed_hosts=("engine",), **changes), bridge=bridge)

    async def run():
        transport = httpx.ASGITransport(app=make_app(services))
        async with HttpEngine("http://engine", transport=transport) as engine:
            return await doing(engine)

    return asyncio.run(run())


def test_the_client_reaches_each_route(tmp_path):
    bridge = Bridge()

    async def doing(engine):
        await engine.set_bus_mode("publish")
        await engine.dead_letters(3, 4)
        await engine.dead_letter(5)
        await engine.resend_dead_letter(6)
        return await engine.stored_events(6, "factor.x.*", 2)

    events = asked(tmp_path, bridge, doing)
    assert bridge.asked == [
        ("mode", {"mode": "publish"}),
        ("dead_letters", {"after": 3, "limit": 4}),
        ("dead_letter", {"number": 5}),
        ("resend", {"number": 6}),
        ("events", {"after": 6, "limit": 2, "subject": "factor.x.*"}),
    ]
    assert [row.get("data") for row in events["events"]] == [{"a": 1}, None]
    assert events["events"][1]["data_base64"] == "/w=="
    log = [orjson.loads(line) for line in (tmp_path / "audit" / "audit.jsonl").read_bytes().splitlines()]
    assert [(row["operation"], row["who"], row["outcome"]) for row in log] == [
        ("messagebus_mode", "local", "done"),
        ("messagebus_resend", "local", "done"),
    ]
    assert (log[0]["mode"], log[1]["letter_id"]) == ("publish", 6)


@pytest.mark.parametrize(
    ("method", "path", "body", "field"),
    [
        ("PUT", "/messagebus/mode", {"mode": "loud"}, "mode"),
        ("PUT", "/messagebus/mode", {}, "mode"),
        ("GET", "/messagebus/dead-letters?limit=1000", None, "limit"),
        ("GET", "/messagebus/dead-letters/none", None, "letter_id"),
        ("POST", "/messagebus/dead-letters/0/resend", None, "letter_id"),
        ("GET", "/messagebus/events?subject=$SYS.>", None, "subject"),
        ("GET", "/messagebus/events?subject=factor..x", None, "subject"),
        ("GET", "/messagebus/events?after=-1", None, "after"),
    ],
)
def test_what_is_wrong_is_named_and_reaches_no_bridge(tmp_path, method, path, body, field):
    bridge = Bridge()
    services = Services(Settings(run_dir=tmp_path), bridge=bridge)
    answer = TestClient(make_app(services), base_url="http://127.0.0.1:8300").request(method, path, json=body)
    assert (answer.status_code, answer.json()["code"]) == (InvalidInput.status, "invalid_input")
    assert answer.json()["field"] == field
    assert bridge.asked == []


def test_errors_of_the_bridge_are_the_callers_and_noted(tmp_path):
    with pytest.raises(UnknownLetter):
        asked(tmp_path, Bridge(), lambda engine: engine.resend_dead_letter(404))
    with pytest.raises(Unavailable, match="without a message bus"):
        asked(tmp_path, Bridge(), lambda engine: engine.set_bus_mode("off"), messagebus_enabled=False)
    with pytest.raises(Unavailable, match="does not answer"):
        asked(tmp_path, None, lambda engine: engine.dead_letters())
    log = [orjson.loads(line) for line in (tmp_path / "audit" / "audit.jsonl").read_bytes().splitlines()]
    assert [row["outcome"] for row in log] == ["unknown_letter", "unavailable"]
