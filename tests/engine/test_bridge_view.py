import asyncio
from types import SimpleNamespace

import pytest

from engine.start import BridgeView

OUTPOSTS = {"bridge_on_n_1": {"connected": False}}


def bridge(**status):
    async def told():
        return status

    async def counted():
        return {"requests": 1}

    return SimpleNamespace(status=SimpleNamespace(remote=told), stats=SimpleNamespace(remote=counted))


@pytest.mark.parametrize("leader", ["bridge", "bridge_2"])
def test_outposts_are_told_of_whichever_bridge_publishes(leader, monkeypatch):
    there = {
        "bridge": bridge(leads=leader == "bridge", outposts=OUTPOSTS),
        "bridge_2": bridge(leads=leader == "bridge_2"),
    }
    monkeypatch.setattr("ray.get_actor", lambda name, namespace: there[name])
    status = asyncio.run(BridgeView(("bridge", "bridge_2")).status())
    assert status["outposts"] == OUTPOSTS
    assert status["leads"] is True
    assert status["requests"] == 1


def test_a_first_bridge_that_is_away_keeps_nothing_else_from_being_told(monkeypatch):
    def find(name, namespace):
        if name == "bridge":
            raise ValueError(name)
        return bridge(leads=True)

    monkeypatch.setattr("ray.get_actor", find)
    assert asyncio.run(BridgeView(("bridge", "bridge_2")).status())["outposts"] == {}
