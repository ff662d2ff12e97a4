"""In which form an answer goes out over HTTP, and what is too large for JSON."""

import asyncio
import io

import httpx
import orjson
import polars as pl
import pytest
from fixtures_nats import ClientDouble

from bus import answer_form
from bus.answer_form import wants_arrow
from bus.face import Face
from clients.http import HttpEngine
from contracts.answer_table import SHAPES, columns_of
from contracts.errors import NotAcceptable
from contracts.frames import ARROW_STREAM
from contracts.learning_requests import FactorFeatures
from contracts.operations import OPERATIONS
from contracts.requests import ModelRef
from contracts.settings import Settings
from web.app import make_app
from web.services import Services

ROWS = {"A": {"beta": 1.0, "size": None}, "B": {"beta": 2.0, "size": -0.5}}
TABLE = {"symbol": ["A", "B"], "beta": [1.0, 2.0], "size": [None, -0.5]}


def over_http(tmp_path, compute, ask):
    client = ClientDouble(compute)
    app = make_app(Services(Settings(run_dir=tmp_path), face=Face(client, None), client=client))

    async def run():
        transport = httpx.ASGITransport(app)
        async with (
            httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http,
            HttpEngine("http://127.0.0.1", transport=transport) as engine,
        ):
            await ask(http, engine)

    asyncio.run(run())


def test_a_table_comes_as_arrow_to_who_accepts_it_and_says_the_rest_in_a_header(tmp_path):
    async def ask(http, engine):
        answer = await http.post("/factor-features/calculate", json={}, headers={"accept": ARROW_STREAM})
        assert answer.headers["content-type"] == ARROW_STREAM
        assert pl.read_ipc_stream(io.BytesIO(answer.content)).to_dict(as_series=False) == TABLE
        told = orjson.loads(answer.headers["factor-answer"])
        assert (told["success"], told["calculation_result"]["model_version"]) == (True, 3)
        made = await engine.table("factor_features", FactorFeatures())
        assert (made.stream, made.answer["message"]) == (answer.content, told["message"])
        plain = await http.post("/factor-features/calculate", json={})
        assert plain.json()["calculation_result"]["factor_values"] == ROWS
        with pytest.raises(NotAcceptable):
            await engine.table("model_status", ModelRef(model_id="m"))

    over_http(tmp_path, lambda *_: ROWS, ask)


def test_json_of_too_many_values_is_refused_and_says_how_to_ask(tmp_path):
    many = {f"N{i}": {"beta": 1.0, "size": 2.0} for i in range(answer_form.JSON_VALUES_MOST // 2)}

    async def ask(http, _engine):
        refused = await http.post("/factor-features/calculate", json={})
        assert (refused.status_code, refused.json()["code"]) == (406, "not_acceptable")
        assert f"Accept: {ARROW_STREAM}" in refused.json()["detail"]
        answer = await http.post("/factor-features/calculate", json={}, headers={"accept": ARROW_STREAM})
        assert pl.read_ipc_stream(io.BytesIO(answer.content)).height == len(many)

    over_http(tmp_path, lambda *_: many, ask)


@pytest.mark.parametrize(
    ("accept", "arrow"),
    [
        (None, False),
        ("*/*", False),
        ("application/json", False),
        (ARROW_STREAM, True),
        (f"application/json;q=0.5, {ARROW_STREAM}", True),
        (f"{ARROW_STREAM.upper()}; q=1.0", True),
        (f"{ARROW_STREAM};q=0, */*", False),
        (f"{ARROW_STREAM};q=nonsense", False),
    ],
)
def test_what_a_caller_accepts_is_read(accept, arrow):
    assert wants_arrow(accept, OPERATIONS["factor_features"]) is arrow


def test_of_another_operation_nothing_but_arrow_is_not_acceptable():
    row = OPERATIONS["model_status"]
    assert not wants_arrow(f"{ARROW_STREAM}, application/json", row)
    with pytest.raises(NotAcceptable):
        wants_arrow(ARROW_STREAM, row)


def test_what_is_too_long_for_a_header_is_named(tmp_path):
    async def ask(http, _engine):
        names = {f"ignored_{i:04d}" + "x" * 60: 1 for i in range(30)}
        answer = await http.post("/factor-features/calculate", json=names, headers={"accept": ARROW_STREAM})
        assert len(answer.headers["factor-answer"]) <= answer_form.HEADER_BYTES + 100
        assert answer.status_code == 200

    over_http(tmp_path, lambda *_: ROWS, ask)


MATRIX = {"factors": ["a", "b"], "covariance": [[1.0, 0.5], [0.5, 2.0]], "volatility_annual": {"a": 0.1, "b": 0.2}}
RISK = {
    "factors": ["a", "b"],
    "symbols": ["X"],
    "factor_covariance": [[1.0, 0.5], [0.5, 2.0]],
    "factor_volatility_annual": {"a": 0.1, "b": 0.2},
    "specific_volatility_annual": {"X": 0.3},
    "exposures": [[1.0, -1.0]],
}


@pytest.mark.parametrize(
    ("shape", "key", "values", "beside", "expected"),
    [
        ("by_name", "symbol", {"X": 1.0, "Y": None}, {}, {"symbol": ["X", "Y"], "value": [1.0, None]}),
        ("rows", "symbol", ROWS, {}, TABLE),
        ("by_column", "symbol", {"beta": {"A": 1.0, "B": 2.0}, "size": {"B": -0.5}}, {}, TABLE),
        (
            "square",
            "factor",
            MATRIX,
            {},
            {"factor": ["a", "b"], "a": [1.0, 0.5], "b": [0.5, 2.0], "volatility_annual": [0.1, 0.2]},
        ),
        (
            "square",
            "factor",
            {"factors": ["a", "b"], "correlation": [{"a": 1.0, "b": 0.5}, {"a": 0.5, "b": 1.0}]},
            {},
            {"factor": ["a", "b"], "a": [1.0, 0.5], "b": [0.5, 1.0]},
        ),
        (
            "risk_model",
            "name",
            RISK,
            {},
            {
                "part": ["factor_covariance", "factor_covariance", "exposures"],
                "name": ["a", "b", "X"],
                "volatility_annual": [0.1, 0.2, 0.3],
                "a": [1.0, 0.5, 1.0],
                "b": [0.5, 2.0, -1.0],
            },
        ),
        (
            "history",
            "date",
            {"a": 2.0},
            {"history": {"columns": ["date", "a"], "data": [["d1", 1.0], ["d2", 2.0]]}},
            {"date": ["d1", "d2"], "a": [1.0, 2.0]},
        ),
        (
            "series",
            "date",
            {"dates": ["d1", "d2"], "risk": [1.0, 2.0], "bias": 1.1, "exposures": {"size": [0.5, 0.4]}},
            {},
            {"date": ["d1", "d2"], "risk": [1.0, 2.0], "exposures.size": [0.5, 0.4]},
        ),
        (
            "forms",
            "symbol",
            {"f": {"raw": [1.0, 2.0], "rank": [0.5, 1.0]}},
            {"symbols": ["X", "Y"]},
            {"factor": ["f", "f"], "symbol": ["X", "Y"], "raw": [1.0, 2.0], "rank": [0.5, 1.0]},
        ),
    ],
)
def test_values_are_laid_out_as_columns(shape, key, values, beside, expected):
    assert columns_of({"factor_values": values, **beside}, values, shape, key) == expected


def test_every_row_names_a_shape_that_there_is():
    assert {row.table[0] for row in OPERATIONS.values() if row.table} == {*SHAPES, "arrow"}
