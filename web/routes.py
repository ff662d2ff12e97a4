"""The operation table as HTTP routes: one handler per row, whatever its paths."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Iterator
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bus.answer_form import formed, wants_arrow
from bus.read_request import refuse_contradiction
from bus.reader import HERE_BYTES
from contracts import frames
from contracts.errors import DeadlineExceeded, InvalidInput
from contracts.operations import OPERATIONS, Operation
from contracts.requests import Request as Asked
from contracts.settings import Settings
from contracts.work import Presence
from web.body import bulk_file, media_type, read_body, table_files
from web.callers import require
from web.payload import QueryReader, timeout_of
from web.problems import guarded
from web.services import Services

KEY_COLUMNS = {"date_col": "date", "symbol_col": "symbol"}
GRACE_S = 2.0
"""The engine keeps deadlines itself; this much later the face stops waiting for it."""
MAX_REQUEST_ID = 128
ASKED_MOST = ("factor_exposures", "portfolio_risk")
"""Their routes come first: paths are tried one after the other, twenty of them in the time of reading a portfolio."""


def operation_routes(services: Services) -> Iterator[Route]:
    """Give every HTTP route of the operation table."""
    for operation in sorted(OPERATIONS.values(), key=lambda row: row.name not in ASKED_MOST):
        handler = guarded(_handler(operation, services), services, operation.name, operation.scope)
        for route in operation.routes:
            yield Route(route.path, handler, methods=[route.method], name=operation.name)


def uploads(settings: Settings) -> Any:
    """Give the folder that bulk bodies are streamed to."""
    return (settings.run_dir / "uploads").resolve()


def _handler(operation: Operation, services: Services) -> Any:
    query = QueryReader(operation)
    with_body = {route.path for route in operation.routes if route.method in {"POST", "PUT"}}

    async def handle(request: Request) -> Response:
        began = time.monotonic()
        asked = query.read(request)
        timeout_s = timeout_of(request)
        if operation.bulk:
            return await _bulk(request, operation, services, asked, timeout_s)
        body = await read_body(request, services.settings.http_json_limit_bytes) if with_body else b""
        face = services.need_face()
        told = (operation, body, asked, dict(request.path_params), face.default_model, timeout_s)
        if len(body) <= HERE_BYTES or not operation.frames:
            read = await services.reader.request(*told)
            return await _answer(request, operation, services, read, _left(timeout_s, began))
        async with table_files(operation.frames, uploads(services.settings)) as beside:
            read = await services.reader.request(*told, beside)
            return await _answer(request, operation, services, read, _left(timeout_s, began))

    return handle


def _left(timeout_s: float | None, began: float) -> float | None:
    return None if timeout_s is None else timeout_s - (time.monotonic() - began)


async def _answer(
    request: Request, operation: Operation, services: Services, asked: dict[str, Any] | Asked, timeout_s: float | None
) -> Response:
    face, request_id = services.need_face(), _request_id(request)
    if isinstance(asked, Asked):
        require(request.scope, operation.scope_of(asked))
    arrow = wants_arrow(request.headers.get("accept"), operation)
    limit_s = (operation.timeout_s if timeout_s is None else timeout_s) + GRACE_S
    try:
        async with asyncio.timeout(limit_s):
            if operation.writes:
                presence = Presence()
                work = face.answer(operation, asked, timeout_s=timeout_s, request_id=request_id, presence=presence)
                answer = await _written(work, presence, services)
            else:
                answer = await face.answer(operation, asked, timeout_s=timeout_s, request_id=request_id)
            body, media, headers = await formed(operation, answer, arrow)
            return Response(body, headers=headers, media_type=media)
    except TimeoutError:
        raise DeadlineExceeded(f"no answer from the engine within {limit_s:g} s") from None


async def _written(work: Coroutine[Any, Any, dict[str, Any]], presence: Presence, services: Services) -> dict[str, Any]:
    """Wait for a write. When the client goes, Serve cancels this; the write is told to end, and goes its way.

    It may have been committed by then, and what is committed has its event: so what shapes the answer and its event is
    not cancelled.
    """
    task = asyncio.create_task(work)
    services.keep(task)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        presence.leave()
        raise


def _request_id(request: Request) -> str | None:
    """Read ``Idempotency-Key``: a write repeated under it makes no second version."""
    key = request.headers.get("idempotency-key")
    if key is not None and not 0 < len(key) <= MAX_REQUEST_ID:
        raise InvalidInput(f"Idempotency-Key must have 1 to {MAX_REQUEST_ID} characters", field="idempotency-key")
    return key


async def _bulk(
    request: Request, operation: Operation, services: Services, asked: dict[str, Any], timeout_s: float | None
) -> Response:
    """Stream the table to a file and have it read; hand it on by value when small, by the file otherwise."""
    services.need_face()
    began = time.monotonic()
    refuse_contradiction("query", asked, request.path_params)
    kind = frames.bulk_type(media_type(request))
    read_as = asked.get("intake")
    read_as = read_as if isinstance(read_as, dict) else {}
    names = {name: str(asked.get(name) or read_as.get(name) or default) for name, default in KEY_COLUMNS.items()}
    async with bulk_file(request, services.settings.http_bulk_limit_bytes, uploads(services.settings)) as path:
        limit_s = operation.timeout_s if timeout_s is None else timeout_s
        table = await services.reader.table(path, kind, names, _left(limit_s, began))
        payload = {**asked, **request.path_params, "feature_data": table}
        return await _answer(request, operation, services, payload, _left(timeout_s, began))
