"""The example of every row over NATS, on the real actors: what is in the documents works as it stands."""

import asyncio
import re

import jsonschema
import orjson
import pytest
from fixtures_nats import bridge_over, peer_of, stored_in, until

from bus.document import asyncapi
from bus.streams import EVENTS
from bus.subjects import resolve
from contracts.examples import with_names
from contracts.operations import OPERATIONS

DOCUMENT = asyncapi()
LEFT_OUT = {"update_factors"}
"""Begins a warm-up of the whole library; the library's own tests have it."""
LAST = ("delete_watch", "remove_formula", "delete_portfolio", "delete_model")
ASKED = [row for row in OPERATIONS.values() if row.subjects and row.name not in LEFT_OUT]


def undescribed(event):
    """Hold an event to what the AsyncAPI document says of its subject."""
    found = []
    for address, channel in DOCUMENT["channels"].items():
        if not re.fullmatch(re.sub(r"\\{[a-z_]+\\}", "[^.]+", re.escape(address or "")), event.subject):
            continue
        for message in channel["messages"]:
            described = DOCUMENT["components"]["messages"][message]
            if described.get("headers", {}).get("properties", {}).get("ce-type") == {"const": event.headers["ce-type"]}:
                found.append(described["payload"])
    assert found, (event.subject, event.headers["ce-type"])
    data = orjson.loads(event.data)
    for payload in found:
        jsonschema.validate(data, {**payload, "components": DOCUMENT["components"]})
    known = DOCUMENT["components"]["schemas"][found[0]["$ref"].rpartition("/")[2]]["properties"]
    assert ("model_id" in data) is ("model_id" in known)


@pytest.mark.timeout(300)
def test_the_example_of_every_row_is_answered_over_nats(http, engine_here, own_server, symbols):
    stored = OPERATIONS["put_estimator"].example
    assert http.put(f"/estimators/{stored['estimator_id']}", json=stored).is_success
    kept = {"formula": "rank(close)", "register_as": OPERATIONS["remove_formula"].example["formula_id"]}
    assert http.post("/factors/evaluate", json=kept).is_success
    # What is made stands before what is asked of it, and what ends it at the end.
    rows = sorted(ASKED, key=lambda row: LAST.index(row.name) + 1 if row.name in LAST else 0)

    async def run():
        wrong = {}
        async with bridge_over(own_server, engine_here) as bridge, peer_of(own_server) as nc:
            for row in rows:
                body = orjson.dumps(with_names(row.example, symbols))
                headers = {"factor-timeout-ms": "120000", "factor-parts": "yes"}
                reply = await nc.request(row.subjects[0], body, timeout=130, headers=headers)
                assert resolve(row.subjects[0])[0] is row
                if reply.headers and "status" in reply.headers:
                    wrong[row.subjects[0]] = reply.data[:300]
                    continue
                row.result.model_validate(orjson.loads(reply.data))
            assert bridge.stats()["problems"] == len(wrong)
            await nc.jetstream().publish("factor.in.risk.factor_request.nope", b"{")
            await until(lambda: bridge.durable.rejected == 1, "it was refused")
            await until(lambda: bridge.status()["outbox"]["depth"] == 0, "all events are out")
            told = await stored_in(nc, EVENTS)
        assert {row.message_type for row in rows if row.events} <= {event.headers["ce-type"] for event in told}
        for event in told:
            undescribed(event)
        return wrong

    connected = engine_here.table.bus
    try:
        assert asyncio.run(run()) == {}
    finally:
        engine_here.table.bus = connected
        http.delete(f"/estimators/{stored['estimator_id']}")
