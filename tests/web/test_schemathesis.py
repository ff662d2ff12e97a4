"""Whatever the OpenAPI document allows, and much that it does not, gives no 5xx and what the document promises."""

from __future__ import annotations

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
from contracts.operations import V1
from web.openapi import document
from web.service import ROUTES


@schemathesis.serializer(frames.ARROW_STREAM, frames.PARQUET)
def _bulk(_context, value):
    """Bytes that are no table: what comes of a table is tested by name elsewhere."""
    return value if isinstance(value, bytes) else str(value).encode()


CHECKS = (not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance)


@pytest.fixture(scope="session")
def described(http):
    """The application behind a real HTTP server."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(http.app, log_level="error", lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        deadline = time.monotonic() + 20.0
        while not server.started:
            assert time.monotonic() < deadline, "uvicorn did not start"
            time.sleep(0.01)
        yield schemathesis.openapi.from_url(f"http://127.0.0.1:{listener.getsockname()[1]}/openapi.json")
        server.should_exit = True
        thread.join(10.0)


ROUTES_ASKED = [
    (path, method)
    for path, methods in document(ROUTES)["paths"].items()
    for method in methods
    if not path.startswith(V1)  # the other paths of an operation have the same handler
]


@pytest.mark.parametrize(("path", "method"), ROUTES_ASKED)
def test_no_request_gives_a_server_error_or_an_undocumented_answer(described, path, method):
    @given(case=described[path][method].as_strategy())
    @settings(max_examples=5, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    def ask(case):
        answer = case.call(timeout=60.0)
        case.validate_response(answer, checks=CHECKS)

    ask()
