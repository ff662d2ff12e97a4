"""A page of any web site that a user opens must not reach the engine on the user's own machine."""

import pytest
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from contracts.settings import Settings
from web.app import make_app
from web.doors import Hosts
from web.services import Services

EXPOSURES = "/factor-exposures/calculate"
REBOUND = {"host": "attacker.example:8300"}


@pytest.fixture
def plain(tmp_path):
    """A client of an application that listens where it does by default and is told of no other name."""
    with TestClient(make_app(Services(Settings(run_dir=tmp_path))), base_url="http://127.0.0.1:8300") as client:
        yield client


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/health"), ("DELETE", "/factor-model/m"), ("POST", EXPOSURES), ("GET", "/nowhere")]
)
def test_a_name_that_was_pointed_at_loopback_is_refused(plain, method, path):
    answer = plain.request(method, path, headers=REBOUND)
    assert (answer.status_code, answer.json()["code"]) == (421, "unknown_host")
    assert answer.headers["content-type"] == "application/problem+json"
    assert "attacker.example" in answer.json()["detail"]


@pytest.mark.parametrize(
    "host", ["127.0.0.1:8300", "localhost:8300", "LOCALHOST", "localhost.", "[::1]:8300", "127.8.8.8"]
)
def test_loopback_answers_under_each_of_its_names(plain, host):
    assert plain.get("/health", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["127.0.0.1.attacker.example", "localhost:x@attacker.example", "[::1", "10.0.0.7", "é"]
)
def test_what_only_looks_like_loopback_is_refused(host):
    assert not Hosts(Settings()).knows(host)


def test_other_names_are_those_that_the_operator_lists(monkeypatch):
    monkeypatch.setenv("FACTOR_ENGINE_ALLOWED_HOSTS", "engine.example, models.example")
    named = Hosts(Settings())
    assert named.knows("engine.example:8300")
    assert named.knows("Models.Example")
    assert not named.knows("other.example")
    assert Hosts(Settings(allowed_hosts=("*",))).knows("other.example")


def test_an_engine_on_all_addresses_answers_to_any_address_but_to_no_name():
    open_wide = Hosts(Settings(http_host="0.0.0.0"))
    assert open_wide.knows("192.168.1.7:8300")
    assert not open_wide.knows("attacker.example")


def test_a_request_without_host_passes_as_health_probes_send_none(run_settings):
    counts = {}

    async def app(scope, receive, send):
        counts["passed"] = counts.get("passed", 0) + 1

    import asyncio

    from web.doors import Doors

    scope = {"type": "http", "method": "GET", "path": "/-/healthz", "headers": []}
    asyncio.run(Doors(app, run_settings, {})(scope, None, None))
    assert counts == {"passed": 1}


@pytest.mark.parametrize("origin", ["http://attacker.example", "https://127.0.0.1:8300.attacker.example", "null"])
@pytest.mark.parametrize(("method", "path"), [("POST", EXPOSURES), ("DELETE", "/factor-model/m"), ("PUT", "/x")])
def test_a_page_of_another_site_may_not_write(plain, method, path, origin):
    answer = plain.request(method, path, headers={"origin": origin}, content=b"{}")
    assert (answer.status_code, answer.json()["code"]) == (403, "foreign_origin")


def test_another_port_of_this_machine_is_another_site(plain):
    headers = {"origin": "http://127.0.0.1:3000"}
    assert plain.post(EXPOSURES, json={}, headers=headers).status_code == 403


def test_a_page_of_this_host_may_write_and_any_page_may_be_told_how_the_engine_is(plain):
    own = plain.post(EXPOSURES, json={}, headers={"origin": "http://127.0.0.1:8300"})
    assert own.json()["code"] == "unavailable"  # it came as far as the engine, which is not there
    assert plain.get("/health", headers={"origin": "http://attacker.example"}).status_code == 200


def test_behind_tls_the_default_port_may_be_written_or_left_out(run_settings):
    app = make_app(Services(run_settings))
    for host in ("testserver", "testserver:443"):
        answer = TestClient(app).post(EXPOSURES, json={}, headers={"host": host, "origin": "https://testserver"})
        assert answer.status_code == 503


def test_pages_that_the_operator_lists_may_write(tmp_path):
    current = Settings(run_dir=tmp_path, allowed_origins=("https://desk.example",))
    client = TestClient(make_app(Services(current)), base_url="http://localhost")
    assert client.post(EXPOSURES, json={}, headers={"origin": "https://desk.example"}).status_code == 503
    assert client.post(EXPOSURES, json={}, headers={"origin": "https://other.example"}).status_code == 403


@pytest.mark.parametrize("headers", [{"origin": "http://attacker.example"}, REBOUND])
def test_websockets_of_other_sites_are_refused_before_they_are_open(plain, headers):
    with pytest.raises(WebSocketDisconnect) as refused, plain.websocket_connect("/ws/factors", headers=headers):
        pass
    assert refused.value.code == 1008


def test_refusals_are_counted(tmp_path):
    services = Services(Settings(run_dir=tmp_path))
    client = TestClient(make_app(services), base_url="http://localhost")
    client.get("/health", headers=REBOUND)
    client.post(EXPOSURES, json={}, headers={"origin": "null"})
    assert services.doors == {"unknown_host": 1, "foreign_origin": 1}
    assert 'factor_engine_doors{code="unknown_host"} 1.0' in client.get("/metrics").text


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"])
@pytest.mark.parametrize("path", [EXPOSURES, "/factor-model/create", "/messagebus/test-factor-broadcast"])
def test_content_types_that_any_form_can_send_are_refused(http, path, kind):
    answer = http.post(path, content=b'{"portfolio_weights": {"A": 1}}', headers={"content-type": kind})
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media")
    assert "application/json" in answer.json()["detail"]
