from __future__ import annotations

import numpy as np

from contracts.work import WorkResult, work_item
from router.wire import pack_items, pack_results, unpack_items, unpack_results


def test_items_come_out_as_they_went_in_with_frames_as_bytes():
    items = [work_item("size", {"frame": b"\x00arrow", "weights": {"A": 0.5}}), work_item("value", {})]
    assert unpack_items(pack_items(items)) == items


def test_results_come_out_as_they_went_in_with_arrays():
    results = [
        WorkResult("a", {"values": np.arange(3.0)}, None, "cpu", {"queue": 0.1}),
        WorkResult("b", None, {"code": "unknown_model"}, "cpu", {}),
    ]
    first, second = unpack_results(pack_results(results))
    np.testing.assert_array_equal(first.value["values"], [0.0, 1.0, 2.0])
    assert second == results[1]
