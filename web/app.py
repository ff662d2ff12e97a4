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

from web.feed import FactorFeed
from web.openapi import VERSION, document
from web.problems import http_exception, json_response
from web.routes import operation_routes
from web.service import ROUTES, service_routes
from web.services import Services

Connect = Callable[[Services], Awaitable[None]]


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
    app.add_exception_handler(HTTPException, http_exception)
    # Plain routes: bodies are checked against the operation table, once, so FastAPI's own checking would be a second.
    app.router.routes.extend(operation_routes(services))
    app.router.routes.extend(service_routes(services))
    app.router.routes.append(WebSocketRoute("/ws/factors", FactorFeed(services).serve, name="feed"))
    app.router.routes.extend(_documentation())
    return app


def _documentation() -> list[Route]:
    described = functools.cache(lambda: document(ROUTES))

    async def openapi(_request: Request) -> Response:
        return json_response(described())

    async def docs(_request: Request) -> Response:
        return get_swagger_ui_html(openapi_url="/openapi.json", title="Factor Engine")

    async def root(_request: Request) -> Response:
        return RedirectResponse("/docs")

    handlers: dict[str, Any] = {"/openapi.json": openapi, "/docs": docs, "/": root}
    return [Route(path, handler, methods=["GET"]) for path, handler in handlers.items()]
