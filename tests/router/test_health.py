from __future__ import annotations

import pytest

from contracts.operations import Workload
from contracts.work import Device, State
from router.health import degraded, describe, routing
from router.member import Member
from router.table import ActorRoute, Bus, RouteTable

NE = Device.NEURAL_ENGINE


def table(*, connected: bool = True) -> RouteTable:
    route = ActorRoute("size_factor", object(), State.READY.value, 2, "wants cpu")
    return RouteTable(7, "epoch", {"size_factor": route}, Bus(connected, 1.0), "main")


def member(state: State, **seen) -> Member:
    return Member(Workload.FACTOR_EXPOSURE_ANALYSIS, (NE,), state=state, reason="why", **seen)


@pytest.mark.parametrize(
    ("one", "named"),
    [
        (member(State.READY), False),
        (member(State.STARTING), False),
        (member(State.STARTING, ping={"pid": 1}), True),
        (member(State.STARTING, restarts=1), True),
        (member(State.DEGRADED), True),
        (member(State.FAULTED), True),
    ],
)
def test_a_component_is_degraded_when_it_fails_but_not_while_it_starts_for_the_first_time(one, named):
    found = degraded([one], table(), bus_wanted=True)
    assert [d["component"] for d in found] == (["actor:factor_exposure_analysis"] if named else [])


def test_a_bus_that_is_switched_off_is_not_missed():
    assert degraded([], table(connected=False), bus_wanted=False) == []
    assert [d["component"] for d in degraded([], table(connected=False), bus_wanted=True)] == ["messagebus"]


def test_placement_is_told_apart_from_the_device_that_ran():
    one = member(
        State.READY, devices=(NE,), ping={"pid": 5, "node_id": "n", "resources": {"neural_engine": 0.1, "CPU": 0.0}}
    )
    said = {"devices_used": {"cpu": 9, "neural_engine": 1}, "queue_length": {"light": 2, "heavy": 1}, "calls": 10}
    told = describe(one, said)
    assert told["wanted_device"] == told["placement"]["device"] == ["neural_engine"]
    assert told["placement"]["resources"] == {"neural_engine": 0.1}
    assert told["device"] == "cpu"
    assert told["device_shares"] == {"cpu": 0.9, "neural_engine": 0.1}
    assert told["queue_length"] == 3


def test_what_a_silent_actor_would_have_said_is_unknown_and_not_zero():
    told = describe(member(State.DEGRADED), None)
    assert told["calls"] is told["queue_length"] is told["p50_ms"] is told["device"] is None
    assert told["state"] == "DEGRADED"


def test_the_route_table_is_told_without_handles():
    told = routing(table())
    assert told["version"] == 7
    assert told["routes"] == [
        {"workload": "size_factor", "state": "READY", "direct_reads": True, "generation": 2, "reason": "wants cpu"}
    ]


def test_reads_go_straight_only_to_a_ready_actor():
    ready = ActorRoute("size_factor", object(), State.READY.value, 1, "")
    assert ready.direct
    assert not ready._replace(handle=None).direct
    assert not ready._replace(state=State.STARTING.value).direct


def test_what_actors_learned_is_told_and_a_file_that_is_not_whole_is_passed_over(tmp_path):
    from router.health import learned

    (tmp_path / "risk_model_construction.json").write_text('{"at": 0, "table": [{"kernel": "revalue"}], "errors": {}}')
    (tmp_path / "calibration-abc.json").write_text('{"at": 0, "table": [], "errors": {}, "rows": []}')
    (tmp_path / "broken.json").write_text('{"at"')
    told = learned(tmp_path)
    assert set(told) == {"risk_model_construction", "calibration"}
    assert told["risk_model_construction"]["table"] == [{"kernel": "revalue"}]
    assert learned(tmp_path / "nowhere") == {}
