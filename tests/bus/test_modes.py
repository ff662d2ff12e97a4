"""The mode of the bus changes while the bridge runs; nothing that was taken is lost by it."""

import asyncio

import nats
import orjson
import pytest
from fixtures_nats import ClientDouble, bridge_over, peer_of, stored_in, until

from bus.face import Face
from bus.operator import Operator
from bus.outbox import Outbox
from bus.streams import EVENTS, INBOUND
from contracts.bus_mode import BusMode, ModeFile
from contracts.operations import OPERATIONS
from contracts.settings import Settings

SUBJECT = "risk.factor_request.factor_exposures"
BODY = orjson.dumps({"portfolio_weights": {"A": 1.0}})


async def answers(nc, wait_s=0.5):
    try:
        return "calculation_result" in orjson.loads((await nc.request(SUBJECT, BODY, timeout=wait_s)).data)
    except (nats.errors.NoRespondersError, nats.errors.TimeoutError):
        return False


def serving(bridge, mode):
    return lambda: bridge.status()["serving"] == mode and (mode == "off" or bridge.status()["jetstream"] == "ready")


def test_each_mode_does_what_it_says_and_the_others_come_back(own_server):
    async def run():
        client = ClientDouble()
        current = Settings(run_dir=own_server.run_dir)
        box = Outbox.of(current)
        seen = ModeFile.of(current)
        http = Face(ClientDouble(), box, mode=seen)  # as the HTTP replica has it
        async with bridge_over(own_server, client) as bridge, peer_of(own_server) as nc:
            assert await answers(nc, 30)

            told = await bridge.operator.ask("mode", {"mode": "publish"})
            assert told == {"mode": "publish", "before": "full"}
            await until(serving(bridge, "publish"), "it publishes only")
            assert not await answers(nc)
            await nc.jetstream().publish(f"factor.in.{SUBJECT}", BODY)
            await http.answer(OPERATIONS["factor_exposures"], orjson.loads(BODY))
            await until(lambda: bridge.status()["outbox"]["depth"] == 0, "events go out")
            assert len(await stored_in(nc, EVENTS)) == 2
            assert len(await stored_in(nc, INBOUND)) == 1, "a durable request waits"

            await bridge.operator.ask("mode", {"mode": "off"})
            await until(lambda: not bridge.connected and bridge.status()["serving"] == "off", "it let go of NATS")
            assert bridge.status()["state"] == "READY", "as it was told"
            await asyncio.to_thread(ModeFile.of(current).change, BusMode.OFF)
            await until(lambda: seen.now is BusMode.OFF, "the face has looked")
            off = (await http.answer(OPERATIONS["factor_exposures"], orjson.loads(BODY)))["calculation_result"]
            assert off["messagebus_published"] is False
            assert "messagebus_queued" not in off
            assert box.counts().depth == 0, "nothing is queued for later"

            await bridge.operator.ask("mode", {"mode": "full"})
            await until(serving(bridge, "full"), "it is back")
            assert await answers(nc, 30)
            await until(lambda: bridge.durable.done == 1, "what waited was done")
        box.close()

    asyncio.run(run())


def test_requests_in_work_are_answered_when_the_mode_changes(own_server):
    async def run():
        go = asyncio.Event()

        async def slow(_operation, _request):
            await go.wait()
            return {"market": 1.0}

        async with bridge_over(own_server, ClientDouble(slow)) as bridge, peer_of(own_server) as nc:
            asked = asyncio.create_task(nc.request(SUBJECT, BODY, timeout=30))
            await until(lambda: bridge.desk.in_work == 1, "it is in work")
            await bridge.operator.ask("mode", {"mode": "publish"})
            await asyncio.sleep(0)
            go.set()
            assert "calculation_result" in orjson.loads((await asked).data)
            await until(serving(bridge, "publish"), "it publishes only")

    asyncio.run(run())


def test_the_mode_is_kept_and_a_torn_file_changes_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("contracts.bus_mode.LOOK_S", -1.0)
    mode, other = ModeFile(tmp_path / "mode"), ModeFile(tmp_path / "mode")
    assert mode.now is BusMode.FULL
    assert mode.change(BusMode.OFF) is BusMode.FULL
    assert other.now is BusMode.OFF
    (tmp_path / "mode").write_text("of")
    assert other.now is BusMode.OFF


@pytest.mark.parametrize("what", ["dead_letters", "events"])
def test_without_a_connection_the_caller_is_told(tmp_path, what):
    arguments = {"after": 0, "limit": 1} | ({"subject": "factor.>"} if what == "events" else {})
    told = asyncio.run(Operator(ModeFile(tmp_path / "mode"), lambda: None).ask(what, arguments))
    assert told["problem"]["code"] == "unavailable"
