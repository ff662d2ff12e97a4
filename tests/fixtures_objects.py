"""Moto's S3 on loopback, whose answers a test can have lost or refused. The whole suite loads this module."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

BUCKET = "store"


class Faults:
    """What goes wrong between a client and the server.

    Each rule sees a request's method and key, and says what becomes of it. ``None``: it is answered. ``lost``: it is
    done, and the answer is cut off. ``cut``: the connection ends before it is done. A number: it is not done, and the
    answer has that status.
    """

    def __init__(self) -> None:
        self.rules: list[Callable[[str, str], str | int | None]] = []
        self.seen: list[tuple[str, str]] = []
        self.ignores_conditions = False

    @contextmanager
    def rule(self, rule: Callable[[str, str], str | int | None]) -> Iterator[None]:
        """Have a rule while the block runs."""
        self.rules.append(rule)
        try:
            yield
        finally:
            self.rules.remove(rule)

    @contextmanager
    def times(self, what: str | int, number: int, method: str, part: str) -> Iterator[list[int]]:
        """Have the first requests of a method to keys with `part` in them go wrong; gives how many did."""
        done = [0]

        def first(asked: str, key: str) -> str | int | None:
            if asked == method and part in key and done[0] < number:
                done[0] += 1
                return what
            return None

        with self.rule(first):
            yield done


class _Application:
    """Moto's application, one request at a time: real S3 is atomic in an object, moto's check and put are two steps."""

    def __init__(self, faults: Faults) -> None:
        from moto.server import DomainDispatcherApplication, create_backend_app

        self._inner = DomainDispatcherApplication(create_backend_app)
        self._faults = faults
        self._lock = threading.Lock()

    def __call__(self, environ, start_response):
        method, key = environ["REQUEST_METHOD"], environ["PATH_INFO"].removeprefix(f"/{BUCKET}").lstrip("/")
        if self._faults.ignores_conditions:
            for name in ("HTTP_IF_MATCH", "HTTP_IF_NONE_MATCH"):
                environ.pop(name, None)
        with self._lock:
            self._faults.seen.append((method, key))
            said = [what for rule in list(self._faults.rules) if (what := rule(method, key)) is not None]
            if said and said[0] == "cut":
                environ["werkzeug.socket"].shutdown(2)
                raise ConnectionAbortedError
            if said and isinstance(said[0], int):
                environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
                start_response(f"{said[0]} Fault", [("Content-Type", "application/xml")])
                return [b"<Error><Code>SlowDown</Code><Message>secret-in-an-answer</Message></Error>"]
            body = b"".join(self._inner(environ, start_response))
        if said and said[0] == "lost":
            environ["werkzeug.socket"].shutdown(2)
            raise ConnectionAbortedError
        return [body]


@pytest.fixture(scope="session")
def s3_server():
    """Run the server; gives its URL and its faults."""
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Quiet(WSGIRequestHandler):
        protocol_version = "HTTP/1.1"

        def log(self, *_):
            pass

    faults = Faults()
    server = make_server("127.0.0.1", 0, _Application(faults), threaded=True, request_handler=Quiet)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", faults
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def s3(s3_server, monkeypatch):
    """Give an empty bucket; the environment says how to reach it. Gives the faults."""
    import httpx

    url, faults = s3_server
    environment = {
        "AWS_ENDPOINT_URL": url,
        "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "key-of-the-test",
        "AWS_SECRET_ACCESS_KEY": "secret-of-the-test",
        "AWS_REGION": "us-east-1",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    httpx.post(f"{url}/moto-api/reset").raise_for_status()
    httpx.put(f"{url}/{BUCKET}").raise_for_status()
    faults.rules.clear()
    faults.seen.clear()
    faults.ignores_conditions = False
    yield faults
    from store import place

    place.close()
