import pytest

from contracts.work import Device
from router.nodes import REMEMBERED_S, Node, Nodes

GPU = frozenset({Device.METAL_GPU})
HEAD = Node("a", frozenset(), "head", "10.0.0.1")
MAC = Node("b", GPU, "mac", "10.0.0.2")
MAC_AGAIN = Node("c", GPU, "mac", "10.0.0.2")


@pytest.fixture
def nodes():
    seen = Nodes()
    assert seen.look([HEAD, MAC], 0.0)
    return seen


def components(nodes):
    return [row["component"] for row in nodes.degraded()]


def test_a_cluster_that_has_all_its_nodes_is_well_and_lists_them(nodes):
    assert not nodes.look([MAC, HEAD], 1.0)
    assert nodes.since == 0.0
    assert components(nodes) == []
    assert nodes.gone("b") is None
    assert nodes.gone(None) is None
    assert {"node_id": "b", "node": "mac", "address": "10.0.0.2", "devices": ["metal_gpu"]} in nodes.listed()


def test_a_node_that_went_is_named_until_one_of_its_address_is_there(nodes):
    assert nodes.look([HEAD], 1.0)
    assert nodes.since == 1.0
    assert components(nodes) == ["node:mac"]
    assert nodes.gone("b") == "mac"
    assert nodes.gone("a") is None
    assert nodes.look([HEAD, MAC_AGAIN], 2.0)
    assert components(nodes) == []


def test_a_node_that_was_taken_away_is_not_told_of_for_ever(nodes):
    nodes.look([HEAD], 1.0)
    assert not nodes.look([HEAD], REMEMBERED_S)
    assert components(nodes) == ["node:mac"]
    assert not nodes.look([HEAD], REMEMBERED_S + 1.0)
    assert components(nodes) == []
