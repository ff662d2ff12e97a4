"""Which way a write goes: to its actor, or by the router, on a real Ray."""

from __future__ import annotations

import asyncio

from echo_workload import asked
from fixtures_ray import DEADLINE_S, ECHOING

from contracts.settings import Settings
from contracts.work import Presence, WorkItem, WorkResult
from router.client import RouterClient


def test_a_write_that_nobody_can_go_away_from_is_sent_to_its_actor_and_another_by_the_router(
    echo_router, tmp_path, monkeypatch
):
    async def scenario() -> list[str | None]:
        client = await RouterClient(Settings()).start(DEADLINE_S)
        await client.wait_ready(set(ECHOING), DEADLINE_S)
        by_router, dispatch = [], client._dispatch

        async def noted(item: WorkItem) -> WorkResult:
            by_router.append(item.request_id)
            return await dispatch(item)

        monkeypatch.setattr(client, "_dispatch", noted)
        request = asked(model_id="m", folder=str(tmp_path))
        for name, presence in (("a bar", None), ("a page's", Presence()), ("another bar", None)):
            made = await client.call("create_model", request, request_id=name, presence=presence)
            assert made.unwrap().model_version
        await client.close()
        return by_router

    assert asyncio.run(scenario()) == ["a page's"]
