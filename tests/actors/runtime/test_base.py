from __future__ import annotations

import errno
import logging
import threading
import time
from collections.abc import Sequence
from typing import Any

import pytest
from pydantic import Field

from actors.runtime.base import WorkloadActor, batched, engine_error
from actors.runtime.queue import Outcome
from contracts.answers import Calculation
from contracts.errors import (
    DateOutsideModel,
    EngineError,
    InternalError,
    InvalidInput,
    Unavailable,
    UnknownModel,
    UnknownSymbol,
)
from contracts.requests import Request
from contracts.work import State, WorkItem, WorkResult, work_item
from factors.errors import DuplicateRowError, FactorError, NonFiniteError, UnknownDateError, UnknownSymbolError
from factors.numeric import deadline

DEADLINE_S = 20.0


class Numbers(Request):
    """Numbers to add; or a reason to fail."""

    numbers: list[int] = Field(default_factory=list)
    model_id: str | None = None
    fault: str = ""


class Sums(WorkloadActor):
    """Adds numbers; strict about its input."""

    @batched
    def size(self, batch: Sequence[Numbers]) -> list[Outcome]:
        for request in batch:
            fail(request)
        return [
            UnknownModel(f"no model {request.model_id}")
            if request.model_id
            else Calculation(sum(request.numbers), "added", 1.0, details={"n": len(batch)})
            for request in batch
        ]

    def value(self, request: Numbers) -> Calculation:
        fail(request)
        return Calculation(sum(request.numbers), "added", 1.0)

    def _hidden(self, request: Numbers) -> Calculation:
        return Calculation(None, "", 1.0)


def fail(request: Numbers) -> None:
    if request.fault == "symbol":
        raise UnknownSymbolError("no such symbol", field="portfolio_weights", rows=[("2020-01-02", "X")])
    if request.fault:
        raise RuntimeError("secret of the implementation")


def asked(operation: str, *numbers: int, timeout_s: float = 5.0, **fields: Any) -> WorkItem:
    return work_item(operation, Numbers(numbers=list(numbers), **fields), timeout_s=timeout_s)


def wait_for(actor: WorkloadActor, state: State) -> None:
    end = time.monotonic() + DEADLINE_S
    while actor.ping()["state"] != state.value:
        assert time.monotonic() < end
        time.sleep(0.001)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (UnknownSymbolError("x", field="f"), UnknownSymbol),
        (UnknownDateError("x", field="f"), DateOutsideModel),
        (DuplicateRowError("x", field="f"), InvalidInput),
        (NonFiniteError("x", field="f"), InvalidInput),
        (FactorError("x", field="f"), InvalidInput),
    ],
)
def test_errors_of_the_mathematics_become_the_callers_errors_with_field_and_rows(error, kind):
    assert type(engine_error(error)) is kind
    assert engine_error(error).field == "f"
    assert 400 <= engine_error(error).status < 500


def test_a_full_disk_is_a_component_that_is_down_and_not_a_defect():
    error = engine_error(OSError(errno.ENOSPC, "No space left on device", "/store/part"))
    assert isinstance(error, Unavailable)
    assert "No space left" in error.detail
    assert error.retry_after_s


def test_an_unforeseen_error_is_told_by_an_id_only_and_logged_with_its_traceback(caplog):
    with caplog.at_level(logging.ERROR):
        told = engine_error(RuntimeError("secret of the implementation"))
    assert isinstance(told, InternalError)
    assert "secret" not in told.detail
    error_id = told.detail.split()[-1]
    record = next(r for r in caplog.records if error_id in r.getMessage())
    assert record.exc_info is not None


def test_an_error_of_the_contract_goes_through_unchanged():
    error = UnknownModel("no model x", field="model_id")
    assert engine_error(error) is error


@pytest.mark.parametrize("operation", ["size", "value"])
def test_items_of_a_batch_fail_alone(operation):
    actor = Sums()
    items = [asked(operation, 1, 2), asked(operation, fault="symbol"), asked(operation, fault="boom")]
    results = actor.call_light([*items, asked(operation, 3)])
    assert [r.problem["code"] if r.problem else r.value.values for r in results] == [
        3,
        "unknown_symbol",
        "internal",
        3,
    ]
    assert results[1].problem["rows"] == [["2020-01-02", "X"]]
    assert results[0].timings_ms.keys() >= {"queue", "compute"}


def test_a_batch_without_errors_reaches_the_method_once_and_may_hold_errors_of_single_items():
    actor = Sums()
    results = actor.call_light([asked("size", 1), asked("size", model_id="gone"), asked("size", 2)])
    assert [r.value.details["n"] for r in results if r.value] == [3, 3]
    with pytest.raises(UnknownModel, match="no model gone"):
        results[1].unwrap()


@pytest.mark.parametrize(
    "name", ["ping", "stats", "prepare", "_hidden", "__init__", "call_light", "nothing", "settings"]
)
def test_only_operations_can_be_called(name):
    result = Sums().call_light([asked(name)])[0]
    assert result.problem is not None
    assert result.problem["code"] == "unknown_operation"


def test_items_wait_for_a_slow_preparation_and_control_answers_meanwhile():
    gate = threading.Event()

    class Slow(Sums):
        def prepare(self) -> None:
            assert gate.wait(DEADLINE_S)

    actor = Slow()
    assert actor.ping()["state"] == State.STARTING.value
    late = actor.call_light([asked("size", 1, timeout_s=0.02)])[0]
    assert late.problem["code"] in {"unavailable", "deadline_exceeded"}
    threading.Timer(0.01, gate.set).start()
    assert actor.call_light([asked("size", 1, timeout_s=DEADLINE_S)])[0].unwrap().values == 1
    assert actor.ping()["state"] == State.READY.value


def test_a_failed_preparation_faults_the_actor_and_callers_are_told_why():
    class Broken(Sums):
        def prepare(self) -> None:
            raise OSError("the disk is gone")

    actor = Broken()
    wait_for(actor, State.FAULTED)
    problem = actor.call_light([asked("size", 1)])[0].problem
    assert problem["code"] == "unavailable"
    assert problem["retryable"]
    assert "the disk is gone" in actor.ping()["reason"]


def test_a_short_item_does_not_wait_behind_a_long_one():
    entered, gate = threading.Event(), threading.Event()

    class Long(Sums):
        def risk_model(self, request: Numbers) -> Calculation:
            entered.set()
            assert gate.wait(DEADLINE_S)
            return Calculation(None, "", 1.0)

    actor = Long()
    heavy = threading.Thread(target=actor.call_heavy, args=([asked("risk_model", timeout_s=DEADLINE_S)],))
    heavy.start()
    assert entered.wait(DEADLINE_S)
    assert actor.call_light([asked("size", 1, 1)])[0].unwrap().values == 2
    assert actor.stats()["idle"] is False
    gate.set()
    heavy.join(DEADLINE_S)


def test_statistics_tell_calls_errors_devices_and_latency():
    actor = Sums()
    actor.call_light([asked("size", 1), asked("size", model_id="gone")])
    stats = actor.stats()
    assert (stats["calls"], stats["errors"], stats["devices_used"]) == (2, 1, {"cpu": 1})
    assert stats["queue_length"] == {"light": 0, "heavy": 0}
    assert stats["operations"]["size"]["errors"] == {"unknown_model": 1}
    assert stats["latency_ms"]["p99"] >= stats["latency_ms"]["p50"] > 0


def test_an_answer_of_the_wrong_length_is_a_defect_and_not_a_mix_up():
    class Short(Sums):
        @batched
        def momentum(self, batch: Sequence[Numbers]) -> list[Outcome]:
            return [Calculation(1, "", 1.0)]

    results = Short().call_light([asked("momentum"), asked("momentum")])
    assert {r.problem["code"] for r in results} == {"internal"}
    assert isinstance(EngineError.from_problem(results[0].problem), InternalError)


def test_who_went_away_is_not_computed_for_wherever_his_request_is():
    entered, ended = threading.Event(), threading.Event()

    class Long(Sums):
        def risk_model(self, request: Numbers) -> Calculation:
            entered.set()
            end = time.monotonic() + DEADLINE_S
            try:
                while time.monotonic() < end:
                    deadline.check()
                    time.sleep(0.001)
            finally:
                ended.set()
            return Calculation(None, "", 1.0)

    actor = Long()
    running, waiting, coming = (asked("risk_model", timeout_s=600.0) for _ in range(3))
    results: dict[str, WorkResult] = {}

    def call(name: str, item: WorkItem) -> None:
        results[name] = actor.call_heavy([item])[0]

    threads = [threading.Thread(target=call, args=("running", running))]
    threads[0].start()
    assert entered.wait(DEADLINE_S)
    threads.append(threading.Thread(target=call, args=("waiting", waiting)))
    threads[1].start()
    end = time.monotonic() + DEADLINE_S
    while not actor.stats()["queue_length"]["heavy"]:
        assert time.monotonic() < end
        time.sleep(0.001)
    actor.leave([coming.key, waiting.key, running.key])
    for thread in threads:
        thread.join(DEADLINE_S)
    assert ended.is_set()
    results["coming"] = actor.call_heavy([coming])[0]
    assert {name: result.problem["code"] for name, result in results.items()} == dict.fromkeys(
        ("running", "waiting", "coming"), "caller_gone"
    )
    # The same request again has another time of sending: it is another one.
    again = running._replace(sent_at=running.sent_at + 1.0, operation="value")
    assert actor.call_heavy([again])[0].problem is None
