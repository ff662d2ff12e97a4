"""Every number that a caller may send has a least and a greatest value."""

import pytest
from schema_numbers import numbers

from contracts.operations import OPERATIONS

REQUESTS = sorted({row.request for row in OPERATIONS.values()}, key=lambda kind: kind.__name__)


@pytest.mark.parametrize("request_model", REQUESTS, ids=lambda kind: kind.__name__)
def test_every_number_has_bounds(request_model):
    _, endless = numbers(request_model.model_json_schema())
    # Of weights the sum is bounded, see contracts/weights.py.
    assert [path for path in endless if not path.endswith("_weights[]")] == []


def test_a_number_without_bounds_is_found():
    schema = {"properties": {"a": {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "null"}]}}}
    assert numbers(schema) == (["a"], ["a"])
