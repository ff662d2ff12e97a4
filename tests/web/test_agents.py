"""Agents over the protocol's own client, and what is told of the engine in words."""

import asyncio
import json
import re

import httpx
import pytest
import uvicorn

from contracts.operations import OPERATIONS
from contracts.tokens import Scope, add_token, token_file
from web.agents import MOST, ROUTING, SEARCH, SUMMARIES, search, short, tools
from web.app import make_app

mcp = pytest.importorskip("mcp", reason="the extra `agents` is not installed")


@pytest.fixture(scope="module")
def address(http, services):
    """A real server of the application, as the client speaks HTTP over sockets."""
    import socket
    import threading

    taken = socket.socket()
    taken.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(make_app(services), log_level="error", lifespan="on"))
    # The application of the fixture `http` owns the services: this one may not close what they share.
    close, services.close = services.close, None
    thread = threading.Thread(target=server.run, kwargs={"sockets": [taken]}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(20)
        services.close = close
        taken.close()


def asked(address, *calls):
    """Call tools one after the other; gives what each said, and whether it was an error."""

    async def run():
        async with mcp.Client(f"{address}/mcp") as client:
            out = []
            for name, given in calls:
                found = await client.call_tool(name, given)
                out.append((json.loads(found.content[0].text), found.is_error))
            return out

    return asyncio.run(run())


def test_the_official_client_finds_tools_that_read_only(address):
    async def run():
        async with mcp.Client(f"{address}/mcp") as client:
            return (await client.list_tools()).tools

    found = {tool.name: tool for tool in asyncio.run(run())}
    assert set(found) == {row.name for row in OPERATIONS.values() if row.agents} | set(SUMMARIES)
    assert 8 <= len(found) <= 14
    for name, tool in found.items():
        assert tool.annotations.read_only_hint is True
        assert tool.description
        assert name in SUMMARIES or not OPERATIONS[name].writes
        assert not {"request_id", "register_as", "messagebus_priority"} & set(tool.input_schema["properties"])


def test_a_tool_answers_what_the_route_answers(address, http, symbols):
    weights = {symbols[0]: 0.6, symbols[1]: 0.4}
    ((answer, wrong),) = asked(address, ("portfolio_risk", {"portfolio_weights": weights}))
    assert not wrong
    whole = http.post("/portfolio-risk/calculate", json={"portfolio_weights": weights}).json()["calculation_result"]
    risk = answer["calculation_result"]["factor_values"]["total_risk"]
    assert risk == pytest.approx(whole["factor_values"]["total_risk"], rel=1e-5)
    assert "timings_ms" not in answer["calculation_result"]


def test_factors_are_found_by_words_and_a_formula_is_computed(address):
    (found, lost), (values, wrong) = asked(
        address,
        (SEARCH, {"words": "momentum volume"}),
        ("evaluate_formula", {"formula": "rank(ts_mean(returns, 5))"}),
    )
    assert not lost, found
    assert found["found"] > 0
    assert all("momentum" in json.dumps(one).lower() for one in found["factors"])
    assert not wrong
    assert len(values["calculation_result"]["factor_values"]) == MOST
    assert values["shortened"]["whole"] == "POST /factors/evaluate with the same fields"


def test_the_routing_is_explained(address, http):
    ((told, wrong),) = asked(address, (ROUTING, {}))
    assert not wrong, told
    assert told == http.get("/routing").json()


def test_what_is_wrong_is_an_answer_that_says_so(address):
    answers = asked(
        address,
        ("portfolio_risk", {"portfolio_weights": {"NOBODY": 1.0}}),
        ("evaluate_formula", {"formula": "rank("}),
        ("evaluate_formula", {"formula": "close", "register_as": "mine"}),
        ("delete_model", {"model_id": "m"}),
        ("model_status", {"model_id": "absent"}),
    )
    assert all(wrong for _, wrong in answers)
    said = [answer["detail"] for answer, _ in answers]
    assert "NOBODY" in said[0]
    assert "register_as" in said[2]
    assert "no tool 'delete_model'" in said[3]
    assert "absent" in said[4]


@pytest.mark.parametrize("given", [{}, {"words": ""}, {"words": " "}, {"words": 5}])
def test_a_search_for_nothing_finds_no_library(address, given):
    ((answer, wrong),) = asked(address, (SEARCH, given))
    assert wrong
    assert (answer["code"], answer["field"]) == ("invalid_input", "words")


def test_a_search_in_a_category_that_there_is_not_names_those_that_there_are(address):
    ((answer, wrong),) = asked(address, (SEARCH, {"words": "close", "category": "momentums"}))
    assert wrong
    assert answer["field"] == "category"
    assert "momentum" in answer["detail"].split("there are")[1]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b'{"jsonrpc": "2.0", "id": 1, "method": "tools/list", "id": 2}', 400, "malformed_body"),
        (b"[" * 3000, 400, "malformed_body"),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "' + b"x" * 2**22 + b'"}', 413, "body_too_large"),
    ],
)
def test_bodies_are_held_to_the_bounds_of_other_routes(address, body, status, code):
    headers = {"accept": "application/json, text/event-stream", "content-type": "application/json"}
    answer = httpx.post(f"{address}/mcp", content=body, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


def test_foreign_hosts_and_origins_are_refused(address):
    hello = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}
    accepts = {"accept": "application/json, text/event-stream"}
    for headers, status in (({"host": "evil.example"}, 421), ({"origin": "http://evil.example"}, 403)):
        assert httpx.post(f"{address}/mcp", json=hello, headers={**accepts, **headers}).status_code == status


def test_with_tokens_it_needs_one(http, run_settings):
    path = token_file(run_settings)
    secret = add_token(path, "agent", Scope.READ, 1000.0)
    try:
        import time

        deadline = time.monotonic() + 30
        while http.post("/mcp", json={}).status_code != 401:
            assert time.monotonic() < deadline
        headers = {"authorization": f"Bearer {secret}", "accept": "application/json, text/event-stream"}
        hello = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}
        assert http.post("/mcp", json=hello, headers=headers).status_code == 200
        assert http.get("/llms.txt").status_code == 200
        assert http.get("/model.md").status_code == 401
    finally:
        path.unlink()
        deadline = time.monotonic() + 30
        while http.get("/model.md").status_code != 200:
            assert time.monotonic() < deadline


def test_long_tables_keep_their_largest_and_say_what_is_left():
    many = {f"N{n}": float(n - 50) for n in range(100)}
    made = short({"values": many, "rows": list(range(100)), "few": {"a": 1.23456789}}, "GET /x")
    assert list(made["values"])[:2] == ["N0", "N1"]
    assert len(made["values"]) == len(made["rows"]) == MOST
    assert made["rows"][-1] == 99
    assert made["few"] == {"a": 1.23457}
    assert made["shortened"] == {"what": ["values: 30 of 100", "rows: the last 30 of 100"], "whole": "GET /x"}
    assert "shortened" not in short({"a": 1}, "GET /x")


def test_a_search_wants_all_words_and_puts_ids_first():
    page = {
        "definitions": [
            {"id": "x", "category": "value", "name": "of momentum"},
            {"id": "momentum_12", "category": "momentum", "name": "y"},
            {"id": "z", "category": "value", "name": "other"},
        ]
    }
    assert [one["id"] for one in search(page, "momentum", None)["factors"]] == ["momentum_12", "x"]
    assert [one["id"] for one in search(page, "Momentum", "value")["factors"]] == ["x"]
    assert search(page, "momentum other", None) == {"found": 0, "factors": []}


def test_the_pages_in_words_name_what_there_is(http):
    words = http.get("/llms.txt").text
    for path in re.findall(r"\]\((/[^)]*)\)", words):
        assert http.get(path).status_code == 200, path
    assert all(f"- {name}: " in words for name in tools())
    page = http.get("/model.md").text
    status = http.get("/factor-models/m/status").json()
    assert f"# The model m, version {status['model_version']}" in page
    assert f"{status['n_dates']} dates from {status['first_date']} to {status['last_date']}" in page
    history = http.post("/portfolio-risk/history", json={"portfolio_id": "market"}).json()["calculation_result"]
    assert f"Bias {history['factor_values']['bias']:.3f}:" in page
    share = history["factor_values"]["value_at_risk_exceeded_share"]
    assert f"on {share:.1%} of the days; {1 - history['confidence']:.1%} is right" in page
    settings = json.loads(page.split("```json", 1)[1].split("```", 1)[0])
    assert settings == status["settings"]


def test_numbers_have_six_digits_or_all_before_the_point():
    made = short({"since": 1796057425.96, "risk": 0.123456789, "n": 7, "cap": 1.5e18}, "/routing")
    assert made == {"since": 1796057426.0, "risk": 0.123457, "n": 7, "cap": 1.5e18}
