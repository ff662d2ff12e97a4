"""Several actors of a workload on a real Ray: reads are shared out, and one that is killed is missed by none.

Each of several writers has its own models.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from echo_workload import asked
from fixtures_ray import DEADLINE_S, ECHOING, echoing, reached

from contracts.settings import Settings
from contracts.work import Presence, WorkResult
from router.client import RouterClient

WORKLOAD = "factor_exposure_analysis"
NAMES = [WORKLOAD, f"{WORKLOAD}.2", f"{WORKLOAD}.3"]
CALLERS = 24
WRITER = "factor_model_creation"
WRITERS = [WRITER, f"{WRITER}.2"]


@pytest.fixture(scope="module")
def pool(ray_cluster: Path) -> Iterator[Path]:
    """A router whose exposures have three actors, and whose models have two writers."""
    yield from echoing(ray_cluster, {}, pools=(f"{WORKLOAD}=3", f"{WRITER}=2"))


def with_client(scenario: Callable[[RouterClient], Awaitable[Any]]) -> Any:
    """Run a scenario with a started client, once all actors are READY."""

    async def run() -> Any:
        client = await RouterClient(Settings()).start(DEADLINE_S)
        try:
            await client.wait_ready(set(ECHOING), DEADLINE_S, every=True)
            assert whole(client)
            return await scenario(client)
        finally:
            await client.close()

    return asyncio.run(run())


def whole(client: RouterClient) -> bool:
    copies = [copy for workload in (WORKLOAD, WRITER) for copy in client.table.routes[workload].copies]
    return [copy.name for copy in copies] == [*NAMES, *WRITERS] and all(copy.direct for copy in copies)


async def actors(client: RouterClient, workload: str = WORKLOAD) -> dict[str, dict[str, Any]]:
    rows = (await client.health())["actors"]
    return {row["actor"]: row for row in rows if row["workload"] == workload}


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
    assert {other["workload"] for other in routing["routes"] if "copies" in other} == {WORKLOAD, WRITER}


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
        await reached(lambda: len(answered) > 4 * CALLERS)
        os.kill(before[victim], signal.SIGKILL)
        named: set[str] = set()

        async def told() -> bool:
            named.update(row["component"] for row in (await client.health())["degraded"])
            return f"actor:{victim}" in named or int((await actors(client))[victim]["pid"]) != before[victim]

        await reached(told)
        n_told = len(answered)

        async def back() -> bool:
            row = (await actors(client))[victim]
            return row["state"] == "READY" and int(row["pid"]) != before[victim] and whole(client)

        await reached(back)
        now = int((await actors(client))[victim]["pid"])
        await reached(lambda: now in answered[n_told:])
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
        await reached(lambda: whole(client))
        return result.problem, await restarts() - before, pids

    problem, restarts, pids = with_client(scenario)
    assert (problem["code"], problem["status"]) == ("ends_actors", 422)
    assert len(pids) == 6
    assert restarts <= 3


@pytest.mark.parametrize("presence", [None, Presence()], ids=["straight", "by the router"])
def test_the_writes_of_a_model_go_to_its_writer_and_wait_for_it_while_those_of_others_go_on(pool, presence, tmp_path):
    async def scenario(client: RouterClient) -> tuple[dict[str, str], dict[str, str], int, list[int]]:
        async def written(model_id: str, timeout_s: float = DEADLINE_S) -> WorkResult:
            request = asked(model_id=model_id, folder=str(tmp_path))
            return await client.call("create_model", request, timeout_s=timeout_s, presence=presence)

        async def writers_of_models() -> dict[str, str]:
            names = {int(row["pid"]): name for name, row in (await actors(client, WRITER)).items()}
            results = await asyncio.gather(*(written(f"model-{n}") for n in range(12)))
            return {f"model-{n}": names[int(result.unwrap().values["pid"])] for n, result in enumerate(results)}

        before = await writers_of_models()
        mine, other = (next(model for model, name in before.items() if name == writer) for writer in WRITERS)
        killed = int((await actors(client, WRITER))[WRITERS[0]]["pid"])
        os.kill(killed, signal.SIGKILL)
        waiting = [asyncio.create_task(written(mine)) for _ in range(3)]
        (await written(other)).unwrap()
        pids = [int((await one).unwrap().values["pid"]) for one in waiting]

        async def back() -> bool:
            # The table may not tell yet that it went.
            row = (await actors(client, WRITER))[WRITERS[0]]
            return row["state"] == "READY" and int(row["pid"]) != killed and whole(client)

        await reached(back)
        return before, await writers_of_models(), killed, pids

    before, after, killed, pids = with_client(scenario)
    assert set(before.values()) == set(WRITERS)
    assert after == before
    assert killed not in pids
    assert len(set(pids)) == 1
