"""A collector of traces on loopback: takes what is sent by OTLP over HTTP, as protobuf, and keeps the spans."""

from __future__ import annotations

import contextlib
import gzip
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

DEADLINE_S = 60.0


@dataclass
class Span:
    name: str
    process: str
    trace: str
    id: str
    parent: str
    kind: int
    failed: bool
    attributes: dict = field(default_factory=dict)


class Receiver:
    """What came, and where it comes."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.paths: set[str] = set()
        self._spans: list[Span] = []
        self._lock = threading.Lock()

    def take(self, path: str, body: bytes) -> None:
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

        found = []
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            about = values(resource.resource.attributes)
            assert about["service.name"] == "factor-engine"
            for scope in resource.scope_spans:
                found += [read(span, str(about["factor_engine.process"])) for span in scope.spans]
        with self._lock:
            self.paths.add(path)
            self._spans += found

    @property
    def spans(self) -> list[Span]:
        with self._lock:
            return list(self._spans)

    def of(self, trace: str, until: Callable[[list[Span]], object]) -> list[Span]:
        """Give the spans of a trace, once they are what is waited for."""
        end = time.monotonic() + DEADLINE_S
        while True:
            found = [span for span in self.spans if span.trace == trace]
            if until(found):
                return found
            assert time.monotonic() < end, found
            time.sleep(0.02)


def values(attributes) -> dict:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}


def read(span, process: str) -> Span:
    ids = (span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex())
    return Span(span.name, process, *ids, span.kind, span.status.code == 2, values(span.attributes))


@contextlib.contextmanager
def receiving() -> Iterator[Receiver]:
    """Listen on a free port of loopback while the block runs."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            receiver.take(self.path, gzip.decompress(body) if self.headers.get("content-encoding") == "gzip" else body)
            self.send_response(200)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    receiver = Receiver(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join(20)
