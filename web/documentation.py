"""The interactive documentation: Swagger UI, whose files the engine serves itself.

A page about an engine on loopback must not need, nor tell, anybody else: the browser is told to load nothing from
elsewhere, and the check of the document at swagger.io is off.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from importlib import resources

from fastapi.openapi.docs import get_swagger_ui_html
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from contracts.examples import SYMBOLS
from contracts.operations import OPERATIONS
from contracts.tokens import Scope
from web.callers import CALLER, NOBODY
from web.openapi import document
from web.problems import json_response
from web.service import ROUTES
from web.services import Services, within

SYMBOLS_S = 1.0
"""How long the document waits for the loaded model's names; it is made with the sample's otherwise."""
FILES = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "favicon-32x32.png": "image/png",
}
ONLY_FROM_HERE = (
    "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "frame-ancestors 'none'"
)
_CACHED = {"Cache-Control": "public, max-age=86400"}


def documentation_routes(services: Services) -> list[Route]:
    """Give ``/docs`` with its files, and ``/openapi.json``."""
    described = functools.lru_cache(maxsize=4)(lambda symbols: document(ROUTES, symbols))

    async def openapi(request: Request) -> Response:
        known = request.scope.get(CALLER, NOBODY).scope >= Scope.READ
        return json_response(described(await _symbols(services) if known else SYMBOLS))

    async def docs(_request: Request) -> Response:
        page = get_swagger_ui_html(
            openapi_url="/openapi.json",
            title="Factor Engine",
            swagger_js_url="/docs/swagger-ui-bundle.js",
            swagger_css_url="/docs/swagger-ui.css",
            swagger_favicon_url="/docs/favicon-32x32.png",
            swagger_ui_parameters={"validatorUrl": None},
        )
        page.headers["Content-Security-Policy"] = ONLY_FROM_HERE
        return page

    handlers: dict[str, Callable[[Request], Awaitable[Response]]] = {
        "/openapi.json": openapi,
        "/docs": docs,
        **{f"/docs/{name}": _file(name, kind) for name, kind in FILES.items()},
    }
    return [Route(path, handler, methods=["GET"]) for path, handler in handlers.items()]


def _file(name: str, kind: str) -> Callable[[Request], Awaitable[Response]]:
    async def give(_request: Request) -> Response:
        return Response(_content(name), media_type=kind, headers=_CACHED)

    return give


@functools.cache
def _content(name: str) -> bytes:
    return resources.files("fastapi_swagger.resources").joinpath(name).read_bytes()


async def _symbols(services: Services) -> tuple[str, ...]:
    """Give names of the default model, so that the examples work as they stand."""
    if services.face is None or services.face.default_model is None:
        return SYMBOLS
    asked = services.face.answer(
        OPERATIONS["model_status"], {"model_id": services.face.default_model}, timeout_s=SYMBOLS_S
    )
    answer, _ = await within(SYMBOLS_S, asked)
    return tuple(answer["largest_symbols"]) if answer else SYMBOLS
