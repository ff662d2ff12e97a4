"""Where a workload has several actors, an operation is told once, of all of them, and each actor for itself."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from actors.runtime.meter import Meter
from contracts.operations import Workload
from contracts.settings import Settings
from contracts.work import State
from router.health import describe
from router.member import Member
from web.health import _state_of
from web.performance import performance, prometheus

WORKLOAD = Workload.RISK_MODEL_CONSTRUCTION


def stats(meter: Meter) -> dict[str, object]:
    return {"operations": meter.snapshot(), "notes": {"slices": 1}, "queue_length": {"light": 1}}


@pytest.fixture
def parts():
    first, second = Meter(), Meter()
    for _ in range(3):
        first.answered("portfolio_risk", "cpu", queue=0.001, compute=0.002)
    second.answered("portfolio_risk", "metal_gpu", queue=0.001, compute=0.02)
    second.failed("portfolio_risk", "unknown_symbol", queue=0.001, compute=0.02, decode=0.001)
    second.answered("margin", "cpu", compute=0.003)
    rows = [
        describe(Member(WORKLOAD, (), number, state=state, alive=True), stats(meter))
        for number, state, meter in ((1, State.STARTING, first), (2, State.READY, second))
    ]
    router = {"actors": rows, "router": {"started": 0.0}, "bus": {"connected": True}}
    return {"router": router, "bridge": None, "models": None, "host": None, "silent": {}}


@pytest.fixture
def services():
    return SimpleNamespace(meter=Meter(), face=None, feed={}, doors={}, settings=Settings())


def test_an_operation_is_told_of_all_its_actors_together(parts, services):
    told = performance(services, parts)
    risk = told["operations"]["portfolio_risk"]
    assert (told["calls"], risk["calls"]) == (6, 5)
    assert risk["errors"] == {"unknown_symbol": 1}
    assert told["device_use"] == {"cpu": 4, "metal_gpu": 1}
    compute = risk["stages_ms"]["compute"]
    assert compute["count"] == sum(compute["buckets"]) == 5
    assert compute["sum_ms"] == pytest.approx(3 * 2.0 + 2 * 20.0)
    assert (compute["p50"], compute["p99"]) == (20.0, 20.0), "that of the slower one"
    assert risk["stages_ms"]["decode"]["count"] == 1
    assert told["operations"]["margin"]["calls"] == 1


def test_no_line_of_the_metrics_page_is_there_twice_and_each_actor_has_its_own(parts, services):
    text = prometheus(services, parts).decode()
    series = Counter(line.rpartition(" ")[0] for line in text.splitlines() if not line.startswith("#"))
    assert [name for name, count in series.items() if count > 1] == []
    families = {family.name: family.samples for family in text_string_to_metric_families(text)}
    ready = {sample.labels["workload"]: sample.value for sample in families["factor_engine_actor_ready"]}
    assert ready == {WORKLOAD.value: 0.0, f"{WORKLOAD}.2": 1.0}
    assert {sample.labels["workload"] for sample in families["factor_engine_actor"]} == set(ready)
    (calls,) = [s for s in families["factor_engine_calls"] if s.labels["operation"] == "portfolio_risk"]
    assert calls.value == 5.0


def test_a_workload_is_ready_where_one_of_its_actors_is(parts):
    assert _state_of(parts, WORKLOAD) == "READY"
    parts["router"]["actors"].pop()
    assert _state_of(parts, WORKLOAD) == "STARTING"
    assert _state_of(parts, Workload.SIZE_FACTOR) is None
