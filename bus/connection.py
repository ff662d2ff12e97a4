"""A connection to the NATS server of the settings, made once: whoever loses it makes another."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Awaitable, Callable
from typing import Any

from nats.aio.client import Client

from contracts.access import nats_access
from contracts.settings import Settings

CONNECT_TIMEOUT_S = 2
PING_INTERVAL_S = 5
PENDING_BYTES = 8 * 2**20


async def connect(
    current: Settings,
    name: str,
    on_error: Callable[[Exception], Awaitable[None]],
    on_end: Callable[[], Awaitable[None]],
) -> tuple[Client, dict[str, Any]]:
    """Connect, with the access read anew; gives the client and what is told of the server.

    Parameters
    ----------
    current
        Where the server is.
    name
        What the server is told of us.
    on_error, on_end
        Called for what nats-py reports, and when the connection ends.

    Raises
    ------
    OSError, nats.errors.Error, TimeoutError
        There is no connection.
    """
    access = nats_access(current)
    if access is None:
        raise ConnectionError("no NATS server was started for this run directory yet")
    nc = Client()
    access.introduce(nc)
    try:
        await nc.connect(
            **access.options(),
            name=f"factor-engine {name} {os.getpid()}",
            allow_reconnect=False,
            connect_timeout=CONNECT_TIMEOUT_S,
            ping_interval=PING_INTERVAL_S,
            max_outstanding_pings=2,
            pending_size=PENDING_BYTES,
            error_cb=on_error,
            disconnected_cb=on_end,
            closed_cb=on_end,
        )
    except BaseException:
        # nats-py leaves the socket of an attempt that failed.
        await close(nc)
        raise
    version = nc.connected_server_version
    return nc, {
        "url": access.public_url,
        "version": f"{version.major}.{version.minor}.{version.patch}",
        "max_payload": nc.max_payload,
    }


async def close(nc: Client) -> None:
    """Close a connection. Its socket too when there is no time for it: TLS waits for the server's word of parting."""
    try:
        with contextlib.suppress(Exception):
            await nc.close()
    finally:
        # The socket below TLS, to which nats-py gives no public way.
        bare = getattr(nc._transport, "_bare_io_writer", None)  # noqa: SLF001
        if bare is not None:
            bare.transport.abort()
