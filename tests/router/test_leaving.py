"""What is computed for a caller that has gone ends before its time, on a real Ray."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from echo_workload import asked
from fixtures_ray import DEADLINE_S, ECHOING

from contracts.errors import CallerGone
from contracts.settings import Settings
from contracts.work import Presence, WorkResult
from router.client import RouterClient

FOREVER_S = 600.0


def with_client(scenario: Callable[[RouterClient], Awaitable[Any]]) -> Any:
    """Run a scenario with a started client, once the echoing actors are READY."""

    async def run() -> Any:
        client = await RouterClient(Settings()).start(DEADLINE_S)
        try:
            await client.wait_ready(set(ECHOING), DEADLINE_S)
            return await scenario(client)
        finally:
            await client.close()

    return asyncio.run(run())


async def becomes(client: RouterClient, workload: str, *, idle: bool) -> None:
    end = time.monotonic() + DEADLINE_S
    while (await client.table.routes[workload].handle.ping.remote())["idle"] is not idle:
        assert time.monotonic() < end, f"{workload} did not become {'idle' if idle else 'busy'}"
        await asyncio.sleep(0.02)


@pytest.fixture
def at_work(tmp_path: Path) -> Iterator[Path]:
    """A file; an echoing actor is busy as long as it is there."""
    path = tmp_path / "at work"
    path.touch()
    yield path
    path.unlink(missing_ok=True)


@pytest.mark.parametrize(
    ("operation", "workload"),
    [("risk_model", "risk_model_construction"), ("portfolio_risk", "risk_model_construction")],
)
def test_what_is_read_for_callers_that_went_away_ends_long_before_its_deadline(
    echo_router, operation, workload, at_work
):
    async def scenario(client: RouterClient) -> WorkResult:
        payload = {"while_there": str(at_work), "looks": True}
        # The second waits in the actor, or behind the first on its way there.
        tasks = [asyncio.create_task(client.call(operation, asked(**payload), timeout_s=FOREVER_S)) for _ in range(2)]
        await becomes(client, workload, idle=False)
        for task in tasks:
            task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes)
        await becomes(client, workload, idle=True)
        assert at_work.exists()
        return await client.call(operation, asked(n=1), timeout_s=DEADLINE_S)

    assert with_client(scenario).problem is None


def test_a_write_whose_caller_went_away_ends_with_nothing_committed_and_the_next_is_done(
    echo_router, at_work, tmp_path
):
    async def scenario(client: RouterClient) -> list[WorkResult]:
        payload = {"model_id": "left", "folder": str(tmp_path)}
        busy = {"while_there": str(at_work), "looks": True}
        waiting = [Presence(), Presence()]
        tasks = [
            asyncio.create_task(
                client.call("create_model", asked(**payload, **busy), timeout_s=FOREVER_S, presence=presence)
            )
            for presence in waiting
        ]
        await becomes(client, "factor_model_creation", idle=False)
        for presence in waiting:
            presence.leave()
        left = [await task for task in tasks[:1]]
        with pytest.raises(CallerGone):
            await tasks[1]  # its turn had not come
        assert at_work.exists()
        return [*left, await client.call("create_model", asked(**payload), timeout_s=DEADLINE_S)]

    gone, done = with_client(scenario)
    assert gone.problem["code"] == "caller_gone"
    assert done.unwrap().model_version == 1
