import polars as pl
import pytest

from clients.calls import CALLS, body_of
from clients.surface import Surface
from contracts.frames import encode
from contracts.operations import OPERATIONS
from contracts.requests import AppendDay, FactorExposures

BULK_ONLY = {"put_data"}


def test_the_client_knows_every_operation_as_the_engine_does():
    assert set(CALLS) == set(OPERATIONS) - BULK_ONLY
    for name, call in CALLS.items():
        operation = OPERATIONS[name]
        assert call.request is operation.request, name
        assert call.result is operation.result, name
        assert (call.method, call.path) in {(route.method, route.path) for route in operation.routes}, name
        assert call.subject in operation.subjects or (not call.subject and not operation.subjects), name


def test_every_operation_has_a_typed_method():
    for name in CALLS:
        assert callable(getattr(Surface, name)), name


def test_only_what_the_caller_set_is_sent():
    assert body_of(FactorExposures(portfolio_weights={"A": 1.0})) == {"portfolio_weights": {"A": 1.0}}


@pytest.mark.parametrize("as_bytes", [True, False])
def test_a_frame_is_sent_as_columns(as_bytes):
    columns = {"date": ["2024-01-02", "2024-01-02"], "symbol": ["A", "B"], "x": [1.0, None]}
    posted = encode(pl.DataFrame(columns)) if as_bytes else columns
    assert body_of(AppendDay(model_id="m", feature_data=posted)) == {"model_id": "m", "feature_data": columns}
