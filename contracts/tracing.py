"""Spans of requests by OTLP, where an operator asked for them (the extra `tracing`); nothing where he did not.

What a span belongs to travels as a W3C ``traceparent``, a text: it comes in a caller's header, is in a context variable
on the way through a process, and goes to an actor with its item. A process sends spans once it called `begin`.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar, cast

from contracts.caller import traceparent
from contracts.errors import EngineError

if TYPE_CHECKING:
    from contracts.settings import Settings

HEADER = "traceparent"
OTLP = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PATH = "/v1/traces"
SEND_S = 1.0
"""Spans are sent so often: the default of five seconds loses more. OTEL_BSP_SCHEDULE_DELAY goes before."""
OURS = 500
"""Problems from this status on are ours; what a caller did wrong is no error of the service."""
SERVER, CLIENT, INTERNAL = "SERVER", "CLIENT", "INTERNAL"

F = TypeVar("F", bound=Callable[..., Any])

_tracer: Any = None
_provider: Any = None
_off: AbstractContextManager[None] = nullcontext()

_log = logging.getLogger(__name__)


def begin(process: str, settings: Settings) -> None:
    """Send spans from here on, as `process`, if that is wanted and the extra is installed."""
    global _tracer, _provider
    given = any(os.environ.get(name) for name in OTLP)
    if _tracer is not None or not (settings.traces or given):
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        _log.warning("no traces are sent: %s; pip install 'factor-engine[tracing]' brings what is missing", error)
        return
    from contracts.identity import engine_id
    from contracts.version import VERSION

    about: dict[str, Any] = {
        "service.version": VERSION,
        "service.instance.id": f"{engine_id(settings.run_dir)}-{process}-{os.getpid()}",
        "process.pid": os.getpid(),
        "factor_engine.process": process,
    }
    if "OTEL_SERVICE_NAME" not in os.environ:
        about["service.name"] = "factor-engine"
    exporter = OTLPSpanExporter(endpoint=_endpoint(settings.traces)) if settings.traces else OTLPSpanExporter()
    own: dict[str, Any] = (
        {} if "OTEL_BSP_SCHEDULE_DELAY" in os.environ else {"schedule_delay_millis": int(SEND_S * 1e3)}
    )
    # A process that ends does not wait for a collector that is away: the last second of it is lost then.
    _provider = TracerProvider(resource=Resource.create(about), shutdown_on_exit=False)
    _provider.add_span_processor(BatchSpanProcessor(exporter, **own))
    _tracer = _provider.get_tracer("factor_engine", VERSION)


def end() -> None:
    """Send what waits, and no more after it."""
    global _tracer, _provider
    provider, _tracer, _provider = _provider, None, None
    if provider is not None:
        provider.shutdown()


def on() -> bool:
    """Say whether this process sends spans."""
    return _tracer is not None


def span(
    name: str, kind: str = INTERNAL, parent: str | None = None, **attributes: Any
) -> AbstractContextManager[Any | None]:
    """Do what is in the block as a span; gives OpenTelemetry's span, or None where no spans are sent.

    Parameters
    ----------
    name
        Of a small set: no ids.
    kind
        `SERVER`, `CLIENT` or `INTERNAL`.
    parent
        The `traceparent` that it belongs to; default: what is done now.
    attributes
        Their names get the prefix ``factor_engine.``, as none of the conventions' names stands for them.
    """
    if _tracer is None:
        return _off
    return _spanned(name, kind, traceparent.get() if parent is None else parent, attributes)


@contextmanager
def _spanned(name: str, kind: str, parent: str, attributes: Mapping[str, Any]) -> Iterator[Any]:
    opened = opened_span(name, kind, parent, attributes)
    before = traceparent.set(text_of(opened))
    try:
        yield opened
    except BaseException as error:
        failed(opened, error)
        raise
    finally:
        traceparent.reset(before)
        opened.end()


def spanned(name: str) -> Callable[[F], F]:
    """Make each call of a function a span of what is done now; where nothing is, it is called as it is."""

    def of(function: F) -> F:
        @wraps(function)
        def called(*args: Any, **kwargs: Any) -> Any:
            if _tracer is None or not traceparent.get():
                return function(*args, **kwargs)
            with span(name):
                return function(*args, **kwargs)

        return cast("F", called)

    return of


def opened_span(name: str, kind: str, parent: str, attributes: Mapping[str, Any]) -> Any:
    """Open a span that the caller ends himself; only while `on`."""
    from opentelemetry.context import Context
    from opentelemetry.trace import SpanKind
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    context = TraceContextTextMapPropagator().extract({HEADER: parent}, Context()) if parent else Context()
    named = {f"factor_engine.{key}": value for key, value in attributes.items() if value is not None}
    return _tracer.start_span(name, context, SpanKind[kind], named)


def text_of(opened: Any) -> str:
    """Give a span as a ``traceparent``; one that is not recorded says so, and so do those below it."""
    context = opened.get_span_context()
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"


def failed(opened: Any, error: BaseException) -> None:
    """Note on a span what it ended with; what is ours is an error of the span."""
    from opentelemetry.trace import Status, StatusCode

    if not isinstance(error, EngineError):
        opened.set_attribute("error.type", type(error).__name__)
        opened.set_status(Status(StatusCode.ERROR))
        return
    opened.set_attribute("error.type", error.code)
    if error.status >= OURS:
        opened.set_status(Status(StatusCode.ERROR, error.detail))


def trace_id() -> str | None:
    """Give the trace that what is done now belongs to; 32 hexadecimal digits."""
    return trace_of(traceparent.get())


def trace_of(text: str) -> str | None:
    """Give the trace of a ``traceparent``; None where there is none."""
    return text.split("-")[1] if text else None


def _endpoint(url: str) -> str:
    """Give the address that spans go to: a collector's own path, where the setting has none."""
    bare = url.rstrip("/")
    return bare if bare.partition("://")[2].count("/") else f"{bare}{PATH}"
