"""The ASGI application: operation routes, service routes, the websocket, and the interactive documentation."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route, WebSocketRoute

from contracts.identity import engine_id
from contracts.operations import OPERATIONS
from web.examples import SYMBOLS
from web.feed import FactorFeed
from web.identity import OwnRequestsOnly
from web.openapi import VERSION, document
from web.problems import http_exception, json_response
from web.routes import operation_routes
from web.service import ROUTES, service_routes
from web.services import Services, within

Connect = Callable[[Services], Awaitable[None]]
SYMBOLS_S = 1.0
"""How long the document waits for the loaded model's names; it is made with the sample's otherwise."""


def make_app(services: Services, connect: Connect | None = None) -> FastAPI:
    """Make the application.

    Parameters
    ----------
    services
        What the handlers use.
    connect
        Fills `services` in; started with the application, which answers at once and says so while it is not connected.
    """

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        if connect is not None:
            await connect(services)
        yield
        if services.close is not None:
            await services.close()

    app = FastAPI(
        title="Factor Engine", version=VERSION, openapi_url=None, docs_url=None, redoc_url=None, lifespan=lifespan
    )
    app.add_middleware(OwnRequestsOnly, own=engine_id(services.settings.run_dir))
    app.add_exception_handler(HTTPException, http_exception)
    # Plain routes: bodies are checked against the operation table, once, so FastAPI's own checking would be a second.
    app.router.routes.extend(operation_routes(services))
    app.router.routes.extend(service_routes(services))
    app.router.routes.append(WebSocketRoute("/ws/factors", FactorFeed(services).serve, name="feed"))
    app.router.routes.extend(_documentation(services))
    return app


def _documentation(services: Services) -> list[Route]:
    described = functools.lru_cache(maxsize=4)(lambda symbols: document(ROUTES, symbols))

    async def openapi(_request: Request) -> Response:
        return json_response(described(await _symbols(services)))

    async def docs(_request: Request) -> Response:
        return get_swagger_ui_html(openapi_url="/openapi.json", title="Factor Engine")

    async def root(_request: Request) -> Response:
        return RedirectResponse("/docs")

    handlers: dict[str, Any] = {"/openapi.json": openapi, "/docs": docs, "/": root}
    return [Route(path, handler, methods=["GET"]) for path, handler in handlers.items()]


async def _symbols(services: Services) -> tuple[str, ...]:
    """Give names of the default model, so that the examples work as they stand."""
    if services.face is None or services.face.default_model is None:
        return SYMBOLS
    asked = services.face.answer(
        OPERATIONS["model_status"], {"model_id": services.face.default_model}, timeout_s=SYMBOLS_S
    )
    answer, _ = await within(SYMBOLS_S, asked)
    return tuple(answer["largest_symbols"]) if answer else SYMBOLS
