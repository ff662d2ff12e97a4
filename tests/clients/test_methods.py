import inspect
import typing

import polars as pl
import pytest

from clients.generate import PAGE, source
from clients.methods import Surface
from clients.shown import Answer
from clients.surface import How, body_of
from contracts.frames import encode
from contracts.operations import OPERATIONS
from contracts.requests import AppendDay, Empty, FactorExposures, ModelRef


def test_the_written_methods_are_those_of_the_operation_table():
    assert PAGE.read_text() == source(), "run `python -m clients.generate`"


@pytest.mark.parametrize("name", [name for name, row in OPERATIONS.items() if not row.bulk])
def test_every_operation_has_a_method_with_its_types(name):
    method = getattr(Surface, name)
    types = typing.get_type_hints(method)
    assert issubclass(types["return"], OPERATIONS[name].result)
    assert issubclass(types["return"], Answer)
    assert types["how"] is How
    asked = OPERATIONS[name].request
    if asked in (Empty, ModelRef):  # their fields are the method's own
        assert set(types) - {"return", "how"} == set(asked.model_fields) & {"model_id"}
    else:
        assert asked in (types["request"], *typing.get_args(types["request"]))
    assert inspect.getdoc(method) == OPERATIONS[name].summary


def test_only_what_the_caller_set_is_sent():
    assert body_of(FactorExposures(portfolio_weights={"A": 1.0})) == {"portfolio_weights": {"A": 1.0}}


@pytest.mark.parametrize("as_bytes", [True, False])
def test_a_frame_is_sent_as_columns(as_bytes):
    columns = {"date": ["2024-01-02", "2024-01-02"], "symbol": ["A", "B"], "x": [1.0, None]}
    posted = encode(pl.DataFrame(columns)) if as_bytes else columns
    assert body_of(AppendDay(model_id="m", feature_data=posted)) == {"model_id": "m", "feature_data": columns}
