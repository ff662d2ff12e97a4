"""Several actors of a workload on a real Ray: reads are shared out, and one that is killed is missed by none."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from echo_workload import asked
from fixtures_ray import DEADLINE_S, ECHOING, echoing

from contracts.settings import Settings
from router.client import RouterClient

WORKLOAD = "factor_exposure_analysis"
NAMES = [WORKLOAD, f"{WORKLOAD}.2", f"{WORKLOAD}.3"]
CALLERS = 24


@pytest.fixture(scope="module")
def pool(ray_cluster: Path) -> Iterator[Path]:
    """A router whose exposures have three actors."""
    yield from echoing(ray_cluster, {}, pools=(f"{WORKLOAD}=3",))


def with_client(scenario: Callable[[RouterClient], Awaitable[Any]]) -> Any:
    """Run a scenario with a started client, once all actors are READY."""

    async def run() -> Any:
        client = await RouterClient(Settings()).start(DEADLINE_S)
        try:
            await client.wait_ready(set(ECHOING), DEADLINE_S)
            await until(lambda: whole(client))
            return await scenario(client)
        finally:
            await client.close()

    return asyncio.run(run())


async def until(condition: Callable[[], bool | Awaitable[bool]]) -> None:
    end = time.monotonic() + DEADLINE_S
    while True:
        met = condition()
        if await met if isinstance(met, Awaitable) else met:
            return
        assert time.monotonic() < end, "the condition did not come"
        await asyncio.sleep(0.02)


def whole(client: RouterClient) -> bool:
    copies = client.table.routes[WORKLOAD].copies
    return [copy.name for copy in copies] == NAMES and all(copy.direct for copy in copies)


async def actors(client: RouterClient) -> dict[str, dict[str, Any]]:
    rows = (await client.health())["actors"]
    return {row["actor"]: row for row in rows if row["workload"] == WORKLOAD}


async def pid_that_read(client: RouterClient, **given: Any) -> int:
    result = await client.call("factor_exposures", asked(**given), timeout_s=DEADLINE_S)
    return int(result.unwrap().values["pid"])


def test_reads_are_shared_out_over_the_processes_and_a_busy_one_gets_no_more(pool, tmp_path):
    at_work = tmp_path / "at work"
    at_work.touch()

    async def scenario(client: RouterClient) -> tuple[set[int], Counter[int], Counter[int], int]:
        pids = {int(row["pid"]) for row in (await actors(client)).values()}
        at_once = Counter(await asyncio.gather(*(pid_that_read(client, n=n) for n in range(30))))
        long = asyncio.create_task(pid_that_read(client, while_there=str(at_work)))
        await asyncio.sleep(0)
        meanwhile = Counter([await pid_that_read(client, n=n) for n in range(20)])
        at_work.unlink()
        return pids, at_once, meanwhile, await long

    pids, at_once, meanwhile, busy = with_client(scenario)
    assert len(pids) == 3
    assert at_once == dict.fromkeys(pids, 10)
    assert set(meanwhile) == pids - {busy}


def test_each_actor_has_its_row_and_its_route(pool):
    async def scenario(client: RouterClient) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
        return await actors(client), await client.routing()

    rows, routing = with_client(scenario)
    assert list(rows) == NAMES
    assert len({row["pid"] for row in rows.values()}) == 3
    (route,) = [route for route in routing["routes"] if route["workload"] == WORKLOAD]
    assert [copy["actor"] for copy in route["copies"]] == NAMES
    assert all("copies" not in other for other in routing["routes"] if other is not route)


@pytest.mark.parametrize("victim", [WORKLOAD, f"{WORKLOAD}.2"])
def test_killing_one_under_load_fails_no_read_and_it_comes_back(pool, victim):
    async def scenario(client: RouterClient) -> tuple[dict[str, int], int, list[int], list[int], set[str]]:
        before = {name: int(row["pid"]) for name, row in (await actors(client)).items()}
        answered: list[int] = []
        stop = asyncio.Event()

        async def caller(number: int) -> None:
            while not stop.is_set():
                answered.append(await pid_that_read(client, n=number, work_s=0.001))

        callers = [asyncio.create_task(caller(n)) for n in range(CALLERS)]
        await until(lambda: len(answered) > 4 * CALLERS)
        os.kill(before[victim], signal.SIGKILL)
        named: set[str] = set()

        async def told() -> bool:
            named.update(row["component"] for row in (await client.health())["degraded"])
            return f"actor:{victim}" in named or int((await actors(client))[victim]["pid"]) != before[victim]

        await until(told)
        n_told = len(answered)

        async def back() -> bool:
            row = (await actors(client))[victim]
            return row["state"] == "READY" and int(row["pid"]) != before[victim] and whole(client)

        await until(back)
        now = int((await actors(client))[victim]["pid"])
        await until(lambda: now in answered[n_told:])
        stop.set()
        await asyncio.gather(*callers)
        return before, now, answered, answered[n_told:], named

    before, now, answered, later, named = with_client(scenario)
    others = {pid for name, pid in before.items() if name != victim}
    assert set(answered) == {*before.values(), now}
    assert others | {now} <= set(later)
    assert named <= {f"actor:{victim}", "messagebus"}


def test_a_read_that_ends_what_computes_it_is_refused_before_it_ended_all(pool):
    async def scenario(client: RouterClient) -> tuple[dict[str, Any], int, list[int]]:
        async def restarts() -> int:
            return sum(int(row["restarts"]) for row in (await actors(client)).values())

        before = await restarts()
        fatal = client.call("factor_exposures", asked(die=True), timeout_s=DEADLINE_S, request_id="fatal-in-a-pool")
        others = [pid_that_read(client, n=n) for n in range(6)]
        result, *pids = await asyncio.gather(fatal, *others)
        await until(lambda: whole(client))
        return result.problem, await restarts() - before, pids

    problem, restarts, pids = with_client(scenario)
    assert (problem["code"], problem["status"]) == ("ends_actors", 422)
    assert len(pids) == 6
    assert restarts <= 3
