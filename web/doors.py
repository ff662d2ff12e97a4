"""Who may come in: hosts, origins and tokens, looked at before any route.

A page that a user opens in a browser can send requests to an address on the user's own machine. Two checks stop it:

* the ``Host`` that was asked for must be one of ours, so that a name that an attacker points at 127.0.0.1 (DNS
  rebinding) is refused with 421;
* a write, and a websocket, that carries an ``Origin`` must come from a page of this very host, or from one that the
  operator lists; another is refused with 403. Programs send no ``Origin``.

A request without ``Host`` passes: every browser sends one, HAProxy's health probes do not.

Then the token is looked at (`web.callers`); what it may do, each route says itself (`web.problems.guarded`).
"""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from contracts.caller import caller
from contracts.errors import EngineError, ForeignOrigin, UnknownHost
from contracts.settings import Settings
from web.callers import ANYBODY, CALLER, Callers
from web.problems import problem_response

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
POLICY_VIOLATION = 1008
ANY = "*"
_PORTS = {"http": ":80", "ws": ":80", "https": ":443", "wss": ":443"}


class Doors:
    """ASGI middleware that refuses foreign hosts and origins, and callers without a token where one is required.

    Parameters
    ----------
    app
        What is behind it.
    current
        `http_host`, `allowed_hosts`, `allowed_origins`, and where the tokens are.
    counts
        Refusals are counted here, by code.
    """

    def __init__(self, app: ASGIApp, current: Settings, counts: dict[str, int]) -> None:
        self._app = app
        self._hosts = Hosts(current)
        self._origins = frozenset(origin.lower().rstrip("/") for origin in current.allowed_origins)
        self._counts = counts
        self._callers = Callers(current)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request, or let it pass."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        error = self._refusal(scope)
        if error is None:
            try:
                found = self._callers.admit(scope)
            except EngineError as refused:
                error = refused
        if error is None:
            scope[CALLER] = found
            caller.set(found.name if found is ANYBODY else f"token:{found.name}")
            await self._app(scope, receive, send)
            return
        self._counts[error.code] = self._counts.get(error.code, 0) + 1
        if scope["type"] == "websocket":
            # Closing before accepting is answered as 403 by the server.
            await receive()
            await send({"type": "websocket.close", "code": POLICY_VIOLATION, "reason": error.title})
            return
        await problem_response(error, scope["path"])(scope, receive, send)

    def _refusal(self, scope: Scope) -> EngineError | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if host and not self._hosts.knows(host):
            return UnknownHost(
                f"this engine is not {_shown(host)}; FACTOR_ENGINE_ALLOWED_HOSTS lists other names of it", field="host"
            )
        origin = headers.get("origin")
        if origin is None or (scope["type"] == "http" and scope["method"] in SAFE_METHODS):
            return None
        if _same(origin, host) or origin.lower() in self._origins or ANY in self._origins:
            return None
        return ForeignOrigin(
            f"a page of {_shown(origin)} may not do this; FACTOR_ENGINE_ALLOWED_ORIGINS lists pages that may",
            field="origin",
        )


class Hosts:
    """The names that this engine answers to.

    Loopback names and addresses, the configured address, and those that the operator lists. An engine that listens on
    all addresses has no address of its own to compare with: any literal address passes there, since only a name can be
    pointed elsewhere.
    """

    def __init__(self, current: Settings) -> None:
        self._names = {"localhost", current.http_host.lower(), *(host.lower() for host in current.allowed_hosts)}
        address = _address(current.http_host)
        self._any_address = address is not None and address.is_unspecified
        # Nearly every request names the same host.
        self._look_up = lru_cache(maxsize=256)(self._knows)

    def knows(self, host: str) -> bool:
        """Say whether a ``Host`` header, with or without a port, names this engine."""
        return self._look_up(host)

    def _knows(self, host: str) -> bool:
        if ANY in self._names:
            return True
        name = _name(host)
        if name is None:
            return False
        if name in self._names:
            return True
        address = _address(name)
        return address is not None and (address.is_loopback or self._any_address)


def _name(host: str) -> str | None:
    """Take the port off; a name may end in a dot."""
    try:
        name = urlsplit(f"//{host}").hostname
    except ValueError:
        return None
    return name.rstrip(".").lower() if name and "@" not in host else None


def _address(name: str) -> Any:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None


def _same(origin: str, host: str) -> bool:
    """Say whether an ``Origin`` is a page of the host that is asked; the port counts."""
    scheme, _, netloc = origin.lower().partition("://")
    port = _PORTS.get(scheme, "")
    return bool(netloc) and netloc.removesuffix(port) == host.lower().removesuffix(port)


def _shown(text: str) -> str:
    return ascii(text[:100])
