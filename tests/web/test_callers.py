"""Whoever asks over HTTP needs a token where one is required, and may do what its scope covers, no more."""

import asyncio
import logging

import httpx
import pytest
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from clients.http import HttpEngine
from contracts.errors import EngineError
from contracts.operations import OPERATIONS, V1
from contracts.settings import Settings
from contracts.tokens import Scope, add_token, digest_of, remove_token, token_file
from web import callers
from web.app import make_app
from web.callers import OPEN
from web.service import ROUTES
from web.services import Services

EXPOSURES = "/factor-exposures/calculate"
WRITE = "/factor-model/create"
BOOK = {"portfolio_weights": {"A": 1.0}}


def bearer(secret):
    return {"authorization": f"Bearer {secret}"}


class Place:
    """An application with a token of each scope."""

    def __init__(self, folder, **changes):
        self.services = Services(Settings(run_dir=folder, **changes))
        self.path = token_file(self.services.settings)
        self.tokens = {scope: add_token(self.path, scope.name.lower(), scope) for scope in list(Scope)[1:]}
        self.app = make_app(self.services)
        self.client = TestClient(self.app, base_url="http://127.0.0.1:8300")

    def ask(self, method, path, scope, **more):
        return self.client.request(method, path, headers=bearer(self.tokens[scope]), **more)


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setattr(callers, "LOOK_AGAIN_S", 0.0)
    return Place(tmp_path)


def routes(app):
    return [(r.path, m) for r in app.router.routes if isinstance(r, Route) for m in r.methods - {"HEAD"}]


def needed():
    """What each route needs, by the rows that it is made of."""
    out = {(route.path, route.method): row.scope for row in OPERATIONS.values() for route in row.routes}
    out |= {(row.path, row.method): row.scope for row in ROUTES}
    out |= {("/mcp", "POST"): Scope.READ, ("/model.md", "GET"): Scope.READ}
    return out | {(path, "GET"): Scope.NONE for path in (*OPEN, "/page/{name:path}")}


def test_every_route_lets_in_exactly_the_scopes_that_cover_it(place):
    wanted = needed()
    for path, method in routes(place.app):
        needs = wanted[path, method]
        url = path.replace("{", "").replace("}", "")
        without = place.client.request(method, url, follow_redirects=False)
        assert (without.status_code == 401) is (needs > Scope.NONE), (method, path)
        for scope in place.tokens:
            refused = place.ask(method, url, scope, follow_redirects=False).status_code == 403
            assert refused is (scope < needs), (method, path, scope)


def test_what_is_no_route_of_ours_needs_a_token_too(place):
    assert place.client.get("/nowhere").status_code == 401
    assert place.ask("GET", "/nowhere", Scope.READ).status_code == 404


def test_nothing_beside_routes_and_the_feed_is_served(place):
    assert {type(route) for route in place.app.router.routes} == {Route, WebSocketRoute}


def test_without_a_token_a_problem_says_how_to_get_one(place):
    answer = place.client.post(EXPOSURES, json=BOOK)
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert answer.headers["content-type"] == "application/problem+json"
    assert "python -m launch token add" in answer.json()["detail"]


@pytest.mark.parametrize("given", ["Bearer fe_wrong", "Bearer", "Bearer ", "Basic eA==", "fe_wrong", "Bearer a b"])
def test_what_is_no_known_token_is_refused_and_not_repeated(place, given):
    answer = place.client.get("/health", headers={"authorization": given})
    assert answer.status_code == 401
    assert "fe_wrong" not in answer.text


def test_too_small_a_scope_is_told_which_it_takes(place):
    answer = place.ask("POST", WRITE, Scope.READ, json={})
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert "scope write" in answer.json()["detail"]


def test_a_token_of_the_hash_itself_opens_nothing(place):
    digest = digest_of(place.tokens[Scope.ADMIN].encode())
    assert place.client.get("/health", headers=bearer(digest)).status_code == 401


def test_a_token_that_was_removed_is_refused_while_the_engine_runs(place):
    assert place.ask("GET", "/health", Scope.READ).status_code == 200
    remove_token(place.path, "read")
    assert place.ask("GET", "/health", Scope.READ).status_code == 401
    fresh = add_token(place.path, "read", Scope.READ)
    assert place.client.get("/health", headers=bearer(fresh)).status_code == 200


def test_a_file_that_became_readable_to_others_lets_nobody_in_and_says_so(place, caplog):
    place.path.chmod(0o644)
    with caplog.at_level(logging.ERROR):
        answer = place.ask("GET", "/health", Scope.ADMIN)
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert "not private" in answer.json()["detail"]
    assert "not private" in caplog.text
    assert place.client.get("/live").status_code == 200


def test_tokens_that_fail_in_a_way_nobody_thought_of_let_nobody_in(place, monkeypatch):
    assert place.ask("POST", EXPOSURES, Scope.READ, json=BOOK).status_code not in (401, 403)

    def broken(current):
        raise AssertionError

    monkeypatch.setattr(callers, "known_tokens", broken)
    place.path.touch()
    with pytest.raises(AssertionError):
        place.ask("POST", WRITE, Scope.ADMIN, json={})
    assert place.client.post(WRITE, json={}).status_code == 503
    assert place.ask("POST", WRITE, Scope.ADMIN, json={}).status_code == 503


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_a_scope_that_is_a_number_does_not_open_the_door(tmp_path, host):
    path = tmp_path / "tokens.json"
    path.touch(mode=0o600)
    path.write_text('{"tokens": [{"name": "a", "scope": 3, "digest": "' + "0" * 64 + '", "per_second": 1}]}')
    app = make_app(Services(Settings(run_dir=tmp_path, http_host=host)))
    with TestClient(app, base_url="http://127.0.0.1:8300") as client:
        assert [client.post(WRITE, json={}).status_code for _ in range(2)] == [503, 503]


def test_on_loopback_without_tokens_none_is_asked_for(tmp_path):
    client = TestClient(make_app(Services(Settings(run_dir=tmp_path))), base_url="http://127.0.0.1:8300")
    assert client.get("/health").status_code == 200


def test_beyond_loopback_one_is_required_even_when_there_is_none(tmp_path):
    client = TestClient(make_app(Services(Settings(run_dir=tmp_path, http_host="0.0.0.0"))), base_url="http://10.0.0.7")
    assert client.get("/health").status_code == 401
    assert client.get("/live").json() == {"live": True}


def test_the_rate_is_per_token_and_says_when_to_ask_again(place, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(callers.time, "monotonic", lambda: now[0])
    slow = add_token(place.path, "slow", Scope.READ, per_second=2.0)
    answers = [place.client.get(f"{V1}/config", headers=bearer(slow)) for _ in range(5)]
    assert [answer.status_code for answer in answers] == [200] * 4 + [429]
    assert answers[-1].json()["code"] == "rate_exceeded"
    assert answers[-1].headers["retry-after"] == "1"
    assert place.ask("GET", f"{V1}/config", Scope.READ).status_code == 200, "another token has a rate of its own"
    now[0] += 0.5
    assert place.client.get(f"{V1}/config", headers=bearer(slow)).status_code == 200


def test_refusals_are_counted(place):
    place.client.get("/health")
    place.ask("POST", WRITE, Scope.READ, json={})
    assert place.services.doors == {"unauthenticated": 1}
    assert place.services.meter.snapshot()  # what a route refuses counts as its answer


def test_a_websocket_takes_the_token_from_the_header_or_as_a_protocol(place):
    with (
        pytest.raises(WebSocketDisconnect) as refused,
        place.client.websocket_connect("ws://127.0.0.1:8300/ws/factors"),
    ):
        pass
    assert refused.value.code == 1008
    with place.client.websocket_connect(
        "ws://127.0.0.1:8300/ws/factors", headers=bearer(place.tokens[Scope.READ])
    ) as socket:
        assert "bridge is away" in socket.receive_text()
    offered = ["factor-engine", f"bearer.{place.tokens[Scope.READ]}"]
    with place.client.websocket_connect("ws://127.0.0.1:8300/ws/factors", subprotocols=offered) as socket:
        assert socket.accepted_subprotocol == "factor-engine"


def test_one_token_has_so_many_websockets_and_no_more(place, monkeypatch):
    monkeypatch.setattr("web.feed.MAX_PER_TOKEN", 1)
    headers = bearer(place.tokens[Scope.READ])
    with place.client.websocket_connect("ws://127.0.0.1:8300/ws/factors", headers=headers) as socket:
        socket.receive_text()
        with (
            pytest.raises(WebSocketDisconnect) as refused,
            place.client.websocket_connect("ws://127.0.0.1:8300/ws/factors", headers=headers),
        ):
            pass
        assert refused.value.code == 1013
        with place.client.websocket_connect(
            "ws://127.0.0.1:8300/ws/factors", headers=bearer(place.tokens[Scope.ADMIN])
        ) as other:
            other.receive_text()


def test_no_token_is_in_any_answer(place, monkeypatch):
    secrets = list(place.tokens.values())
    for path, method in routes(place.app):
        for scope in place.tokens:
            answer = place.ask(method, path.replace("{", "").replace("}", ""), scope)
            assert not [secret for secret in secrets if secret in answer.text or secret in str(answer.headers)]


def test_the_document_names_the_scheme_and_the_scope_of_each_route(place):
    described = place.client.get("/openapi.json").json()
    assert described["components"]["securitySchemes"]["token"]["scheme"] == "bearer"
    assert described["paths"][WRITE]["post"]["security"] == [{"token": ["write"]}, {}]
    assert described["paths"]["/live"]["get"]["security"] == []


def test_names_of_the_loaded_model_are_for_callers_with_a_token(http, services, symbols, tmp_path):
    import dataclasses

    closed = dataclasses.replace(services, settings=services.settings.model_copy(update={"token_file": tmp_path / "t"}))
    secret = add_token(tmp_path / "t", "read", Scope.READ)
    client = TestClient(make_app(closed))
    whole = http.get("/openapi.json").text
    shown = client.get("/openapi.json").text
    assert client.get("/openapi.json", headers=bearer(secret)).text == whole
    assert shown != whole


@pytest.mark.parametrize("by", ["argument", "environment"])
def test_the_client_sends_its_token(place, monkeypatch, by):
    async def health(**how):
        async with HttpEngine("http://127.0.0.1:8300", transport=httpx.ASGITransport(place.app), **how) as engine:
            return await engine.health()

    secret = place.tokens[Scope.READ]
    with pytest.raises(EngineError, match="token is required"):
        asyncio.run(health())
    if by == "environment":
        monkeypatch.setenv("FACTOR_ENGINE_TOKEN", secret)
    assert asyncio.run(health(**{"token": secret} if by == "argument" else {}))["status"]


def test_the_file_may_be_named_elsewhere(tmp_path):
    current = Settings(run_dir=tmp_path, token_file=tmp_path / "else" / "where.json")
    secret = add_token(token_file(current), "a", Scope.READ)
    client = TestClient(make_app(Services(current)), base_url="http://127.0.0.1:8300")
    assert client.get(f"{V1}/config").status_code == 401
    assert client.get(f"{V1}/config", headers=bearer(secret)).status_code == 200
