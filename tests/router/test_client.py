"""The client, the router and echoing actors on a real Ray."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from echo_workload import asked
from fixtures_ray import DEADLINE_S, ECHOING, reached

from contracts.errors import (
    DeadlineExceeded,
    EngineError,
    InternalError,
    QueueFull,
    Unavailable,
    UnknownOperation,
    UnknownSymbol,
    WrongEngine,
)
from contracts.settings import Settings
from contracts.work import Priority, State, WorkResult, work_item
from engine.start import connect
from router.client import RouterClient
from router.packing import unpack_table
from router.table import RouteTable

LATE_S = 2.0
"""What a busy machine may add between a call's end and the clock that the test reads."""


def with_client(scenario: Callable[[RouterClient], Awaitable[Any]], **limits: Any) -> Any:
    """Run a scenario with a started client, once the echoing actors are READY."""

    async def run() -> Any:
        client = await RouterClient(Settings(**limits)).start(DEADLINE_S)
        try:
            await client.wait_ready(set(ECHOING), DEADLINE_S)
            return await scenario(client)
        finally:
            await client.close()

    return asyncio.run(run())


async def read(client: RouterClient, **payload: Any) -> WorkResult:
    return await client.call("factor_exposures", asked(**payload), timeout_s=DEADLINE_S)


async def pid_of(client: RouterClient, workload: str) -> int:
    actors = (await client.health())["actors"]
    return next(a["pid"] for a in actors if a["workload"] == workload)


@pytest.fixture
def at_work(tmp_path: Path) -> Iterator[Path]:
    """A file; an echoing actor is busy as long as it is there."""
    path = tmp_path / "at work"
    path.touch()
    yield path
    path.unlink(missing_ok=True)


def test_a_read_is_answered_with_the_time_of_each_stage(echo_router):
    async def scenario(client: RouterClient) -> WorkResult:
        return await read(client, portfolio="p", weights={"A": 1.0})

    result = with_client(scenario)
    assert result.unwrap().values["echo"] == {"portfolio": "p", "weights": {"A": 1.0}}
    assert result.device == "cpu"
    assert result.timings_ms.keys() == {"queue", "compute", "dispatch"}
    assert all(value >= 0 for value in result.timings_ms.values())


def test_concurrent_reads_travel_together_and_each_caller_gets_its_own(echo_router):
    async def scenario(client: RouterClient) -> list[WorkResult]:
        return await asyncio.gather(*(read(client, number=i) for i in range(300)))

    values = [result.unwrap().values for result in with_client(scenario)]
    assert [value["echo"]["number"] for value in values] == list(range(300))
    assert 1 < max(value["n_batch"] for value in values) <= Settings().batch_limit


def test_reads_are_answered_while_a_new_route_table_is_unpacked(echo_router, monkeypatch):
    entered, go_on = threading.Event(), threading.Event()

    def slow(packed: bytes) -> RouteTable:
        entered.set()
        assert go_on.wait(DEADLINE_S), "the test did not go on"
        return unpack_table(packed)

    async def scenario(client: RouterClient) -> Any:
        monkeypatch.setattr("router.client.unpack_table", slow)
        try:
            await client.set_default_model("another")
            await reached(entered.is_set)
            answer = (await read(client, a=1)).unwrap()
            assert client.table.default_model != "another"
        finally:
            go_on.set()
        await reached(lambda: client.table.default_model == "another")
        await client.set_default_model(None)
        return answer

    assert with_client(scenario).values["echo"] == {"a": 1}


def test_errors_of_the_computation_reach_the_caller_and_spare_the_others(echo_router):
    async def scenario(client: RouterClient) -> list[WorkResult]:
        payloads: list[dict[str, Any]] = [{"a": 1}, {"unknown_symbol": 1}, {"defect": 1}, {"a": 2}]
        return await asyncio.gather(*(read(client, **payload) for payload in payloads))

    good, unknown, defect, also_good = with_client(scenario)
    assert good.unwrap().values["echo"] == {"a": 1}
    assert also_good.unwrap().values["echo"] == {"a": 2}
    with pytest.raises(UnknownSymbol) as told:
        unknown.unwrap()
    assert (told.value.field, told.value.rows) == ("portfolio_weights", [["2020-01-02", "X"]])
    with pytest.raises(InternalError, match="logged as") as internal:
        defect.unwrap()
    assert "a defect" not in internal.value.detail


def test_an_unknown_operation_is_refused(echo_router):
    with pytest.raises(UnknownOperation):
        with_client(lambda client: client.call("make_coffee", asked()))


@pytest.mark.parametrize("operation", ["factor_exposures", "risk_model", "create_model"])
def test_a_call_that_takes_too_long_ends_while_the_work_goes_on(echo_router, operation, at_work, tmp_path):
    async def scenario(client: RouterClient) -> None:
        payload = {"while_there": str(at_work), "model_id": "slow", "folder": str(tmp_path)}
        with pytest.raises(DeadlineExceeded):
            (await client.call(operation, asked(**payload), timeout_s=0.3)).unwrap()

    with_client(scenario)


def test_short_requests_pass_long_ones_of_the_same_actor(echo_router, at_work):
    async def scenario(client: RouterClient) -> list[WorkResult]:
        long = asyncio.create_task(client.call("risk_model", asked(while_there=str(at_work)), timeout_s=DEADLINE_S))
        await reached(lambda: _busy(client, "risk_model_construction"))
        short = await client.call("portfolio_risk", asked(n=1), timeout_s=DEADLINE_S)
        at_work.unlink()
        return [short, await long]

    assert [result.problem for result in with_client(scenario)] == [None, None]


async def _busy(client: RouterClient, workload: str) -> bool:
    ping = await client.table.routes[workload].handle.ping.remote()
    return not ping["idle"]


def test_an_urgent_request_overtakes_what_waits(echo_router, at_work):
    async def scenario(client: RouterClient) -> list[str]:
        order: list[str] = []

        async def one(name: str, priority: Priority, payload: dict[str, Any]) -> None:
            await client.call("factor_exposures", asked(**payload), priority=priority, timeout_s=DEADLINE_S)
            order.append(name)

        tasks = [asyncio.create_task(one("first", Priority.NORMAL, {"while_there": str(at_work)}))]
        await reached(lambda: _busy(client, "factor_exposure_analysis"))
        tasks += [asyncio.create_task(one("normal", Priority.NORMAL, {})) for _ in range(6)]
        await asyncio.sleep(0)
        tasks.append(asyncio.create_task(one("urgent", Priority.URGENT, {})))
        await asyncio.sleep(0)
        at_work.unlink()
        await asyncio.gather(*tasks)
        return order

    order = with_client(scenario)
    assert order.index("urgent") < order.index("normal")


def test_more_than_may_wait_is_refused_with_the_time_to_ask_again(echo_router):
    async def scenario(client: RouterClient) -> list[Any]:
        calls = [client.call("factor_exposures", asked(work_s=0.2), timeout_s=DEADLINE_S) for _ in range(8)]
        return await asyncio.gather(*calls, return_exceptions=True)

    outcomes = with_client(scenario, queue_limit=3)
    refused = [one for one in outcomes if isinstance(one, QueueFull)]
    assert len(refused) == 2  # three in flight, three waiting
    assert all(one.retry_after_s and one.retry_after_s > 0 for one in refused)
    assert all(one.problem is None for one in outcomes if isinstance(one, WorkResult))


def test_a_write_repeated_with_its_id_makes_no_second_version(echo_router, tmp_path):
    async def scenario(client: RouterClient) -> list[int]:
        payload = {"model_id": "m", "folder": str(tmp_path)}
        ids = ["a", "a", "b", "a"]
        return [(await client.call("create_model", asked(**payload), request_id=i)).unwrap().model_version for i in ids]

    assert with_client(scenario) == [1, 1, 2, 1]


def test_writes_of_one_model_are_done_in_the_order_of_their_coming(echo_router, tmp_path):
    async def scenario(client: RouterClient) -> list[int]:
        tasks = []
        for i in range(6):
            payload = {"model_id": "m", "folder": str(tmp_path), "work_s": 0.05 if i % 2 else 0.0}
            tasks.append(asyncio.create_task(client.call("create_model", asked(**payload), request_id=f"w{i}")))
            await asyncio.sleep(0)
        return [(await task).unwrap().model_version for task in tasks]

    assert with_client(scenario) == [1, 2, 3, 4, 5, 6]


def test_writes_that_come_in_at_two_processes_at_once_are_done_one_at_a_time(echo_router, tmp_path):
    async def scenario(client: RouterClient) -> list[int]:
        other = await RouterClient(Settings()).start(DEADLINE_S)
        try:
            calls = [
                one.call("create_model", asked(model_id="m", folder=str(tmp_path), work_s=0.02), request_id=f"{n}{i}")
                for i in range(4)
                for n, one in enumerate((client, other))
            ]
            return [result.unwrap().model_version for result in await asyncio.gather(*calls)]
        finally:
            await other.close()

    assert sorted(with_client(scenario)) == list(range(1, 9))


def test_everybody_learns_of_the_bus_and_of_the_default_model(echo_router):
    async def scenario(client: RouterClient) -> None:
        other = await RouterClient(Settings()).start(DEADLINE_S)
        try:
            await client.report_bus(True)
            await client.set_default_model("main")
            await reached(lambda: other.table.bus.connected and other.table.default_model == "main")
            await client.report_bus(False)
            await reached(lambda: not other.table.bus.connected)
            degraded = {one["component"] for one in (await other.health())["degraded"]}
            assert "messagebus" in degraded
        finally:
            await other.close()

    with_client(scenario)


def test_health_tells_wanted_device_placement_device_that_ran_state_and_latency(echo_router):
    async def scenario(client: RouterClient) -> tuple[dict[str, Any], dict[str, Any]]:
        await read(client, a=1)
        return await client.health(), await client.routing()

    health, routing = with_client(scenario)
    actor = next(a for a in health["actors"] if a["workload"] == "factor_exposure_analysis")
    assert actor["wanted_device"] == ["metal_gpu"]
    assert actor["placement"]["device"] == ["cpu"]
    assert actor["placement"]["node_id"]
    assert actor["device"] == "cpu"
    assert actor["state"] == State.READY.value
    assert "does not offer" in actor["reason"]
    assert actor["calls"] > 0
    assert actor["p99_ms"] >= actor["p50_ms"] > 0
    assert actor["queue_length"] == 0
    route = next(r for r in routing["routes"] if r["workload"] == "factor_exposure_analysis")
    assert route["direct_reads"] is True


def test_an_actor_that_cannot_start_is_named_with_its_reason_and_tried_again(echo_router):
    async def scenario(client: RouterClient) -> EngineError:
        async def tried_again() -> bool:
            return client.table.routes["size_factor"].generation > 1

        async def named() -> bool:
            rows = (await client.health())["degraded"]
            mine = [row for row in rows if row["component"] == "actor:size_factor"]
            return any(row["state"] == "FAULTED" and "the model file is broken" in row["reason"] for row in mine)

        async def told() -> bool:
            try:
                (await client.call("size", asked(), timeout_s=2.0)).unwrap()
            except DeadlineExceeded:
                return False  # the router speaks 50 ms before the deadline: too late on a busy machine
            except Unavailable as error:
                reasons.append(error)
            return True

        reasons: list[EngineError] = []
        await reached(tried_again)
        await reached(named)
        await reached(told)
        return reasons[0]

    error = with_client(scenario)
    assert error.status == 503
    assert error.detail.startswith(
        ("size_factor is FAULTED: ", "size_factor is STARTING: ", "Stubborn could not start: ")
    )


def test_a_defect_of_the_router_is_told_once_under_an_id_and_not_taken_for_its_death(echo_router):
    async def scenario(client: RouterClient) -> str:
        item = work_item("size", asked(), timeout_s=DEADLINE_S)._replace(request_id=["no", "key"])
        with pytest.raises(InternalError) as told:
            await client._dispatch(item)
        return str(told.value.detail)

    assert "logged as" in (detail := with_client(scenario))
    assert "ray::" not in detail


def test_killing_an_actor_under_load_leaves_no_call_without_an_answer_in_time(echo_router):
    timeout_s = DEADLINE_S

    async def scenario(client: RouterClient) -> tuple[list[Any], list[float], int, int]:
        victim = await pid_of(client, "factor_exposure_analysis")
        latencies: list[float] = []
        stop = asyncio.Event()

        async def caller(number: int) -> list[Any]:
            outcomes: list[Any] = []
            while not stop.is_set() or len(outcomes) < 5:
                began = time.monotonic()
                try:
                    result = await client.call("factor_exposures", asked(n=number, work_s=0.001), timeout_s=timeout_s)
                    assert result.unwrap().values["echo"]["n"] == number
                    outcomes.append(result.value.values["pid"])
                except EngineError as error:
                    outcomes.append(error)
                latencies.append(time.monotonic() - began)
            return outcomes

        callers = [asyncio.create_task(caller(i)) for i in range(32)]
        await reached(lambda: len(latencies) > 64)
        os.kill(victim, signal.SIGKILL)

        async def back() -> bool:
            return await pid_of(client, "factor_exposure_analysis") != victim

        await reached(back)
        before = len(latencies)
        await reached(lambda: len(latencies) > before + 64)
        stop.set()
        return [one for each in await asyncio.gather(*callers) for one in each], latencies, victim, before

    outcomes, latencies, victim, _ = with_client(scenario)
    answers = [one for one in outcomes if isinstance(one, int)]
    assert set(answers) > {victim}
    assert len(outcomes) == len(latencies)
    assert max(latencies) <= timeout_s + LATE_S
    # With a deadline well beyond a restart, every read was answered: the router waited and sent it again.
    assert [one for one in outcomes if not isinstance(one, int)] == []


def test_while_an_actor_is_away_a_short_deadline_gets_a_clear_error_in_time(echo_router):
    async def scenario(client: RouterClient) -> list[EngineError]:
        victim = await pid_of(client, "risk_model_construction")
        os.kill(victim, signal.SIGKILL)
        errors = []
        for _ in range(5):
            try:
                async with asyncio.timeout(0.15 + LATE_S):
                    (await client.call("portfolio_risk", asked(), timeout_s=0.15)).unwrap()
            except EngineError as error:
                errors.append(error)
        await client.wait_ready({"risk_model_construction"}, DEADLINE_S)
        return errors

    errors = with_client(scenario)
    assert errors
    assert all(isinstance(error, Unavailable | DeadlineExceeded) and error.retryable for error in errors)


def test_a_write_whose_actor_dies_after_the_commit_is_answered_with_the_version_that_it_made(echo_router, tmp_path):
    async def scenario(client: RouterClient) -> WorkResult:
        payload = {"model_id": "m", "folder": str(tmp_path), "die_once": True}
        return await client.call("create_model", asked(**payload), timeout_s=DEADLINE_S, request_id="once")

    result = with_client(scenario)
    assert result.unwrap().model_version == 1
    assert (tmp_path / "died").exists()
    assert [path.name for path in Path(tmp_path).glob("*.version")] == ["once.version"]


def test_killing_the_router_stops_no_read_and_loses_no_write(echo_router, tmp_path):
    async def scenario(client: RouterClient) -> None:
        await client.report_bus(True)
        await client.set_default_model("kept")
        router = (await client.health())["router"]["pid"]
        epoch = client.table.epoch
        actor = await pid_of(client, "factor_exposure_analysis")
        os.kill(router, signal.SIGKILL)
        write = asyncio.create_task(
            client.call("create_model", asked(model_id="m", folder=str(tmp_path)), timeout_s=DEADLINE_S)
        )
        for i in range(20):
            assert (await read(client, n=i)).unwrap().values["pid"] == actor
        assert (await write).unwrap().model_version == 1
        await reached(lambda: client.table.epoch != epoch)
        await reached(lambda: client.table.bus.connected and client.table.default_model == "kept")
        # The new router took over the actors that were there.
        await client.wait_ready(set(ECHOING), DEADLINE_S)
        assert await pid_of(client, "factor_exposure_analysis") == actor

    with_client(scenario)


@pytest.mark.usefixtures("echo_router")
def test_a_frozen_actor_is_told_of_replaced_and_its_stack_is_in_the_log():
    import ray

    logs = Path(ray._private.worker._global_node.get_logs_dir_path())

    async def scenario(client: RouterClient) -> int:
        pid = int((await read(client)).unwrap().values["pid"])

        async def actor() -> dict[str, Any]:
            rows = (await client.health())["actors"]
            return next(row for row in rows if row["workload"] == "factor_exposure_analysis")

        async def told() -> bool:
            return "stopped" in ((await actor())["reason"] or "")

        os.kill(pid, signal.SIGSTOP)
        await reached(told)
        assert "actor:factor_exposure_analysis" in {row["component"] for row in (await client.health())["degraded"]}

        async def replaced() -> bool:
            now = await actor()
            return now["state"] == State.READY.value and now["pid"] != pid

        await reached(replaced)
        assert (await read(client)).unwrap().values["pid"] != pid
        return pid

    pid = with_client(scenario)
    told = [path.read_text(errors="replace") for path in logs.glob("*") if path.is_file()]
    (text,) = (text for text in told if f"process {pid}, is frozen; its stack" in text)
    assert "most recent call first" in text


@pytest.mark.parametrize(
    ("operation", "workload"),
    [("factor_exposures", "factor_exposure_analysis"), ("risk_model", "risk_model_construction")],
)
def test_a_request_that_ended_two_actors_is_not_given_to_a_third(echo_router, operation, workload):
    async def scenario(client: RouterClient) -> tuple[WorkResult, list[WorkResult]]:
        async def restarts() -> int:
            rows = (await client.health())["actors"]
            return next(int(row["restarts"]) for row in rows if row["workload"] == workload)

        before = await restarts()  # other tests end this actor too
        fatal = client.call(operation, asked(die=True), timeout_s=DEADLINE_S, request_id=f"fatal-{operation}")
        others = [client.call(operation, asked(n=n), timeout_s=DEADLINE_S) for n in range(5)]
        result, *answers = await asyncio.gather(fatal, *others)
        assert await restarts() - before <= 3
        return result, answers

    refused, answers = with_client(scenario)
    assert refused.problem is not None
    assert (refused.problem["code"], refused.problem["status"]) == ("ends_actors", 422)
    assert all(answer.unwrap().values["echo"]["n"] == n for n, answer in enumerate(answers))
    notes = {path: (path / "request.json").read_text() for path in (echo_router / "refused").iterdir()}
    (kept,) = [path for path, text in notes.items() if f"fatal-{operation}" in text]
    assert kept.name in refused.problem["detail"]


def test_a_face_of_another_run_directory_does_not_take_this_clusters_engine_for_its_own(echo_router, tmp_path):
    async def connected(run_dir: Path) -> None:
        connection = await connect(Settings(run_dir=run_dir, messagebus_enabled=False), DEADLINE_S)
        await connection.close()

    asyncio.run(connected(echo_router))
    with pytest.raises(WrongEngine, match="another run directory"):
        asyncio.run(connected(tmp_path))
