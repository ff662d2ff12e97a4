"""Which actors a pool has, and what the route table tells of them."""

from __future__ import annotations

from concurrent.futures import Future
from types import SimpleNamespace

import pytest

from contracts.operations import PLACEMENTS, Workload
from contracts.settings import Settings
from contracts.work import Device, State
from router import fleet, placement
from router.fleet import Fleet
from router.health import degraded, describe, routing
from router.member import Member
from router.nodes import Node
from router.packing import pack_table, unpack_table
from router.placement import Seat
from router.pool import on_each_node, route_of
from router.table import Bus, RouteTable

EXPOSURES, SIZE = Workload.FACTOR_EXPOSURE_ANALYSIS, Workload.SIZE_FACTOR
GPU = frozenset({Device.METAL_GPU})
HEAD, MAC, LINUX = Node("h", frozenset(), "head"), Node("m", GPU, "mac"), Node("l", frozenset(), "linux")
HANDLE = object()


def member(number: int, home: str | None = None, sits: str | None = None, **seen) -> Member:
    ping = {"node_id": sits} if sits is not None else {}
    return Member(SIZE, (), number, home=home, **{"handle": HANDLE if sits else None, "ping": ping, **seen})


def change(members, nodes, patient=False):
    made, ended, homes = on_each_node(members, nodes, HEAD.node_id, patient=patient)
    return made, [one.number for one in ended], [(one.number, home) for one, home in homes]


def test_each_node_has_one_and_the_first_is_on_the_routers():
    assert change([member(1)], [MAC, HEAD, LINUX]) == ([(2, "m"), (3, "l")], [], [(1, "h")])
    placed = [member(1, "h", "h"), member(2, "m", "m"), member(3, "l")]
    assert change(placed, [MAC, HEAD, LINUX]) == ([], [], [])


def test_an_actor_comes_with_a_node_and_goes_with_it_and_its_number_is_taken_again():
    placed = [member(1, "h", "h"), member(2, "m", "m"), member(3, "l", "l")]
    assert change(placed, [HEAD, LINUX]) == ([], [2], [])
    left = [placed[0], placed[2]]
    assert change(left, [HEAD, LINUX, Node("m again", GPU)]) == ([(2, "m again")], [], [])
    # In one look a node went and another came.
    assert change(placed, [HEAD, LINUX, Node("x", GPU)]) == ([(2, "x")], [2], [])


def test_where_ray_started_it_elsewhere_it_ends_all_the_same_since_that_node_has_one():
    assert change([member(1, "h", "h"), member(2, "m", "h")], [HEAD]) == ([], [2], [])


def test_a_node_without_processors_for_ray_gets_none_but_the_first_is_somewhere():
    bare = HEAD._replace(holds=False)
    assert change([member(1)], [bare, MAC]) == ([], [], [(1, "m")])
    assert change([member(1)], [bare]) == ([], [], [])
    # The first stays when its node goes: where it is started again there is another already.
    assert change([member(1, "m", "l"), member(2, "l", "l")], [bare, LINUX]) == ([], [], [])
    assert change([member(1, "m", "x"), member(2, "l", "l")], [LINUX, Node("x", GPU)]) == ([], [], [(1, "x")])


def test_actors_that_were_found_are_taken_where_they_are_once_they_said_it():
    found = [member(1, None, None, handle=HANDLE), member(2, None, None, handle=HANDLE)]
    assert change(found, [HEAD, MAC], patient=True) == ([], [], [])
    found[1].ping = {"node_id": "m"}
    assert change(found, [HEAD, MAC], patient=True) == ([], [], [(2, "m")])
    found[1].home = "m"
    found[0].ping = {"node_id": "h"}
    assert change(found, [HEAD, MAC, LINUX], patient=True) == ([(3, "l")], [], [(1, "h")])
    # One that never says it is let go of after a while.
    silent = [member(1, "h", "h"), member(2, None, None, handle=HANDLE)]
    assert change(silent, [HEAD, MAC], patient=True) == ([], [], [])
    assert change(silent, [HEAD, MAC]) == ([(2, "m")], [2], [])


# -- the fleet


class Pinged:
    """A handle whose ping never answers."""

    def __init__(self) -> None:
        self.ping = SimpleNamespace(remote=lambda: SimpleNamespace(future=Future))


@pytest.fixture
def cluster(monkeypatch, tmp_path):
    """A fleet on a cluster of the test's: its nodes, the actors that were made, and the handles that were killed."""
    made: dict[str, list[object]] = {}
    seats: list[Seat] = []
    killed: list[object] = []
    living: list[list[Node]] = [[HEAD, MAC]]

    def create(workload, _path, _devices, _current, _extra, seat):
        assert seat.name.startswith(workload.value)
        seats.append(seat)
        made.setdefault(seat.name, []).append(Pinged())
        return made[seat.name][-1]

    monkeypatch.setattr(placement, "create", create)
    monkeypatch.setattr(placement, "living_nodes", lambda: living[0])
    monkeypatch.setattr(placement, "existing", list)
    monkeypatch.setattr(fleet, "PING_S", 0.0)
    monkeypatch.setattr(fleet.ray, "kill", lambda handle, no_restart: killed.append(handle))
    monkeypatch.setattr(Fleet, "_here", lambda self: HEAD.node_id)

    def start(pools: str, *workloads: Workload) -> Fleet:
        current = Settings(run_dir=tmp_path, pools=pools)
        kept = Fleet(current, {workload.value: "x:X" for workload in workloads}, {}, lambda: None)
        kept._started -= fleet.STAGE_LIMIT_S + 1.0
        return kept

    return SimpleNamespace(start=start, made=made, seats=seats, killed=killed, living=living)


def test_without_a_pool_each_workload_has_its_one_actor_and_ray_places_it_as_it_likes(cluster):
    kept = cluster.start("", SIZE, EXPOSURES)
    kept._round()
    assert set(kept.members) == set(cluster.made) == {SIZE.value, EXPOSURES.value}
    assert [seat.strategy() for seat in cluster.seats] == [{}, {}]
    assert [route_of([one]).copies for one in kept.members.values()] == [(), ()]


def test_a_pool_of_a_number_is_made_under_names_of_their_own_and_spread(cluster):
    kept = cluster.start("size_factor=3", SIZE, EXPOSURES)
    assert list(kept.members) == [EXPOSURES.value, "size_factor", "size_factor.2", "size_factor.3"]
    kept._round()
    assert set(cluster.made) == set(kept.members)
    strategies = {seat.name: seat.strategy() for seat in cluster.seats}
    assert strategies.pop(EXPOSURES.value) == {}
    assert [*strategies.values()] == [{"scheduling_strategy": "SPREAD"}] * 3


def test_a_pool_on_each_node_follows_the_nodes(cluster):
    kept = cluster.start("size_factor=node", SIZE)
    kept._round()
    assert {seat.name: seat.home for seat in cluster.seats} == {"size_factor": "h", "size_factor.2": "m"}
    node_id = "ab" * 28
    strategy = Seat("size_factor", node_id).strategy()["scheduling_strategy"]
    assert (strategy.node_id, strategy.soft) == (node_id, False)
    second = cluster.made["size_factor.2"][0]
    cluster.living[0] = [HEAD]
    kept._round()
    assert list(kept.members) == ["size_factor"]
    assert cluster.killed == [second]
    cluster.living[0] = [HEAD, LINUX]
    kept._round()
    assert list(kept.members) == ["size_factor", "size_factor.2"]
    assert cluster.seats[-1] == Seat("size_factor.2", "l", spread=False)
    assert cluster.killed == [second]


def test_an_actor_that_ray_put_elsewhere_is_moved_to_its_node_once_that_is_known(cluster, monkeypatch):
    monkeypatch.setattr(placement, "find", lambda name: None)
    kept = cluster.start("size_factor=node", SIZE)
    kept._round()
    first, second = kept.members.values()
    for one in (first, second):
        one.ping = {"pid": 1, "node_id": "h", "idle": True, "resources": {}, "state": "READY", "reason": None}
        one.state, one.alive = State.READY, True
    kept._reconcile(second)
    assert cluster.killed == [], "the nodes have not settled"
    kept.nodes.since -= fleet.SETTLED_S + 1.0
    for one in (first, second):
        kept._reconcile(one)
    assert cluster.killed == [cluster.made["size_factor.2"][0]]
    assert cluster.seats[-1] == Seat("size_factor.2", "m")
    assert second.home_at > 0.0


def test_an_actor_on_its_node_is_offered_that_nodes_devices_only(cluster):
    kept = cluster.start("factor_exposure_analysis=node", EXPOSURES)
    kept._look_at_nodes()
    kept._follow_nodes()
    offers = {name: kept._offer(one) for name, one in kept.members.items()}
    assert offers == {EXPOSURES.value: (), f"{EXPOSURES}.2": (Device.METAL_GPU,)}


def test_a_router_that_comes_again_takes_over_the_actors_on_the_nodes(cluster, monkeypatch):
    monkeypatch.setattr(placement, "existing", lambda: [(SIZE, 1), (SIZE, 2), (EXPOSURES, 2)])
    monkeypatch.setattr(placement, "find", lambda name: name)
    kept = cluster.start("size_factor=node", SIZE, EXPOSURES)
    kept._look_for_copies()
    assert list(kept.members) == [EXPOSURES.value, "size_factor", "size_factor.2"]
    for one in kept.members.values():
        kept._adopt(one)
    assert [one.handle for one in kept.members.values()] == list(kept.members)


def test_what_http_needs_first_is_one_actor_of_each_such_workload(cluster):
    first = [workload for workload, placed in PLACEMENTS.items() if placed.first]
    assert EXPOSURES in first
    kept = cluster.start("factor_exposure_analysis=2", *first, SIZE)
    kept._started += fleet.STAGE_LIMIT_S + 1.0
    due = {name: kept._due(one) for name, one in kept.members.items()}
    assert due == {**{workload.value: True for workload in first}, f"{EXPOSURES}.2": False, SIZE.value: False}
    for one in kept.members.values():
        one.state = State.READY if one.number == 1 and one.workload in first else State.STARTING
    assert all(kept._due(one) for one in kept.members.values())


def test_all_writers_of_models_belong_to_the_first_stage_since_each_has_its_own_models(cluster):
    writer = Workload.FACTOR_MODEL_CREATION
    kept = cluster.start(f"{writer}=2", writer, SIZE)
    kept._started += fleet.STAGE_LIMIT_S + 1.0
    due = {name: kept._due(one) for name, one in kept.members.items()}
    assert due == {writer.value: True, f"{writer}.2": True, SIZE.value: False}


# -- what is told


def ready(number: int, **seen) -> Member:
    return Member(SIZE, (), number, **{"handle": f"h{number}", "state": State.READY, "reason": "wants cpu", **seen})


def test_the_route_of_a_pool_is_that_of_its_first_ready_actor_and_lists_all(tmp_path):
    members = [ready(2, ping={"node_id": "m"}), ready(1, state=State.STARTING, reason="restarting"), ready(3)]
    route = route_of(members)
    assert (route.workload, route.handle, route.direct) == ("size_factor", "h2", True)
    assert [(one.name, one.direct, one.node_id) for one in route.copies] == [
        ("size_factor", False, None),
        ("size_factor.2", True, "m"),
        ("size_factor.3", True, None),
    ]
    table = RouteTable(1, "e", {"size_factor": route}, Bus(True, 0.0), None)
    assert unpack_table(pack_table(table)) == table
    (told,) = routing(table)["routes"]
    assert [(one["actor"], one["direct_reads"], one["reason"]) for one in told["copies"]] == [
        ("size_factor", False, "restarting"),
        ("size_factor.2", True, "wants cpu"),
        ("size_factor.3", True, "wants cpu"),
    ]
    assert not route_of([ready(1, state=State.FAULTED), ready(2, state=State.STARTING)]).direct


def test_health_names_a_copy_that_is_down_and_each_copy_has_a_row():
    members = [ready(1), ready(2, state=State.STARTING, ping={"pid": 1}, reason="restarting: it ended")]
    table = RouteTable(1, "e", {"size_factor": route_of(members)}, Bus(True, 0.0), None)
    (row,) = degraded(members, table, bus_wanted=True)
    assert row == {"component": "actor:size_factor.2", "state": "STARTING", "reason": "restarting: it ended"}
    rows = [describe(one, None) for one in members]
    assert [(one["actor"], one["workload"]) for one in rows] == [
        ("size_factor", "size_factor"),
        ("size_factor.2", "size_factor"),
    ]
