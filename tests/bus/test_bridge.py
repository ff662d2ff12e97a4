import asyncio

import nats
import orjson
from fixtures_nats import ClientDouble, bridge_over, peer_of, until

from bus import bridge as bridge_module
from bus import connection
from bus.bridge import Bridge, percentiles
from contracts.errors import Unavailable
from contracts.settings import Settings
from engine.nats_server import NatsServer

SUBJECT = "risk.factor_request.factor_exposures"
BODY = orjson.dumps({"portfolio_weights": {"A": 1.0}})


async def ask(nc):
    return orjson.loads((await nc.request(SUBJECT, BODY, timeout=30)).data)


def test_the_router_is_told_of_every_change(own_server):
    async def run():
        client = ClientDouble()
        async with bridge_over(own_server, client) as bridge:
            await until(lambda: client.reported[-1:] == [True], "the connection was reported")
            own_server.stop()
            await until(lambda: client.reported[-1:] == [False], "the loss was reported")
            assert bridge.status()["state"] == "DEGRADED"
            own_server.start()
            await until(lambda: client.reported[-1:] == [True], "the return was reported")
            await until(lambda: bridge.status()["state"] == "READY", "all is well again")

    asyncio.run(run())


def test_a_connection_that_ends_without_a_word_is_noticed(own_server, monkeypatch):
    async def nothing(_):
        """The client closed, and its callbacks were not called: seen once beside requests that were timing out."""

    monkeypatch.setattr(Bridge, "_on_end", nothing)

    async def run():
        client = ClientDouble()
        async with bridge_over(own_server, client) as bridge:
            await until(lambda: bridge.status()["state"] == "READY", "all is well")
            own_server.stop()
            await until(lambda: client.reported[-1:] == [False], "the loss was reported")
            own_server.start()
            await until(lambda: client.reported[-1:] == [True], "the return was reported")

    asyncio.run(run())


def test_a_router_that_was_away_or_forgot_is_told_again(own_server):
    class Deaf(ClientDouble):
        deaf = True

        async def report_bus(self, connected):
            if self.deaf:
                raise Unavailable("the router is down")
            await super().report_bus(connected)

    async def run():
        client = Deaf()
        async with bridge_over(own_server, client):
            client.deaf = False
            await until(lambda: client.reported == [True], "it was told when it listened")
            client.table.bus = type(client.table.bus)(connected=False, since=0.0)
            await until(lambda: client.reported == [True, True], "it was told again")

    asyncio.run(run())


def test_after_a_restart_of_the_server_requests_are_answered_again_by_themselves(own_server):
    async def run():
        async with bridge_over(own_server, ClientDouble()) as bridge, peer_of(own_server) as nc:
            assert (await ask(nc))["calculation_result"]["messagebus_published"] is True
            own_server._process.kill()
            own_server._process.wait()
            await until(lambda: not bridge.connected, "the bridge noticed")
            own_server.start()

            async def answered():
                try:
                    return (await ask(nc))["success"]
                except nats.errors.Error:
                    return False

            await until(answered, "requests are answered")

    asyncio.run(run())


def test_a_bridge_started_before_the_server_connects_when_it_comes(tmp_path):
    async def run():
        server = NatsServer(tmp_path, port=0)
        bridge = Bridge(Settings(run_dir=tmp_path), ClientDouble())
        await bridge.start()
        try:
            await until(lambda: bridge.last_error, "it tried")
            assert bridge.status()["state"] == "DEGRADED"
            server.start()
            await until(lambda: bridge.status()["state"] == "READY", "it connected")
        finally:
            await bridge.stop()
            server.stop()

    asyncio.run(run())


def test_wrong_credentials_are_tried_again_with_those_that_are_there_then(own_server):
    async def run():
        right = own_server.access
        from contracts.access import write_access

        write_access(own_server.run_dir, right._replace(password="wrong"))
        bridge = Bridge(Settings(run_dir=own_server.run_dir), ClientDouble())
        await bridge.start()
        try:
            await until(lambda: "uthorization" in bridge.last_error, "it was refused")
            assert "wrong" not in str(bridge.status())
            write_access(own_server.run_dir, right)
            await until(lambda: bridge.connected, "it read the access again")
        finally:
            await bridge.stop()

    asyncio.run(run())


def test_a_defect_while_connecting_or_telling_does_not_silence_the_bridge_for_good(own_server, monkeypatch):
    class Forgetful(ClientDouble):
        failures = 0

        async def report_bus(self, connected):
            if self.failures < 3:
                self.failures += 1
                raise KeyError("a defect")
            await super().report_bus(connected)

    access, broken = connection.nats_access, iter([KeyError("another defect")])

    def sometimes(current):
        for error in broken:
            raise error
        return access(current)

    monkeypatch.setattr(connection, "nats_access", sometimes)
    monkeypatch.setattr(bridge_module, "RETRY_S", 0.02)
    monkeypatch.setattr(bridge_module, "REPORT_S", 0.02)

    async def run():
        client = Forgetful()
        bridge = Bridge(Settings(run_dir=own_server.run_dir), client)
        await bridge.start()
        try:
            await until(lambda: client.reported == [True], "it connected, and the router heard of it")
            assert bridge.errors["KeyError"] >= 2
        finally:
            await bridge.stop()

    asyncio.run(run())


def test_a_server_without_jetstream_still_carries_requests(tmp_path, monkeypatch):
    monkeypatch.setattr("engine.nats_server.CONFIG", PLAIN)
    server = NatsServer(tmp_path, port=0)
    server.start()

    async def run():
        bridge = Bridge(Settings(run_dir=tmp_path), ClientDouble())
        await bridge.start()
        try:
            await until(lambda: bridge.status()["jetstream"].startswith("unavailable"), "it is told")
            async with peer_of(server) as nc:
                assert (await ask(nc))["success"]
            assert bridge.status()["state"] == "DEGRADED"
            assert bridge.status()["outbox"]["depth"] == 1
        finally:
            await bridge.stop()

    try:
        asyncio.run(run())
    finally:
        server.stop()


PLAIN = """\
host: "{host}"
port: {port}
ports_file_dir: "{folder}"
pid_file: "{folder}/nats-server.pid"
log_file: "{log}"
max_payload: {max_payload}
authorization {{ users: [ {{ user: "{user}", password: "{password}" }} ] }}
# {max_memory} {max_file} {sync_interval}
"""


def test_health_is_published_now_and_then(own_server, monkeypatch):
    monkeypatch.setattr(bridge_module, "HEALTH_S", 0.05)
    monkeypatch.setattr("bus.health_metrics.WHOLE_S", 0.2)

    async def run():
        async with bridge_over(own_server, ClientDouble()) as bridge, peer_of(own_server) as nc:
            told = await nc.subscribe("factor.health_metrics")
            data = orjson.loads((await told.next_msg(30)).data)
            while not data["whole"]:
                data = orjson.loads((await told.next_msg(30)).data)
            assert data["metrics"]["state"] == "READY"
            assert data["metrics"]["bus"]["mode"] == "full"
            assert bridge.status()["leads"]

    asyncio.run(run())


def test_the_numbers_can_be_written_as_json(own_server):
    async def run():
        async with bridge_over(own_server, ClientDouble()) as bridge, peer_of(own_server) as nc:
            await ask(nc)
            await until(lambda: bridge.drainer.acknowledged == 1, "the event was delivered")
            stats = orjson.loads(orjson.dumps(bridge.stats()))
            assert stats["requests"] == 1
            assert stats["delivery_ms"]["p99"] >= stats["delivery_ms"]["p50"] > 0
            orjson.dumps(bridge.status())

    asyncio.run(run())


def test_percentiles_of_nothing_are_nothing():
    assert percentiles([]) == {}
    assert percentiles([3.0, 1.0, 2.0]) == {"p50": 2.0, "p99": 3.0}
