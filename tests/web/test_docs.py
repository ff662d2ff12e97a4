"""Blocks of the pages that ask an application: over the real actors in this process."""

import json
import re
import socket
import threading

import pytest
import uvicorn
from docs_blocks import block
from starlette.testclient import TestClient

from web.app import make_app


@pytest.fixture(scope="module")
def address(http, services):
    """A real server of the application, for programs that speak HTTP over sockets."""
    taken = socket.socket()
    taken.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(make_app(services), log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [taken]}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(20)
        taken.close()


@pytest.fixture
def workspace(address, monkeypatch):
    """The file of docs/openbb.md, as `openbb-api --app workspace.py` would load it."""
    monkeypatch.setenv("FACTOR_ENGINE_URL", address)
    monkeypatch.delenv("FACTOR_ENGINE_TOKEN", raising=False)
    names = {"__name__": "workspace"}
    exec(compile(block("openbb.md", "import os"), "workspace.py", "exec", dont_inherit=True), names)
    names["engine"].timeout = 120.0
    with TestClient(names["app"]) as client:
        yield client


def flat(rows):
    return rows and all(not isinstance(value, dict | list) for row in rows for value in row.values())


def test_openbb_md_gives_flat_rows_of_the_engines_answers(workspace, http):
    assert block("openbb.md", "openbb-api --app").split()[:3] == ["openbb-api", "--app", "workspace.py"]
    risk = workspace.get("/book_risk", params={"book": "market"})
    assert risk.status_code == 200, risk.text
    assert flat(risk.json())
    whole = http.post("/portfolio-risk/calculate", json={"portfolio_id": "market"}).json()["calculation_result"]
    told = {row["name"]: row["value"] for row in risk.json()}
    assert told["total_risk"] == pytest.approx(whole["factor_values"]["total_risk"])
    exposures = workspace.get("/book_exposures").json()
    assert flat(exposures)
    assert "market" in {row["name"] for row in exposures}
    history = workspace.get("/book_history").json()
    assert flat(history)
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\d", row["date"]) for row in history)


def test_openbb_md_says_the_engines_own_sentence(workspace):
    refused = workspace.get("/book_risk", params={"book": "absent"})
    assert refused.status_code == 404
    assert "absent" in refused.json()["detail"]


def test_openbb_md_describes_its_widgets(workspace):
    """What the launcher makes widgets of: each route is a GET with a summary of its own and a list of typed rows."""
    paths = workspace.get("/openapi.json").json()["paths"]
    assert set(paths) == {"/book_risk", "/book_exposures", "/book_history"}
    for about in paths.values():
        assert about["get"]["description"]
        assert about["get"]["responses"]["200"]["content"]["application/json"]["schema"]["type"] == "array"


def test_portfolios_md_stores_appends_shows_lists_and_deletes(http, symbols):
    text = block("portfolios.md", "PUT    /portfolios").replace("{id}", "of-the-page")
    dates = [row["date"] for row in [{"date": "2024-01-02"}]]
    assert dates[0] in text
    for written, name in (("AAPL", symbols[0]), ("MSFT", symbols[1])):
        text = text.replace(f'"{written}"', f'"{name}"')
    asked = re.findall(r"(PUT|POST|GET|DELETE) +(/\S+)(?: +(\{.*\}))?", text)
    assert [method for method, _, _ in asked] == ["PUT", "POST", "GET", "GET", "DELETE"]
    for method, path, body in asked:
        answer = http.request(method, path, json=json.loads(body) if body else None)
        assert answer.status_code == 200, (method, path, answer.text)
    assert http.get("/portfolios/of-the-page").status_code == 404


def test_live_md_sets_a_days_end(http):
    """The engine of the page has a model `main`; here it is `m`."""
    text = block("live.md", "curl -X PUT http://127.0.0.1:8300/running-day")
    body = json.loads(re.search(r"-d '(.*)'", text)[1])
    try:
        answer = http.put("/running-day/m", json=body)
        assert answer.status_code == 200, answer.text
    finally:
        http.put("/running-day/m", json={"market": "main"})
