"""The ASGI application: operation routes, service routes, the websocket, the page and the documentation."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, nullcontext

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.routing import WebSocketRoute

from contracts.identity import engine_id
from contracts.version import VERSION
from web.agents import Agents, available
from web.described import described_routes
from web.documentation import documentation_routes
from web.doors import Doors
from web.feed import FactorFeed
from web.identity import OwnRequestsOnly
from web.page_files import PageFiles
from web.problems import http_exception
from web.routes import operation_routes
from web.service import service_routes
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
    agents = Agents(services) if available() else None

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        if connect is not None:
            await connect(services)
        async with agents.running() if agents is not None else nullcontext():
            yield
        services.reader.close()
        if services.close is not None:
            await services.close()

    app = FastAPI(
        title="Factor Engine", version=VERSION, openapi_url=None, docs_url=None, redoc_url=None, lifespan=lifespan
    )
    app.add_middleware(OwnRequestsOnly, own=engine_id(services.settings.run_dir))
    app.add_middleware(Doors, current=services.settings, counts=services.doors)
    app.add_exception_handler(HTTPException, http_exception)
    # Plain routes: bodies are checked against the operation table, once, so FastAPI's own checking would be a second.
    app.router.routes.extend(operation_routes(services))
    app.router.routes.extend(service_routes(services))
    app.router.routes.append(WebSocketRoute("/ws/factors", FactorFeed(services).serve, name="feed"))
    app.router.routes.extend(documentation_routes(services))
    app.router.routes.extend(PageFiles().routes())
    app.router.routes.extend(described_routes(services))
    if agents is not None:
        app.router.routes.append(agents.route())
    return app
