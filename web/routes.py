"""The operation table as HTTP routes: one handler per row, whatever its paths."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from contracts import frames
from contracts.errors import DeadlineExceeded, InvalidInput
from contracts.operations import OPERATIONS, Operation
from contracts.requests import Request as Asked
from contracts.settings import Settings
from web.body import LARGE_BODY_BYTES, bulk_file, media_type, read_json
from web.payload import QueryReader, merge, timeout_of
from web.problems import guarded, json_response
from web.services import Services

INLINE_BULK_BYTES = 8 * 2**20
"""A bulk table up to this size travels in the request; a larger one stays a file that the actor reads."""
GRACE_S = 2.0
"""The engine keeps deadlines itself; this much later the face stops waiting for it."""
MAX_REQUEST_ID = 128


def operation_routes(services: Services) -> Iterator[Route]:
    """Give every HTTP route of the operation table."""
    for operation in OPERATIONS.values():
        handler = guarded(_handler(operation, services), services, operation.name)
        for route in operation.routes:
            yield Route(route.path, handler, methods=[route.method], name=operation.name)


def uploads(settings: Settings) -> Any:
    """Give the folder that bulk bodies are streamed to."""
    return (settings.run_dir / "uploads").resolve()


def _handler(operation: Operation, services: Services) -> Any:
    query = QueryReader(operation)
    with_body = {route.path for route in operation.routes if route.method in {"POST", "PUT"}}

    async def handle(request: Request) -> Response:
        if operation.bulk:
            return await _bulk(request, operation, services, query)
        body: Any = {}
        if with_body:
            body = await read_json(request, services.settings.http_json_limit_bytes)
        return await _answer(request, operation, services, merge(body, query.read(request), request.path_params))

    return handle


async def _answer(request: Request, operation: Operation, services: Services, payload: dict[str, Any]) -> Response:
    face = services.need_face()
    timeout_s = timeout_of(request)
    asked: dict[str, Any] | Asked = payload
    if int(request.headers.get("content-length") or 0) > LARGE_BODY_BYTES:
        # Turning a large table into columns would hold up every other request on the loop.
        asked = await asyncio.to_thread(face.read, operation, payload)
    call = face.answer(operation, asked, timeout_s=timeout_s, request_id=_request_id(request))
    limit_s = (operation.timeout_s if timeout_s is None else timeout_s) + GRACE_S
    try:
        async with asyncio.timeout(limit_s):
            return json_response(await call)
    except TimeoutError:
        raise DeadlineExceeded(f"no answer from the engine within {limit_s:g} s") from None


def _request_id(request: Request) -> str | None:
    """Read ``Idempotency-Key``: a write repeated under it makes no second version."""
    key = request.headers.get("idempotency-key")
    if key is not None and not 0 < len(key) <= MAX_REQUEST_ID:
        raise InvalidInput(f"Idempotency-Key must have 1 to {MAX_REQUEST_ID} characters", field="idempotency-key")
    return key


async def _bulk(request: Request, operation: Operation, services: Services, query: QueryReader) -> Response:
    """Stream the table to a file; hand it on by value when small, by its path otherwise."""
    services.need_face()
    kind = frames.bulk_type(media_type(request))
    limit = services.settings.http_bulk_limit_bytes
    async with bulk_file(request, limit, uploads(services.settings)) as path:
        if path.stat().st_size <= INLINE_BULK_BYTES:
            table = await asyncio.to_thread(lambda: frames.encode(frames.from_bulk(path.read_bytes(), kind)))
        else:
            table = frames.file_reference(path, kind)
        payload = {**query.read(request), **request.path_params, "feature_data": table}
        return await _answer(request, operation, services, payload)
