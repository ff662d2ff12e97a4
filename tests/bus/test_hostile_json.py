"""JSON that is read where it arrives: whatever 64 KiB hold, they are a request or an error, and take little memory."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import pytest

from bus.read_request import read_payload, request_of
from bus.reader import HERE_BYTES
from contracts import validation
from contracts.errors import EngineError, InvalidInput
from contracts.operations import OPERATIONS, Operation
from contracts.requests import Request

MEMORY_MB = 24
"""The most that is made of a body: some hundred times its bytes, for an object is made of two."""
OPERATIONS_ASKED = ("factor_exposures", "create_model", "append_day", "optimize", "put_portfolio", "factor_features")


def filled(item: Callable[[int], str], begin: str, end: str) -> bytes:
    """As many items as 64 KiB have room for."""
    room = HERE_BYTES - len(begin) - len(end)
    items = []
    while room > 0:
        items.append(item(len(items)))
        room -= len(items[-1]) + 1
    return (begin + ",".join(items[:-1]) + end).encode()


HALF = HERE_BYTES // 2
BODIES = {
    "open brackets": b"[" * HERE_BYTES,
    "nested brackets": b"[" * HALF + b"]" * HALF,
    "nested objects": b'{"a":' * 9000 + b"1" + b"}" * 9000,
    "brackets side by side": filled(lambda _: "[]", '{"portfolio_weights":[', "]}"),
    "one huge number": b'{"portfolio_weights":{"A":' + b"9" * (HERE_BYTES - 40) + b"}}",
    "many huge numbers": filled(lambda i: f'"A{i}":{"9" * 4000}', '{"portfolio_weights":{', "}}"),
    "numbers beyond float64": filled(lambda i: f'"A{i:x}":1e999', '{"portfolio_weights":{', "}}"),
    "fields that are none": filled(lambda i: f'"{i:x}":1', "{", "}"),
    "fields that are nearly one": filled(lambda i: f'"portfolio_weight{i:x}":1', "{", "}"),
    "one long field": b'{"' + b"a" * (HERE_BYTES - 10) + b'":1}',
    "weights that are none": filled(lambda i: f'"{i:x}":[]', '{"portfolio_weights":{', "}}"),
    "one key again and again": filled(lambda _: '"A":1', '{"portfolio_weights":{', "}}"),
    "columns": filled(lambda i: f'"{i:x}":[1]', '{"model_id":"m","feature_data":{', "}}"),
    "rows with a name each": filled(lambda i: f'{{"{i:x}":1}}', '{"model_id":"m","feature_data":[', "]}"),
    "rows with 1,900 names": filled(lambda i: f'{{"{i % 1900:x}":1}}', '{"model_id":"m","feature_data":[', "]}"),
    "empty rows": filled(lambda _: "{}", '{"model_id":"m","feature_data":[', "]}"),
    "an index of many digits": b'{"model_id":"m","feature_data":{"a":{"' + b"1" * 60_000 + b'":1}}}',
    "nulls for names": filled(lambda _: "null", '{"model_id":"m","symbols":[', "]}"),
    "holdings": filled(lambda i: f'"{i:x}":{{}}', '{"portfolio_id":"p","kind":"weights","holdings":{', "}}"),
    "backslashes": b'"' + b"\\" * (HERE_BYTES - 2) + b'"',
    "halves of surrogates": b'{"model_id":"' + b"\\ud800" * 10_000 + b'"}',
}


def read(operation: Operation, body: bytes) -> Request | EngineError:
    try:
        return request_of(operation, read_payload(body, {}, {}), "m")
    except EngineError as error:
        return error


@pytest.mark.parametrize("name", BODIES)
def test_whatever_a_small_body_holds_is_a_request_or_an_error_and_takes_little_memory(name):
    body = BODIES[name]
    assert len(body) <= HERE_BYTES
    for operation in map(OPERATIONS.__getitem__, OPERATIONS_ASKED):
        tracemalloc.start()
        try:
            made = read(operation, body)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert isinstance(made, Request) or made.status in (400, 413, 422)
        assert isinstance(made, Request) or len(made.detail) + len(made.field or "") < 2500
        assert peak < MEMORY_MB * 2**20, operation.name


def test_rows_that_have_hardly_a_name_in_common_are_no_table_and_those_that_leave_some_out_are():
    def table(rows):
        return request_of(OPERATIONS["create_model"], {"model_id": "m", "feature_data": rows}, None)

    with pytest.raises(InvalidInput, match="rows of one table have the same names"):
        table([{f"{i % 1000}": 1.0} for i in range(1000)])
    full = {f"c{i}": 1.0 for i in range(30)}
    assert table([full, *[{"c0": 1.0, "c1": 2.0}] * 20_000]).feature_data


def test_more_unknown_fields_than_are_ignored_are_refused_and_not_each_compared(monkeypatch):
    compared = []
    monkeypatch.setattr(validation, "_nearly", lambda name, _known: compared.append(name))
    with pytest.raises(InvalidInput, match="fields are none of this request"):
        request_of(OPERATIONS["factor_exposures"], read_payload(BODIES["fields that are none"], {}, {}), "m")
    assert not compared
