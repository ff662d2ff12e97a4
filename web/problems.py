"""The border where errors become HTTP answers: RFC 9457 problem documents, once, for every route."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from bus.answer_text import as_json
from contracts.errors import CallerGone, EngineError, InternalError
from contracts.tokens import Scope
from contracts.unexpected import unexpected
from contracts.work import Device
from web.callers import require
from web.services import Services

PROBLEM_JSON = "application/problem+json"
CLIENT_CLOSED = 499
"""Nobody reads it: the caller went away. The number is what proxies log for that."""

UNAUTHENTICATED = 401

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
        try:
            require(request.scope, needs)
            return await handler(request)
        except EngineError as error:
            code = error.code
            return problem_response(error, request.url.path)
        except ClientDisconnect:
            code = "client_closed"
            return Response(status_code=CLIENT_CLOSED)
        except asyncio.CancelledError:
            # Serve cancels the request when its client has gone.
            code = CallerGone.code
            raise
        except HTTPException:
            raise
        except Exception as error:  # noqa: BLE001  # the border: no traceback reaches a caller
            code = "internal"
            return problem_response(internal(error), request.url.path)
        finally:
            elapsed = time.perf_counter() - started
            if code is None:
                services.meter.answered(name, Device.CPU.value, http=elapsed)
            else:
                services.meter.failed(name, code, http=elapsed)

    return answer


def json_response(body: Any) -> Response:
    """Give a body as JSON."""
    return Response(as_json(body), media_type="application/json")
