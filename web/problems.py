"""The border where errors become HTTP answers: RFC 9457 problem documents, once, for every route."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from bus.answer_text import as_json
from contracts import logs, tracing
from contracts.caller import Asked, asked
from contracts.errors import CallerGone, EngineError, Forbidden, InternalError
from contracts.tokens import Scope
from contracts.unexpected import unexpected
from contracts.work import Device, new_id
from web.callers import CALLER, NOBODY, require
from web.services import Services

PROBLEM_JSON = "application/problem+json"
CLIENT_CLOSED = 499
"""Nobody reads it: the caller went away. The number is what proxies log for that."""

UNAUTHENTICATED = 401
ID_HEADER = "factor-request-id"
"""On every answer: what logs and spans name the request by."""
MOST_OF_AN_ID = 128

Handler = Callable[[Request], Awaitable[Response]]

_log = logging.getLogger(__name__)
_HTTP_CODES = {404: ("unknown_route", "No such route"), 405: ("method_not_allowed", "Method not allowed")}


def problem_response(error: EngineError, instance: str | None = None) -> Response:
    """Give an error as a problem document, with ``Retry-After`` (whole seconds, at least 1) where it makes sense."""
    headers = {}
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after_s)))
    if error.status == UNAUTHENTICATED:
        headers["WWW-Authenticate"] = 'Bearer realm="factor-engine"'
    return Response(
        as_json(error.to_problem(instance)),
        error.status,
        headers,
        PROBLEM_JSON,
    )


def internal(error: Exception) -> InternalError:
    """Log an unforeseen error under an id and give what the caller is told."""
    return unexpected(error, _log)


async def http_exception(request: Request, error: Exception) -> Response:
    """Give Starlette's own errors (no such route, wrong method) as problem documents."""
    assert isinstance(error, HTTPException)
    code, title = _HTTP_CODES.get(error.status_code, ("http_error", "Request refused"))
    detail = f"{request.method} {request.url.path}: {title.lower()}; GET /openapi.json lists the routes"
    body = {
        "type": f"urn:factor-engine:problem:{code}",
        "title": title,
        "status": error.status_code,
        "code": code,
        "detail": detail,
        "retryable": False,
        "instance": request.url.path,
    }
    return Response(orjson.dumps(body), error.status_code, error.headers, PROBLEM_JSON)


def guarded(handler: Handler, services: Services, name: str, needs: Scope) -> Handler:
    """Wrap a handler for callers whose token covers `needs`.

    Whatever it raises becomes a problem document, and the answer is counted under `name`.
    """

    async def answer(request: Request) -> Response:
        started = time.perf_counter()
        code: str | None = None
        status, trace = CLIENT_CLOSED, None
        whose = Asked(request.headers.get("idempotency-key", "")[:MOST_OF_AN_ID] or new_id())
        asked.set(whose)
        try:
            with tracing.span(name, tracing.SERVER, _parent(request), request_id=whose.id) as span:
                trace = tracing.trace_id()
                require(request.scope, needs)
                response = await handler(request)
                status = response.status_code
                if span is not None:
                    span.set_attributes({"http.request.method": request.method, "http.response.status_code": status})
        except EngineError as error:
            code, status = error.code, error.status
            response = problem_response(error, request.url.path)
            if isinstance(error, Forbidden) and services.face is not None:
                await services.face.note_refused(name, request.path_params, error)
        except ClientDisconnect:
            code = "client_closed"
            response = Response(status_code=CLIENT_CLOSED)
        except asyncio.CancelledError:
            # Serve cancels the request when its client has gone.
            code = CallerGone.code
            raise
        except HTTPException:
            raise
        except Exception as error:  # noqa: BLE001  # the border: no traceback reaches a caller
            code, status = InternalError.code, InternalError.status
            response = problem_response(internal(error), request.url.path)
        finally:
            elapsed = time.perf_counter() - started
            if code is None:
                services.meter.answered(name, Device.CPU.value, http=elapsed)
            else:
                services.meter.failed(name, code, http=elapsed)
            _tell(request, name, status, code, whose, trace, elapsed)
        response.headers[ID_HEADER] = _plain(whose.id)
        return response

    return answer


def _plain(identity: str) -> str:
    """Write an id so that it can stand in a header; a body may have said any."""
    return identity if identity.isascii() and identity.isprintable() else quote(identity)


def _parent(request: Request) -> str:
    """Give the span of the caller's that a request belongs to."""
    return request.headers.get(tracing.HEADER, "") if tracing.on() else ""


def _tell(
    request: Request, name: str, status: int, code: str | None, whose: Asked, trace: str | None, took_s: float
) -> None:
    """Write the log line of a request, where it is wanted."""
    ours = code is not None and status >= tracing.OURS
    if logs.wanted(ours=ours):
        who = request.scope.get(CALLER, NOBODY).name
        about = {
            "request_id": whose.id,
            "trace_id": trace,
            "code": code,
            "caller": who,
            "http_ms": round(took_s * 1e3, 3),
        }
        logs.told(f"{request.method} {name}", status, ours=ours, **about)


def json_response(body: Any) -> Response:
    """Give a body as JSON."""
    return Response(as_json(body), media_type="application/json")
