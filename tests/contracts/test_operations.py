"""The operation table agrees with itself, with the request models and with the actors' methods."""

import importlib
import string
import typing

import pytest

from actors.runtime.device_user import DeviceUser
from contracts import examples
from contracts.answers import Calculation, Page
from contracts.errors import EngineError
from contracts.operations import OPERATIONS, Workload, devices_of
from contracts.requests import FactorExposures, RiskModel
from contracts.results import CalculationAnswer, ModelAnswer
from contracts.validation import validate
from contracts.work import Device, Lane
from devices.kernels import KERNELS
from router.placement import CLASS_PATHS

each = pytest.mark.parametrize("row", OPERATIONS.values(), ids=OPERATIONS.keys())


@each
def test_an_example_is_a_whole_request_that_is_accepted(row):
    request = validate(row.request, {"model_id": "default", **row.example})
    assert set(row.example) <= request.model_fields_set, "the example names a field that the request has not"


@each
def test_the_actors_method_takes_the_rows_request_and_gives_what_the_row_promises(row):
    module, _, name = CLASS_PATHS[row.workload.value].partition(":")
    method = getattr(getattr(importlib.import_module(module), name), row.name)
    types = typing.get_type_hints(method)
    given = types.pop("return")
    (taken,) = types.values()
    if getattr(method, "batched", False):
        (taken,) = typing.get_args(taken)
        assert given == list[Calculation | Page | EngineError]
    else:
        assert given is (Calculation if row.result in (CalculationAnswer, ModelAnswer) else Page)
    assert taken is row.request


@each
def test_names_in_paths_and_event_subjects_are_fields_of_the_request(row):
    texts = [route.path for route in row.routes] + [event.replace("{factor_type}", "") for event in row.events]
    named = {name for text in texts for _, name, _, _ in string.Formatter().parse(text) if name}
    assert named <= row.request.model_fields.keys()


@pytest.mark.parametrize("row", [row for row in OPERATIONS.values() if row.writes], ids=lambda row: row.name)
def test_a_write_says_what_it_writes_and_waits_in_the_lane_that_computes_one_at_a_time(row):
    assert row.written in row.request.model_fields
    assert row.lane is Lane.HEAVY


def test_routes_and_subjects_belong_to_one_operation_each():
    routes = [(route.method, route.path) for row in OPERATIONS.values() for route in row.routes]
    subjects = [subject for row in OPERATIONS.values() for subject in row.subjects]
    assert len(set(routes)) == len(routes)
    assert len(set(subjects)) == len(subjects)


def test_an_example_gets_the_names_of_the_model_that_is_loaded():
    asked = examples.with_names(OPERATIONS["factor_exposures"].example, ["X", "Y", "Z", "more"])
    assert FactorExposures.model_validate(asked).portfolio_weights == {"X": 0.5, "Y": 0.3, "Z": 0.2}
    few = examples.with_names(OPERATIONS["risk_model"].example, ["X"])
    assert RiskModel.model_validate(few).universe_symbols == ["X"]
    posted = OPERATIONS["value"].example
    assert examples.with_names(posted, ["X"]) == posted


@each
def test_a_device_computes_for_reads_alone_and_by_a_kernel_that_there_is(row):
    # What is stored has the same bits on every machine: days that are added go on from it.
    assert not (row.kernel and row.writes)
    assert not row.kernel or row.kernel in KERNELS
    if row.kernel:
        module, _, name = CLASS_PATHS[row.workload.value].partition(":")
        assert issubclass(getattr(importlib.import_module(module), name), DeviceUser)


def test_an_actor_wants_the_node_of_a_device_only_where_the_device_may_compute_for_it():
    wanted = {workload: devices_of(workload) for workload in Workload if devices_of(workload)}
    assert wanted == {
        Workload.FACTOR_RETURNS_ESTIMATION: (Device.METAL_GPU,),
        Workload.FACTOR_EXPOSURE_ANALYSIS: (Device.METAL_GPU,),  # its tolerance is far below a rounding of float16
        Workload.RISK_MODEL_CONSTRUCTION: (Device.NEURAL_ENGINE, Device.METAL_GPU),
    }
