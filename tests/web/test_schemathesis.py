"""Whatever the OpenAPI document allows, and much that it does not, gives no 5xx and what the document promises."""

from __future__ import annotations

import contextlib
import dataclasses
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
