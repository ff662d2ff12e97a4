from __future__ import annotations

import time
from dataclasses import fields

import numpy as np
import pytest
from pydantic import ValidationError

from contracts.answers import Calculation, Page
from contracts.operations import OPERATIONS
from contracts.requests import SizeFactor
from contracts.work import Device, WorkResult, work_item
from router import packing
from router.packing import pack_foreseen, pack_items, pack_results, unpack_foreseen, unpack_items, unpack_results


def test_every_operations_request_comes_out_as_the_model_that_went_in():
    items = [
        work_item(name, row.request.model_validate({"model_id": "m", **row.example}))
        for name, row in OPERATIONS.items()
    ]
    arrived = unpack_items(pack_items(items))
    assert arrived == items
    assert [type(item.request) for item in arrived] == [row.request for row in OPERATIONS.values()]


def test_a_request_that_arrived_is_as_frozen_as_it_was_and_can_be_copied_and_dumped():
    request = SizeFactor(market_cap_data=b"arrow", request_id="r")
    (item,) = unpack_items(pack_items([work_item("size", request)]))
    with pytest.raises(ValidationError, match="frozen"):
        item.request.model_id = "m"
    assert item.request.model_copy(update={"model_id": "m"}).model_id == "m"
    assert item.request.model_dump() == request.model_dump()
    assert repr(item.request) == repr(request)


def test_results_come_out_as_they_went_in_with_arrays():
    given = ("done", 0.5, 2, Device.METAL_GPU, {"date": "d"}, (b"table",), False, {"commit": 1.0}, "day")
    calculation = Calculation(np.arange(3.0), *given)
    results = [
        WorkResult("a", calculation, None, "cpu", {"queue": 0.1}),
        WorkResult("b", None, {"code": "unknown_model"}, "cpu", {}),
        WorkResult("c", Page({"models": []}), None, "cpu", {}),
    ]
    first, second, third = unpack_results(pack_results(results))
    np.testing.assert_array_equal(first.value.values, [0.0, 1.0, 2.0])
    assert tuple(getattr(first.value, field.name) for field in fields(Calculation))[1:-1] == given
    assert (second, third) == (results[1], results[2])


@pytest.mark.parametrize(("n", "tables", "few"), [(10, (), True), (10_000, (), False), (10, (b"table",), False)])
def test_what_came_in_few_bytes_is_known_to_be_few(n, tables, few):
    calculation = Calculation({"x": [0.5] * n, "y": np.arange(float(n)).tolist()}, "", 1.0, tables=tables)
    (result,) = unpack_results(pack_results([WorkResult("a", calculation, None, "cpu", {})]))
    assert result.value.few is few


def test_what_is_said_beforehand_comes_out_as_it_went_in():
    said = [Calculation({"A": 3}, "soon", 0.5, 2, details={"date": "d"}, tables=[b"table"], day="d"), None]
    assert unpack_foreseen(pack_foreseen(said)) == said


def test_a_result_that_cannot_be_packed_becomes_a_problem_and_those_beside_it_arrive():
    good = Calculation({"A": 1.0}, "", 1.0)
    results = [
        WorkResult("a", good, None, "cpu", {}),
        WorkResult("b", Calculation(lambda: None, "", 1.0), None, "cpu", {}),
        WorkResult("c", good, None, "cpu", {}),
    ]
    first, broken, last = unpack_results(pack_results(results))
    assert [first, last] == [results[0], results[2]]
    assert broken.value is None
    assert broken.problem["code"] == "internal"
    assert broken.problem["instance"] == broken.request_id == "b"


def test_a_deadline_of_another_machine_is_as_far_away_as_it_was_there(monkeypatch):
    behind = time.time() - 3600.0
    with monkeypatch.context() as there:
        there.setattr("contracts.work.time.time", lambda: behind)
        there.setattr(packing, "own_clock", lambda: "another machine's")
        item = work_item("size", SizeFactor(market_cap_data=b"arrow"), timeout_s=50.0)
        packed = pack_items([item])
    (arrived,) = unpack_items(packed)
    assert 40.0 < arrived.remaining_s() <= 50.0
    assert arrived.key == item.key, "by which it is told that its caller went"


def test_a_deadline_of_this_machine_counts_the_way(monkeypatch):
    item = work_item("size", SizeFactor(market_cap_data=b"arrow"), timeout_s=50.0)
    packed = pack_items([item])
    late = time.time() + 20.0
    monkeypatch.setattr("contracts.work.time.time", lambda: late)
    assert unpack_items(packed)[0].remaining_s() < 31.0
