"""Whatever the OpenAPI document allows, and much that it does not, gives no 5xx and what the document promises."""

from __future__ import annotations

import socket
import threading
import time

import pytest
import schemathesis
import uvicorn
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

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
        # The other paths of an operation have the same handler.
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/openapi.json"
        yield schemathesis.openapi.from_url(url).exclude(path_regex="^/api/v1/")
        server.should_exit = True
        thread.join(10.0)


schema = schemathesis.pytest.from_fixture("described")


@schema.parametrize()
@settings(max_examples=8, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_no_request_gives_a_server_error_or_an_undocumented_answer(case):
    answer = case.call(timeout=60.0)
    case.validate_response(answer, checks=CHECKS)
