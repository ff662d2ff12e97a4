"""The HTTP face: ``serve run serve_app:app``.

No mathematics is here: a replica of the application checks requests, calls the engine, and shapes answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Any, cast

from ray import serve

from contracts import logs, tracing
from contracts.errors import first_line
from contracts.settings import HEAD, settings
from engine import haproxy
from engine.cluster import MAX_ONGOING_REQUESTS, keep_replica_on_loopback, ray_socket
from engine.conditions import Conditions
from web.app import make_app
from web.services import Services
from web.watch import Watch

NAME = "factor-engine"
RETRY_S = 1.0
CONNECT_S = 10.0

ON_HEAD: dict[str, Any] = {"num_cpus": 0, "resources": {HEAD: 0.001}}
"""Where replicas are: on the head, as the outbox is a database file of that machine, and HAProxy listens there."""

LEAVE_S = 30.0
"""A replica that is replaced answers for so long what it has in work. When the engine ends nobody waits for it."""

_log = logging.getLogger(__name__)
_connecting: set[asyncio.Task[None]] = set()


async def _connect(services: Services) -> None:
    """Begin connecting to the engine; requests are answered meanwhile, with the reason."""
    held = contextlib.AsyncExitStack()
    task = asyncio.create_task(_connect_and_watch(services, held), name="connect, then watch")
    _connecting.add(task)
    task.add_done_callback(_connecting.discard)

    async def close() -> None:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await held.aclose()

    services.close = close


async def _connect_and_watch(services: Services, held: contextlib.AsyncExitStack) -> None:
    from bus.face_process import settle
    from engine import start as engine

    while services.face is None:
        try:
            if not await asyncio.to_thread(engine.is_started):
                await asyncio.to_thread(engine.start_engine, services.settings)
            connection = await engine.connect(services.settings, CONNECT_S)
        except Exception as error:  # noqa: BLE001  # a part that cannot start now may do so later; /health says why
            services.starting_because = f"the engine is starting: {first_line(error)}"
            _log.warning("not connected yet: %s", first_line(error))
            await asyncio.sleep(RETRY_S)
            continue
        services.client, services.bridge = connection.client, connection.bridge
        held.push_async_callback(connection.close)
        await asyncio.to_thread(services.reader.start)
        settle()
        services.face = connection.face
    await Watch(services).run()


def build() -> Any:
    """Make the replica's application; called in the replica's own process."""
    keep_replica_on_loopback()
    logs.begin("http", settings())
    tracing.begin("http", settings())
    services = Services(settings())
    replica = serve.get_replica_context().replica_id.unique_id
    services.host = Conditions(settings(), replica, ray_socket()).look
    services.reload_proxy = haproxy.load_again
    return make_app(services, _connect)


@serve.deployment(
    name="http",
    num_replicas=1,
    max_ongoing_requests=MAX_ONGOING_REQUESTS,
    graceful_shutdown_timeout_s=LEAVE_S,
    ray_actor_options=ON_HEAD,
)
@serve.ingress(build)
class Http:
    """A stateless replica; the engine's actors belong to none of them."""


# The decorator makes a deployment of the class, which type checkers do not see.
deployment: serve.Deployment = cast("serve.Deployment", Http)
app = deployment.bind()
