from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from fixtures_ray import ECHO_PATH
from scenario_process import STARTS, run_scenario

from contracts.operations import Workload, devices_of

SCENARIO = Path(__file__).parent / "cluster_scenario.py"
ROOT = Path(__file__).parents[2]
LIMIT_S = 170

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    """Run the scenario in a process group of its own, since it builds and breaks a cluster."""
    run_dir = tmp_path_factory.mktemp("cluster")
    environment = {
        **os.environ,
        "FACTOR_ENGINE_RUN_DIR": str(run_dir),
        "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "tests" / "actors"))),
        # The raylet of a node that is killed must be missed soon.
        "RAY_health_check_initial_delay_ms": "500",
        "RAY_health_check_period_ms": "500",
        "RAY_health_check_failure_threshold": "3",
    }
    run_scenario(SCENARIO, environment, LIMIT_S, lambda temp: ([str(run_dir), str(ECHO_PATH), str(temp)], None))
    return json.loads((run_dir / "outcome.json").read_text())


def pinned(actors):
    return {name: actor for name, actor in actors.items() if devices_of(Workload(actor["workload"]))}


@pytest.mark.timeout(STARTS * LIMIT_S + 30)
def test_pinned_actors_land_together_on_the_node_that_has_their_devices(outcome):
    actors = pinned(outcome["pinned"])
    assert {actor["placement"]["node_id"] for actor in actors.values()} == {outcome["mac"]}
    for name, actor in actors.items():
        wanted = [device.value for device in devices_of(Workload(name))]
        assert actor["wanted_device"] == wanted
        assert set(wanted) <= set(actor["placement"]["resources"])
    # What no device may compute is moved for none, whatever comes and goes.
    for stays in ("value_factor", "factor_model_creation"):
        for then in ("pinned", "fallen_back", "returned"):
            assert outcome[then][stays]["placement"]["device"] == outcome[then][stays]["wanted_device"] == ["cpu"]
        assert outcome["returned"][stays]["generation"] == outcome["fallen_back"][stays]["generation"]


def test_when_the_node_dies_its_actors_are_made_anew_on_cpu_and_health_says_so(outcome):
    actors = pinned(outcome["fallen_back"])
    assert len(actors) == 2
    for actor in actors.values():
        assert actor["placement"]["device"] == ["cpu"]
        assert actor["placement"]["node_id"] != outcome["mac"]
        assert not set(actor["placement"]["resources"]) & {"neural_engine", "metal_gpu"}
        assert actor["restarts"] >= 1
        assert "does not offer" in actor["reason"]


def test_calls_that_were_under_way_when_the_node_died_are_answered(outcome):
    assert outcome["answers"] == list(range(50))


def test_actors_return_to_their_devices_when_a_node_brings_them(outcome):
    actors = pinned(outcome["returned"])
    (node,) = {actor["placement"]["node_id"] for actor in actors.values()}
    assert node != outcome["mac"]
    assert all(actor["reason"].startswith("on ") for actor in actors.values())


def test_a_pool_on_each_node_comes_and_goes_with_the_nodes_and_its_first_stays(outcome):
    first, second, third = outcome["covered"]
    name = "momentum_factor"
    assert first == {name: outcome["head"], f"{name}.2": outcome["mac"]}
    assert second == {name: outcome["head"]}
    assert third.keys() == first.keys()
    assert third[name] == outcome["head"]
    assert third[f"{name}.2"] not in (outcome["head"], outcome["mac"])
    # The first is where it was, with the head as its node: no node's coming or going concerns it.
    assert outcome["returned"][name]["generation"] == outcome["pinned"][name]["generation"]


def test_a_pool_of_a_number_is_whole_again_after_a_node_died(outcome):
    # On which nodes is Ray's to say, which spreads them over those that it knows by then.
    for then in ("pinned", "fallen_back", "returned"):
        actors = [outcome[then][name] for name in ("size_factor", "size_factor.2")]
        assert [actor["state"] for actor in actors] == ["READY", "READY"]
