"""Whatever the OpenAPI document allows, and much that it does not, gives no 5xx and what the document promises."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import re
import socket
import threading
import time

import pytest
import schemathesis
import uvicorn
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from contracts import frames
from contracts.examples import with_names
from contracts.operations import OPERATIONS, V1
from contracts.tokens import Scope, add_token
from web.app import make_app
from web.openapi import document
from web.service import ROUTES


@schemathesis.serializer(frames.ARROW_STREAM, frames.PARQUET)
def _bulk(_context, value):
    """Bytes that are no table: what comes of a table is tested by name elsewhere."""
    return value if isinstance(value, bytes) else str(value).encode()


CHECKS = (not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance)


@contextlib.contextmanager
def serving(app):
    """Have the application behind a real HTTP server; gives what it says of itself."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        deadline = time.monotonic() + 20.0
        while not server.started:
            assert time.monotonic() < deadline, "uvicorn did not start"
            time.sleep(0.01)
        yield schemathesis.openapi.from_url(f"http://127.0.0.1:{listener.getsockname()[1]}/openapi.json")
        server.should_exit = True
        thread.join(10.0)


@pytest.fixture(scope="session")
def described(http):
    with serving(http.app) as found:
        yield found


SCOPES = {(route.path, route.method): row.scope for row in OPERATIONS.values() for route in row.routes} | {
    (row.path, row.method): row.scope for row in ROUTES
}
ROUTES_ASKED = [
    (path, method)
    for path, methods in document(ROUTES)["paths"].items()
    for method in methods
    if not path.startswith(V1)  # the other paths of an operation have the same handler
]


@pytest.fixture(scope="session")
def guarded(services, tmp_path_factory):
    """The same application where a token is required, described by itself; with a token of each scope."""
    path = tmp_path_factory.mktemp("tokens") / "tokens.json"
    tokens = {scope: add_token(path, scope.name.lower(), scope, per_second=1e6) for scope in list(Scope)[1:]}
    closed = dataclasses.replace(services, settings=services.settings.model_copy(update={"token_file": path}))
    with serving(make_app(closed)) as found:
        yield found, tokens


@pytest.mark.parametrize(("path", "method"), ROUTES_ASKED)
def test_without_a_token_and_with_too_small_a_one_nothing_is_done(guarded, path, method):
    """Whatever is sent: the answer is 401 or 403 as the document says, whether it would have been right or not."""
    described, tokens = guarded
    needs = SCOPES[path, method.upper()]

    @given(case=described[path][method].as_strategy())
    @settings(max_examples=3, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    def ask(case):
        answers = {Scope.NONE: case.call(headers={"authorization": "Bearer wrong"})}
        answers |= {
            scope: case.call(headers={"authorization": f"Bearer {token}"})
            for scope, token in tokens.items()
            if scope < needs
        }
        for scope, answer in answers.items():
            assert answer.status_code == (401 if scope is Scope.NONE else 403)
            case.validate_response(answer, checks=CHECKS)

    if needs > Scope.NONE:
        ask()


@pytest.mark.parametrize(("path", "method"), ROUTES_ASKED)
def test_no_request_gives_a_server_error_or_an_undocumented_answer(described, path, method):
    @given(case=described[path][method].as_strategy())
    @settings(max_examples=5, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    def ask(case):
        answer = case.call(timeout=60.0)
        case.validate_response(answer, checks=CHECKS)

    ask()


BODIES = {
    (route.path, route.method): row
    for row in OPERATIONS.values()
    for route in row.routes
    if route.method in ("POST", "PUT") and not row.bulk and not route.path.startswith(V1)
}


def with_every_field(described):
    """The same description, in which each field of a body, and of what is in it, must be given."""
    raw = copy.deepcopy(described.raw_schema)

    def require(schema):
        if isinstance(schema, list):
            for one in schema:
                require(one)
        elif isinstance(schema, dict):
            if "$ref" in schema:
                schema |= copy.deepcopy(raw["components"]["schemas"][schema.pop("$ref").rsplit("/", 1)[-1]])
            if "properties" in schema:
                schema["required"] = list(schema["properties"])
            for one in schema.values():
                require(one)

    for path, method in BODIES:
        require(raw["paths"][path][method.lower()].get("requestBody", {}))
    return schemathesis.openapi.from_dict(raw)


@pytest.fixture(scope="session")
def complete(described):
    return with_every_field(described)


@pytest.mark.parametrize(("path", "method"), list(BODIES))
def test_any_value_of_any_field_in_a_request_that_is_right_else_gives_no_server_error(
    described, complete, http, symbols, path, method
):
    """The whole example is right: what is drawn of a field reaches what is behind the check of the request."""
    example = with_names(BODIES[path, method].example, symbols)
    tried = set()

    @given(case=complete[path][method].as_strategy())
    @settings(max_examples=2, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    def ask(case):
        drawn = case.body
        assert isinstance(drawn, dict)
        case.path_parameters = {name: example.get(name, value) for name, value in case.path_parameters.items()}
        for field, value in drawn.items():
            tried.add(field)
            case.body = {
                name: held for name, held in {**example, field: value}.items() if name not in case.path_parameters
            }
            answer = case.call(base_url=described.get_base_url(), timeout=120.0)
            case.validate_response(answer, checks=CHECKS)

    ask()
    assert tried >= set(BODIES[path, method].request.model_fields) - set(re.findall(r"{(\w+)}", path))
