"""What a replica does about the engine's health when nobody asks."""

import asyncio

import pytest

from web import watch as module
from web.services import Services
from web.watch import Watch


class Told:
    def __init__(self):
        self.rows = []

    async def tell(self, rows):
        self.rows.append(rows)
        return {}

    async def status(self):
        return {}


class Ready:
    async def health(self):
        return {"degraded": [], "starting": [], "actors": [], "bus": {"connected": True}}


@pytest.fixture
def services(run_settings, monkeypatch):
    monkeypatch.setattr("web.health.FRESH_S", -1.0)
    made = Services(run_settings, client=Ready(), bridge=Told())
    made.seen = {"disk:store": "the disk is full"}
    made.host = lambda: {"degraded": dict(made.seen)}
    return made


def test_the_bus_is_told_what_health_names(services):
    asyncio.run(Watch(services).look())
    named = {row["component"]: row["reason"] for row in services.bridge.rows[-1]}
    assert named["disk:store"] == "the disk is full"


def test_a_configuration_that_could_not_be_loaded_is_loaded_again_until_it_is_and_not_all_the_time(
    services, monkeypatch
):
    asked = []

    async def reload_proxy():
        asked.append(len(asked))
        if len(asked) == 1:
            raise OSError("no room yet")

    async def looks():
        services.reload_proxy = reload_proxy
        watch = Watch(services)
        await watch.look()
        assert asked == []
        services.seen["haproxy_reload"] = "its configuration was not reloaded"
        await watch.look()
        # It may be on its way.
        assert asked == []
        monkeypatch.setattr(module, "RELOAD_AFTER_S", 0.0)
        await watch.look()
        await watch.look()
        # Not with every look.
        assert asked == [0]
        watch._reload_at = 0.0
        await watch.look()
        assert asked == [0, 1]
        del services.seen["haproxy_reload"]
        watch._reload_at = 0.0
        await watch.look()
        assert asked == [0, 1]

    asyncio.run(looks())


def test_a_look_that_fails_does_not_end_the_watch(services, monkeypatch):
    monkeypatch.setattr(module, "EVERY_S", 0.0)
    looks = []
    done = asyncio.Event()

    async def look(_self):
        looks.append(len(looks))
        if len(looks) == 2:
            done.set()
        raise RuntimeError("a defect of ours")

    monkeypatch.setattr(Watch, "look", look)

    async def run():
        task = asyncio.create_task(Watch(services).run())
        async with asyncio.timeout(30.0):
            await done.wait()
        assert not task.done()
        task.cancel()

    asyncio.run(run())
