from __future__ import annotations

import time
from concurrent.futures import Future
from types import SimpleNamespace

import pytest

from contracts.operations import OPERATIONS, PLACEMENTS, Workload
from contracts.settings import Settings
from contracts.work import Device, State
from router import fleet, placement
from router.fleet import WAITS_S, Fleet
from router.health import degraded
from router.member import PREPARING_FACTOR, Action, Member, decide, frozen_limit_s
from router.nodes import Node
from router.table import Bus, RouteTable

NE, GPU = Device.NEURAL_ENGINE, Device.METAL_GPU
NOW = 1000.0
TIMEOUT_S, FROZEN_S = 10.0, 30.0
HANDLE = object()


def member(**seen) -> Member:
    """An actor that wants the Neural Engine and was asked for `age` seconds ago."""
    age = seen.pop("age", 0.0)
    return Member(Workload.FACTOR_EXPOSURE_ANALYSIS, (NE,), **{"handle": HANDLE, "asked_at": NOW - age, **seen})


def ready(**seen) -> Member:
    return member(**{"state": State.READY, "alive": True, "ping": {"pid": 1, "idle": True}, **seen})


def act(one: Member, offer=(NE,), settled=True):
    return decide(one, offer, NOW, timeout_s=TIMEOUT_S, settled=settled, frozen_after_s=FROZEN_S)[0]


def test_what_does_not_exist_is_created_but_not_before_its_time():
    assert act(member(handle=None)) is Action.CREATE
    assert act(member(gone=True)) is Action.CREATE
    assert act(member(gone=True, retry_at=NOW + 1)) is Action.LEAVE


def test_an_actor_as_wanted_is_left_alone():
    assert act(ready(devices=(NE,))) is Action.LEAVE
    assert act(ready(devices=()), offer=()) is Action.LEAVE


@pytest.mark.parametrize(("age", "action"), [(TIMEOUT_S - 1, Action.LEAVE), (TIMEOUT_S + 1, Action.MOVE)])
def test_an_actor_that_does_not_appear_on_its_device_in_time_is_moved(age, action):
    assert act(member(devices=(NE,), age=age)) is action


def test_an_actor_whose_device_no_living_node_offers_is_moved_at_once():
    action, reason = decide(member(devices=(NE,), age=0.1), (), NOW, timeout_s=TIMEOUT_S, settled=False)
    assert action is Action.MOVE
    assert "neural_engine" in reason


def test_an_actor_on_cpu_is_given_time_since_there_is_nowhere_better():
    assert act(member(devices=(), age=TIMEOUT_S + 1), offer=()) is Action.LEAVE
    assert act(member(devices=(), age=frozen_limit_s(member(), FROZEN_S) + 1), offer=()) is Action.MOVE


def test_a_process_that_prepares_on_a_device_gets_longer_than_one_that_never_came():
    preparing = {"devices": (NE,), "alive": True, "state": State.STARTING, "ping": {"pid": 1, "idle": True}}
    assert act(member(age=TIMEOUT_S + 1, **preparing)) is Action.LEAVE
    assert act(member(age=PREPARING_FACTOR * TIMEOUT_S + 1, **preparing)) is Action.MOVE


def test_a_working_process_that_is_silent_is_not_moved_as_fast_as_one_that_never_came():
    silent = {"devices": (NE,), "alive": False, "state": State.DEGRADED, "ping": {"pid": 1, "idle": False}}
    assert act(member(age=TIMEOUT_S + 1, **silent)) is Action.LEAVE
    assert act(member(age=PREPARING_FACTOR * TIMEOUT_S + 1, **silent)) is Action.MOVE


def test_a_silent_actor_is_replaced_after_its_longest_deadline_and_a_stopped_one_sooner():
    longest = max(row.timeout_s for row in OPERATIONS.values() if row.workload is Workload.FACTOR_EXPOSURE_ANALYSIS)
    silent = {"devices": (), "alive": False, "state": State.DEGRADED, "ping": {"pid": 1, "idle": False}}
    assert act(member(age=longest + FROZEN_S - 1, **silent), offer=()) is Action.LEAVE
    assert act(member(age=longest + FROZEN_S + 1, **silent), offer=()) is Action.MOVE
    assert act(member(age=FROZEN_S - 1, stopped=True, **silent), offer=()) is Action.LEAVE
    assert act(member(age=FROZEN_S + 1, stopped=True, **silent), offer=()) is Action.MOVE


def test_a_faulted_actor_is_made_anew_after_its_pause():
    faulted = {"state": State.FAULTED, "alive": True, "ping": {"pid": 1, "idle": True}}
    assert act(member(retry_at=NOW + 1, **faulted)) is Action.LEAVE
    assert act(member(retry_at=NOW - 1, **faulted)) is Action.MOVE


def test_an_actor_moves_to_a_device_that_came_when_the_nodes_settled_and_it_is_idle():
    assert act(ready(devices=())) is Action.MOVE
    assert act(ready(devices=()), settled=False) is Action.LEAVE
    assert act(ready(devices=(), ping={"pid": 1, "idle": False})) is Action.LEAVE


def test_an_actor_that_is_not_on_its_node_is_moved_there_when_it_is_idle_and_not_again_at_once():
    def moved(settled=True, **seen):
        one = ready(devices=(NE,), **seen)
        return decide(one, (NE,), NOW, timeout_s=TIMEOUT_S, settled=settled, astray=True)[0]

    assert moved() is Action.MOVE
    assert moved(ping={"pid": 1, "idle": False}) is Action.LEAVE
    assert moved(home_at=NOW + 1) is Action.LEAVE
    assert moved(state=State.STARTING) is Action.LEAVE
    assert moved(settled=False) is Action.LEAVE


def test_an_actor_that_waits_to_start_is_told_of_with_what_may_hold_it_up(tmp_path):
    fleet = Fleet(Settings(run_dir=tmp_path), {Workload.SIZE_FACTOR.value: "nowhere:Nothing"}, {}, lambda: None)
    (waiting,) = fleet.members.values()
    never = SimpleNamespace(future=Future)
    waiting.handle = SimpleNamespace(ping=SimpleNamespace(remote=lambda: never))
    waiting.asked_at = time.monotonic() - WAITS_S - 1.0
    fleet._collect_pings()
    table = RouteTable(1, "e", {}, Bus(True, 0.0), None)
    (row,) = degraded([waiting], table, bus_wanted=True)
    assert row["component"] == "actor:size_factor"
    assert "waits for more than 10 s to start: " in row["reason"]
    # One that is on its way is not yet a fault.
    waiting.waits, waiting.asked_at = 0, time.monotonic()
    fleet._collect_pings()
    assert degraded([waiting], table, bus_wanted=True) == []


def test_an_actor_whose_process_ended_and_does_not_come_again_is_told_of_with_what_may_hold_it(tmp_path, monkeypatch):
    monkeypatch.setattr(placement, "find", lambda _name: HANDLE)
    watched = Fleet(Settings(run_dir=tmp_path), {Workload.SIZE_FACTOR.value: "nowhere:Nothing"}, {}, lambda: None)
    (one,) = watched.members.values()
    one.ping, one.state, one.alive = {"pid": 1, "node_id": "n", "resources": {}}, State.READY, True
    watched._missed(one, RuntimeError("its process ended"))
    assert one.reason == "restarting: RuntimeError"
    one.asked_at -= WAITS_S + 1.0
    watched._missed(one, RuntimeError("Ray still has none"))
    assert "waits for more than 10 s to start: " in one.reason
    # A new process that exists and does not answer waits just so.
    one.asked_at -= WAITS_S
    watched._look_at_silent(one)
    assert "waits for more than 20 s to start: " in one.reason
    watched._seen(one, {"pid": 2, "node_id": "n", "resources": {}, "state": "READY", "reason": None})
    assert (one.state, one.waits, one.restarting) == (State.READY, 0, False)


class Pinged:
    """A handle whose ping never answers; it counts how often it was asked."""

    def __init__(self):
        self.ping, self.asked = self, 0

    def remote(self):
        self.asked += 1
        return self

    def future(self):
        return Future()


class Broken:
    @property
    def ping(self):
        raise RuntimeError("this handle is broken")


def test_an_actor_that_cannot_be_created_or_pinged_keeps_no_other_from_it(monkeypatch, tmp_path, caplog):
    names = [workload.value for workload, placed in PLACEMENTS.items() if placed.first]
    bad, good = names[:2]
    made: dict[str, list[object]] = {bad: [], good: []}

    def create(workload, *_):
        if workload.value == bad and not made[bad]:
            made[bad].append(Broken())
            raise OSError("no room for its environment\nand more")
        made[workload.value].append(Broken() if workload.value == bad else Pinged())
        return made[workload.value][-1]

    monkeypatch.setattr(placement, "create", create)
    monkeypatch.setattr(placement, "living_nodes", list)
    monkeypatch.setattr(fleet, "PING_S", 0.0)
    monkeypatch.setattr(fleet.Fleet, "_is_here", lambda self, member: False)  # it would ask Ray
    monkeypatch.setattr(fleet, "BACKOFF_S", (0.0,))
    changes = []
    kept = fleet.Fleet(Settings(run_dir=tmp_path), dict.fromkeys((bad, good), "x:X"), {}, lambda: changes.append(1))
    first, second = kept.members.values()
    kept._round()
    assert first.handle is None
    assert first.reason == "cannot be created: no room for its environment"
    assert second.handle is made[good][0], "the one after it was created all the same"
    kept._round()
    assert isinstance(first.handle, Broken)
    kept._round()
    assert second.handle.asked == 1, "it was pinged beside a broken one"
    assert len(changes) == 2
    assert "looking after" in caplog.text


def test_a_device_that_failed_an_actor_is_said_to_have_and_is_tried_again_after_a_while(tmp_path, monkeypatch):
    mac = [Node("m", frozenset({GPU}), "mac", "10.0.0.2")]
    monkeypatch.setattr(placement, "living_nodes", lambda: mac)
    kept = Fleet(Settings(run_dir=tmp_path), {Workload.FACTOR_EXPOSURE_ANALYSIS.value: "x:X"}, {}, lambda: None)
    (one,) = kept.members.values()
    kept._look_at_nodes()
    assert kept._offer(one) == (GPU,)
    one.failed_on, one.forgiven_at, one.refusals = frozenset({"m"}), time.monotonic() + 600.0, 1
    kept._look_at_nodes()
    assert kept._offer(one) == ()
    assert "did not come up there" in kept._placement_reason(one)
    one.forgiven_at = time.monotonic()
    kept._look_at_nodes()
    assert kept._offer(one) == (GPU,)
    assert "which the cluster does not offer" in kept._placement_reason(one)


def test_an_actor_whose_node_went_says_so_while_it_starts_elsewhere(tmp_path, monkeypatch):
    living = [[Node("h", frozenset(), "head", "10.0.0.1"), Node("m", frozenset(), "other", "10.0.0.2")]]
    monkeypatch.setattr(placement, "living_nodes", lambda: living[0])
    monkeypatch.setattr(placement, "find", lambda name: HANDLE)
    kept = Fleet(Settings(run_dir=tmp_path), {Workload.SIZE_FACTOR.value: "x:X"}, {}, lambda: None)
    (one,) = kept.members.values()
    one.state, one.ping, one.asked_at = State.READY, {"pid": 1, "node_id": "m"}, time.monotonic()
    kept._look_at_nodes()
    living[0] = living[0][:1]
    kept._look_at_nodes()
    kept._missed(one, ConnectionError())
    assert one.reason == "restarting: its node other is gone"
    one.asked_at -= WAITS_S + 1.0
    kept._look_at_waiting(one)
    assert one.reason.startswith("its node other is gone; waits for more than 10 s")


def test_a_silent_actor_on_another_node_may_be_out_of_reach(tmp_path, monkeypatch):
    monkeypatch.setattr(placement, "living_nodes", lambda: [Node("m", frozenset(), "other", "10.0.0.2")])
    monkeypatch.setattr(Fleet, "_is_here", lambda self, member: False)
    kept = Fleet(Settings(run_dir=tmp_path), {Workload.SIZE_FACTOR.value: "x:X"}, {}, lambda: None)
    (one,) = kept.members.values()
    one.state, one.ping, one.pinged_at = State.READY, {"pid": 1, "node_id": "m"}, time.monotonic() - 60.0
    kept._look_at_nodes()
    kept._look_at_silent(one)
    assert one.state is State.DEGRADED
    assert "its node other may be out of reach, or a long computation" in one.reason
