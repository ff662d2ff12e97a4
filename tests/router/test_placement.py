from __future__ import annotations

import importlib.util

import pytest

from contracts.operations import PLACEMENTS, Workload
from contracts.settings import Settings
from contracts.work import Device
from router.nodes import Node
from router.placement import CLASS_PATHS, THREAD_VARIABLES, choose, environment

NE, GPU = Device.NEURAL_ENGINE, Device.METAL_GPU
LINUX = Node("linux", frozenset())
MAC = Node("mac", frozenset({NE, GPU}))
ONLY_NE = Node("ne", frozenset({NE}))
ONLY_GPU = Node("gpu", frozenset({GPU}))


@pytest.mark.parametrize(
    ("wanted", "nodes", "expected"),
    [
        ((), [MAC], ()),
        ((NE,), [], ()),
        ((NE,), [LINUX], ()),
        ((NE,), [LINUX, MAC], (NE,)),
        ((GPU,), [ONLY_NE], ()),
        ((NE, GPU), [MAC], (NE, GPU)),
        ((NE, GPU), [ONLY_GPU], (GPU,)),
        ((NE, GPU), [ONLY_GPU, ONLY_NE], (NE,)),
        ((NE, GPU), [ONLY_GPU, ONLY_NE, MAC], (NE, GPU)),
    ],
)
def test_an_actor_asks_for_as_many_of_its_devices_as_one_node_has(wanted, nodes, expected):
    assert choose(wanted, nodes, Settings()) == expected


def test_a_device_that_is_switched_off_is_not_asked_for():
    assert choose((NE, GPU), [MAC], Settings(neural_engine_enabled=False)) == (GPU,)
    assert choose((NE, GPU), [MAC], Settings(metal_gpu_enabled=False)) == (NE,)
    assert choose((NE,), [MAC], Settings(neural_engine_enabled=False)) == ()


def test_every_workload_has_a_class_in_a_module_of_its_own():
    assert CLASS_PATHS["factor_exposure_analysis"] == "actors.workloads.factor_exposure_analysis:FactorExposureAnalysis"
    assert set(CLASS_PATHS) == {workload.value for workload in Workload} == {w.value for w in PLACEMENTS}
    for path in CLASS_PATHS.values():
        assert importlib.util.find_spec(path.split(":")[0]) is not None


def test_actors_read_the_same_settings_and_get_the_threads_that_were_set():
    current = Settings(run_dir="/somewhere", queue_limit=7)
    variables = environment(current, 3, {"PYTHONPATH": "x"})
    assert variables["FACTOR_ENGINE_QUEUE_LIMIT"] == "7"
    assert variables["FACTOR_ENGINE_RUN_DIR"] == "/somewhere"
    assert {variables[name] for name in THREAD_VARIABLES} == {"3"}
    assert variables["PYTHONPATH"] == "x"
