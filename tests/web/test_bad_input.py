"""One table of bad input, asked over HTTP and over NATS: the same problem from both, naming field and rows.

The workload actors, the HTTP application and nats-server are real; what is between them in a cluster is not here.
"""

from __future__ import annotations

import asyncio
import json
import math
from dataclasses import dataclass
from typing import Any

import nats
import pytest
from fixtures_nats import bridge_over, peer_of

from contracts import frames

EXPOSURES, CREATE, APPEND = (
    ("/factor-exposures/calculate", "risk.factor_request.factor_exposures"),
    ("/factor-model/create", "toraniko.model_request.create"),
    ("/factor-model/m/append", "toraniko.model_request.append"),
)
STYLES = ("/style-factors/calculate", "analytics.factor_request.style_factors")
MOMENTUM = ("/individual-factors/momentum", "strategy.factor_analysis.momentum")
ATTRIBUTION = ("/portfolio-attribution/calculate", "portfolio.factor_exposure.attribution")
RISK_MODEL = ("/risk-model/create", "risk.factor_request.risk_model")
FORMULAS = ("/factors/calculate/S0001", "ml.factor_features.S0001")
CLEAN = ("/factor-model/clean-features", "toraniko.model_request.clean_features")

GOOD = {
    "date": ["2024-01-02", "2024-01-03"],
    "symbol": ["A", "A"],
    "asset_returns": [0.01, 0.02],
    "market_cap": [1e9, 1e9],
}


def table(**columns: list[Any]) -> dict[str, Any]:
    return {"model_id": "bad", "feature_data": {**GOOD, **columns}}


@dataclass
class Bad:
    """What is sent where, and what must come back."""

    what: str
    where: tuple[str, str]
    body: Any
    status: int = 422
    code: str = "invalid_input"
    field: str | None = None
    rows: list[Any] | None = None


HELD = {"S0001": 1.0}
CASES = [
    Bad("malformed JSON", EXPOSURES, b'{"portfolio_weights": {', 400, "malformed_body", "body"),
    Bad("a list for an object", EXPOSURES, [1], 400, "malformed_body", "body"),
    Bad("a wrong type", EXPOSURES, {"portfolio_weights": {"S0001": "much"}}, field="portfolio_weights.S0001"),
    Bad("a wrong type of a field", EXPOSURES, {"portfolio_weights": 3}, field="portfolio_weights"),
    Bad("a weight that is not finite", EXPOSURES, {"portfolio_weights": {"A": math.inf}}, field="portfolio_weights.A"),
    Bad("no weights", EXPOSURES, {"portfolio_weights": {}}, field="portfolio_weights"),
    Bad("no field at all", EXPOSURES, {}, field="portfolio_weights"),
    Bad(
        "unknown symbols",
        EXPOSURES,
        {"portfolio_weights": {"NO": 1.0, "S0001": 1.0, "NA": 1.0}},
        code="unknown_symbol",
        field="portfolio_weights",
        rows=["NO", "NA"],
    ),
    Bad(
        "an unknown model",
        EXPOSURES,
        {"model_id": "nowhere", "portfolio_weights": HELD},
        404,
        "unknown_model",
        "model_id",
    ),
    Bad("a model id that is none", EXPOSURES, {"model_id": "../x", "portfolio_weights": HELD}, field="model_id"),
    Bad(
        "a date outside the model",
        EXPOSURES,
        {"portfolio_weights": HELD, "date_requested": "1999-01-04"},
        code="date_outside_model",
        field="date_requested",
    ),
    Bad(
        "a date that is none", EXPOSURES, {"portfolio_weights": HELD, "date_requested": "soon"}, field="date_requested"
    ),
    Bad(
        "a period outside the model",
        ATTRIBUTION,
        {"portfolio_weights": HELD, "start_date": "2099-01-01"},
        code="date_outside_model",
        field="start_date",
    ),
    Bad(
        "an unknown priority",
        EXPOSURES,
        {"portfolio_weights": HELD, "messagebus_priority": "now"},
        field="messagebus_priority",
    ),
    Bad(
        "an unknown symbol of a universe",
        RISK_MODEL,
        {"universe_symbols": ["NOPE"]},
        code="unknown_symbol",
        field="universe_symbols",
        rows=["NOPE"],
    ),
    Bad("an unknown factor", FORMULAS, {"factors": ["no_such"]}, 404, "unknown_factor", "factors", ["no_such"]),
    Bad(
        "the same date and symbol twice",
        CREATE,
        table(date=["2024-01-02"] * 2),
        field="feature_data.symbol",
        rows=[["2024-01-02", "A"]],
    ),
    Bad(
        "an infinite return",
        CREATE,
        table(asset_returns=[0.01, math.inf]),
        field="feature_data.asset_returns",
        rows=[["2024-01-03", "A"]],
    ),
    Bad(
        "an infinite cap",
        CREATE,
        table(market_cap=[-math.inf, 1e9]),
        field="feature_data.market_cap",
        rows=[["2024-01-02", "A"]],
    ),
    Bad(
        "text for a number",
        CREATE,
        table(asset_returns=[0.01, "x"]),
        field="feature_data.asset_returns",
        rows=[["2024-01-03", "A"]],
    ),
    Bad(
        "a negative cap",
        CREATE,
        table(market_cap=[1e9, -1.0]),
        field="feature_data.market_cap",
        rows=[["2024-01-03", "A"]],
    ),
    Bad(
        "a date that cannot be read",
        CREATE,
        table(date=["2024-01-02", "yesterday"]),
        field="feature_data.date",
    ),
    Bad("no rows", CREATE, table(date=[], symbol=[], asset_returns=[], market_cap=[]), field="feature_data"),
    Bad("no columns", CREATE, {"model_id": "bad", "feature_data": {}}, field="feature_data"),
    Bad("columns of different lengths", CREATE, table(market_cap=[1e9]), field="feature_data"),
    Bad(
        "rows of different lengths",
        CREATE,
        {"model_id": "bad", "feature_data": {"columns": ["a", "b"], "data": [[1]]}},
        field="feature_data.data",
        rows=[0],
    ),
    Bad(
        "rows that are no objects",
        CREATE,
        {"model_id": "bad", "feature_data": [{"date": "2024-01-02"}, 7]},
        field="feature_data",
        rows=[1],
    ),
    Bad("no table", CREATE, {"model_id": "bad", "feature_data": "x"}, field="feature_data"),
    Bad(
        "a column that is missing",
        CREATE,
        {"model_id": "bad", "feature_data": {"date": ["2024-01-02"], "symbol": ["A"]}},
        field="feature_data.asset_returns",
    ),
    Bad("unknown settings of a model", CREATE, {**table(), "settings": {"no_such": 1}}, field="settings.no_such"),
    Bad("a day that is there already", APPEND, {"model_id": "m"}, field="feature_data.date"),
    Bad(
        "a posted frame with the same row twice",
        MOMENTUM,
        {"returns_data": {"date": ["2024-01-02"] * 2, "symbol": ["A", "A"], "asset_returns": [0.1, 0.1]}},
        field="returns_data.symbol",
        rows=[["2024-01-02", "A"]],
    ),
    Bad(
        "a posted frame without rows",
        STYLES,
        {"returns_data": {"date": [], "symbol": [], "asset_returns": []}},
        field="returns_data",
    ),
    Bad("a feature that the model lacks", CLEAN, {"model_id": "m", "to_fill": ["no_such"]}, field="to_fill"),
]


@pytest.fixture(scope="module")
def last_day(sample):
    """The rows of the model's own last day."""
    day = sample.filter(sample["date"] == sample["date"].max())
    return json.loads(day.write_json())


def payload(case: Bad, last_day: Any) -> bytes:
    body = {**case.body, "feature_data": last_day} if case.where is APPEND else case.body
    # As Python's own json writes it: an infinite number is `Infinity`.
    return body if isinstance(body, bytes) else json.dumps(body).encode()


def check(case: Bad, problem: dict[str, Any]) -> None:
    assert (problem["status"], problem["code"]) == (case.status, case.code), problem
    assert problem.get("field") == case.field, problem
    if case.rows is not None:
        assert problem.get("rows") == case.rows, problem
    assert "Traceback" not in str(problem)
    assert ".py" not in str(problem)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.what)
def test_bad_input_over_http_is_a_problem_that_names_field_and_rows_and_makes_no_version(http, last_day, case):
    before = http.get("/factor-models/m/status").json()["model_version"]
    answer = http.post(case.where[0], content=payload(case, last_day), headers={"content-type": "application/json"})
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    assert answer.status_code == case.status
    check(case, answer.json())
    assert http.get("/factor-models/bad/status").status_code == 404
    assert http.get("/factor-models/m/status").json()["model_version"] == before


def test_the_same_bad_input_over_nats_is_the_same_problem_as_an_error_reply(http, nats_server, engine_here, last_day):
    async def ask() -> None:
        async with bridge_over(nats_server, engine_here), peer_of(nats_server) as peer:
            for case in CASES:
                reply = await peer.request(case.where[1], payload(case, last_day), timeout=60.0)
                check(case, json.loads(reply.data))
                assert reply.headers["Nats-Service-Error-Code"] == str(case.status), case.what
                assert reply.headers["Content-Type"] == "application/problem+json"
            with pytest.raises(nats.errors.MaxPayloadError):
                await peer.request(EXPOSURES[1], b" " * (peer.max_payload + 1), timeout=30.0)
            status = await peer.request("toraniko.model_request.status", b'{"model_id": "bad"}', timeout=60.0)
            assert json.loads(status.data)["code"] == "unknown_model"

    asyncio.run(ask())


def test_an_arrow_stream_cut_off_anywhere_is_refused(http, sample):
    whole = frames.encode(sample)
    for cut in (1, 8, 9, len(whole) // 2, len(whole) - 8):
        answer = http.put("/factor-model/cut/data", content=whole[:-cut], headers={"content-type": frames.ARROW_STREAM})
        check(Bad("cut", EXPOSURES, None, 400, "malformed_body", "body"), answer.json())
    assert http.get("/factor-models/cut/status").status_code == 404


@pytest.mark.parametrize(("method", "path"), [("GET", "/factor-models/m/status"), ("PUT", "/factor-model/m/data")])
def test_a_query_that_names_another_model_than_the_path_is_an_error(http, sample, method, path):
    before = http.get("/factor-models/m/status").json()["model_version"]
    body = (
        {"content": frames.encode(sample), "headers": {"content-type": frames.ARROW_STREAM}} if method == "PUT" else {}
    )
    answer = http.request(method, f"{path}?model_id=other", **body)
    assert (answer.status_code, answer.json()["field"]) == (422, "model_id")
    assert answer.json()["detail"] == "model_id in the query contradicts model_id in the path"
    assert http.get("/factor-models/m/status?model_id=m").json()["model_version"] == before
