"""A bridge on another node: it answers requests, and its events go out by the head's outbox, in one order."""

import asyncio
import json
import os
from collections import Counter
from contextlib import asynccontextmanager
from pathlib import Path

import nats
import orjson
import pytest
from fixtures_nats import ClientDouble, bridge_over, peer_of, stored_in, until
from fixtures_ray import ECHO_PATH
from scenario_process import STARTS, run_scenario

from bus.condition import troubles
from bus.outbox import Outbox, OutboxError
from bus.outbox_afar import CALL_EVENTS, OutboxAfar, kept, packed_parts
from bus.outpost import Outpost
from bus.streams import EVENTS
from contracts.bus_mode import BusMode, ModeFile
from contracts.errors import EngineError
from contracts.events import event
from contracts.settings import Settings

SUBJECT = "risk.factor_request.factor_exposures"
SCENARIO = Path(__file__).parent / "outpost_scenario.py"
ROOT = Path(__file__).parents[2]
LIMIT_S = 200


@asynccontextmanager
async def outpost_over(server, client, keep):
    outpost = Outpost(Settings(run_dir=server.run_dir), client, keep, "far")
    await outpost.start()
    try:
        await until(lambda: outpost.connected, "the outpost is connected")
        yield outpost
    finally:
        await outpost.stop()


def by(bridge):
    """Have a bridge of this process keep events, through what Ray would carry."""

    async def keep(parts):
        told = await bridge.keep(packed_parts(parts))
        return [None if problem is None else EngineError.from_problem(problem) for problem in told]

    return keep


async def ask(nc, name):
    body = orjson.dumps({"portfolio_weights": {"A": 1.0}, "portfolio_id": name})
    reply = orjson.loads((await nc.request(SUBJECT, body, timeout=30)).data)
    return reply["calculation_result"]


def test_both_answer_and_every_event_is_in_the_stream_once_in_the_order_of_its_subject(own_server):
    async def run():
        head, far = ClientDouble(), ClientDouble()
        async with bridge_over(own_server, head) as bridge, peer_of(own_server) as nc:
            async with outpost_over(own_server, far, by(bridge)) as outpost:
                answered = []

                async def requester(number):
                    for _ in range(40):
                        got = await ask(nc, f"p{number}")
                        answered.append(got["calculation_id"])

                await asyncio.gather(*(requester(number) for number in range(4)))
                assert len(head.calls) + len(far.calls) == 160
                assert min(len(head.calls), len(far.calls)) > 0
                assert outpost.status()["requests"] == len(far.calls)
            await until(lambda: bridge.status()["outbox"]["depth"] == 0, "all went out")
            events = await stored_in(nc, EVENTS)
            assert Counter(orjson.loads(e.data)["calculation_id"] for e in events) == Counter(answered)
            # A requester asks again when it was answered, so its events stand in that order, whoever answered.
            for number in range(4):
                own = [e for e in events if e.subject.endswith(f".p{number}")]
                told = [orjson.loads(e.data)["calculation_id"] for e in own]
                assert told == [one for one in answered if one in set(told)]
                assert len(told) == 40

    asyncio.run(run())


def test_while_the_head_is_away_answers_go_on_and_their_events_follow_in_order(own_server):
    async def run():
        away = False
        async with bridge_over(own_server, ClientDouble()) as bridge, peer_of(own_server) as nc:

            async def keep(parts):
                if away:
                    raise ConnectionError("the head's bridge is away")
                return await by(bridge)(parts)

            async with outpost_over(own_server, ClientDouble(), keep) as outpost:
                await bridge.desk.leave(5.0)  # only the outpost answers
                assert (await ask(nc, "p"))["messagebus_published"] is True
                away = True
                got = [await ask(nc, "p") for _ in range(3)]
                assert [(one["messagebus_published"], one["messagebus_queued"]) for one in got] == [(False, True)] * 3
                assert outpost.status()["outbox_trouble"] == "the head's bridge is away"
                assert outpost.outbox.held == 3
                away = False
                await until(lambda: outpost.outbox.held == 0, "what waited was taken")
                assert outpost.status()["outbox_trouble"] is None
                ids = [one["calculation_id"] for one in got]
            await until(lambda: bridge.status()["outbox"]["depth"] == 0, "all went out")
            events = await stored_in(nc, EVENTS)
            assert [orjson.loads(e.data)["calculation_id"] for e in events][1:] == ids

    asyncio.run(run())


def test_it_answers_in_mode_full_only_and_comes_back_over_a_restart_of_the_server(own_server):
    async def answers(nc):
        try:
            return bool(await ask(nc, "p"))
        except (nats.errors.NoRespondersError, nats.errors.TimeoutError):
            return False

    async def run():
        async with bridge_over(own_server, ClientDouble()) as bridge:
            await bridge.desk.leave(5.0)
            async with outpost_over(own_server, ClientDouble(), by(bridge)) as outpost:
                mode = ModeFile.of(Settings(run_dir=own_server.run_dir))
                mode.change(BusMode.PUBLISH)
                await until(lambda: not outpost.connected, "it left")
                mode.change(BusMode.FULL)
                await until(lambda: outpost.connected, "it is back")
                own_server.process.kill()
                own_server.process.wait()
                await until(lambda: not outpost.connected, "it noticed")
                own_server.start()
                async with peer_of(own_server) as nc:
                    await until(lambda: answers(nc), "it answers again")

    asyncio.run(run())


def test_a_write_over_an_outpost_is_noted_in_an_audit_log_of_the_node(own_server):
    async def run():
        async with bridge_over(own_server, ClientDouble()) as bridge, peer_of(own_server) as nc:
            await bridge.desk.leave(5.0)
            async with outpost_over(own_server, ClientDouble(), by(bridge)):
                await nc.request("toraniko.model_request.delete", orjson.dumps({"model_id": "m"}), timeout=30)
        (line,) = (own_server.run_dir / "audit" / "audit-far.jsonl").read_text().splitlines()
        assert {"who": "nats:toraniko", "operation": "delete_model"}.items() <= orjson.loads(line).items()

    asyncio.run(run())


def of(name, data=b"1"):
    return event("factor.library.a", "T", data, event_id=name)


def test_puts_gather_while_a_call_is_on_its_way_and_none_is_split():
    async def run():
        calls, free = [], asyncio.Event()

        async def keep(parts):
            calls.append([[one.id for one in part] for part in parts])
            await free.wait()
            return [None] * len(parts)

        box = OutboxAfar(keep)
        puts = [asyncio.create_task(box.put([of("first")]))]
        await until(lambda: calls, "the first call")
        puts += [asyncio.create_task(box.put([of(f"{n}a"), of(f"{n}b")])) for n in range(CALL_EVENTS)]
        await until(lambda: box.held == 1 + 2 * CALL_EVENTS, "all wait")
        free.set()
        assert set(await asyncio.gather(*puts)) == {True}
        assert [len(call) for call in calls] == [1, CALL_EVENTS // 2, CALL_EVENTS // 2]
        assert calls[1][0] == ["0a", "0b"]
        assert (box.held, await box.put([])) == (0, True)

    asyncio.run(run())


def test_an_event_that_the_head_refuses_fails_its_own_put_only(tmp_path):
    async def run():
        head = Outbox(tmp_path / "outbox.db")

        async def keep(parts):
            told = await kept(head, packed_parts(parts))
            return [None if problem is None else EngineError.from_problem(problem) for problem in told]

        box = OutboxAfar(keep)
        puts = [box.put([of("a")]), box.put([of("b")._replace(data=["no bytes"])]), box.put([of("c")])]
        good, refused, other = await asyncio.gather(*puts, return_exceptions=True)
        assert (good, other) == (True, True)
        assert isinstance(refused, OutboxError)
        assert [stored.event.id for stored in head.read(0, 10)] == ["a", "c"]
        head.close()

    asyncio.run(run())


def test_what_waits_in_memory_has_a_limit(monkeypatch):
    monkeypatch.setattr("bus.outbox_afar.HELD_LIMIT", 2)

    async def run():
        async def keep(parts):
            raise TimeoutError

        box = OutboxAfar(keep)
        assert [await box.put([of(name)], 0.01) for name in "ab"] == [False, False]
        with pytest.raises(OutboxError, match="2 events wait"):
            await box.put([of("c")], 0.01)
        await box.close(0.01)

    asyncio.run(run())


def test_an_outpost_that_answers_nothing_is_named_while_it_should():
    down = {"mode": "full", "outposts": {"bridge_on_x": {"connected": False, "last_error": "refused"}}}
    assert troubles(down) == [("outpost:bridge_on_x", "it answers no requests: refused")]
    assert troubles({**down, "mode": "publish"}) == []
    assert troubles({"mode": "full", "outposts": {"bridge_on_x": {"connected": True}}}) == []


@pytest.mark.ray
@pytest.mark.timeout(STARTS * LIMIT_S + 30)
def test_a_second_node_answers_too_and_its_death_loses_no_event_of_what_was_answered(own_server, tmp_path):
    environment = {
        **os.environ,
        "FACTOR_ENGINE_RUN_DIR": str(own_server.run_dir),
        "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "tests"), str(ROOT / "tests" / "actors"))),
        "RAY_health_check_initial_delay_ms": "500",
        "RAY_health_check_period_ms": "500",
        "RAY_health_check_failure_threshold": "3",
    }
    access = own_server.access
    known = {"run_dir": str(own_server.run_dir), "echo": str(ECHO_PATH), "url": access.url}
    known |= {"user": access.user, "password": access.password}
    run_scenario(SCENARIO, environment, LIMIT_S, lambda temp: ([], json.dumps({**known, "temp": str(temp)})))
    out = json.loads((own_server.run_dir / "outcome.json").read_text())
    assert out["outposts_gone"], "the outpost of the dead node is gone"
    assert min(out["answered_by"].values()) > 0, out["answered_by"]
    assert len(out["answered_by"]) == 2
    assert out["after"] == out["head"], "the head goes on alone"

    async def events():
        async with peer_of(own_server) as nc:
            return [orjson.loads(e.data)["calculation_id"] for e in await stored_in(nc, EVENTS)]

    counted = Counter(asyncio.run(events()))
    assert set(out["answered"]) <= set(counted), "what was answered is told"
    assert max(counted.values()) == 1
