"""Who asks over HTTP: the bearer token of a request, what it may do, and how often.

A token costs its caller one hash and one look-up per request. The file is looked at once a second at most, so a token
that was taken away is refused a second later.
"""

from __future__ import annotations

import hmac
import logging
import time
from hashlib import sha256
from typing import Any

from starlette.types import Scope as Asgi

from contracts.caller import LOCAL
from contracts.errors import EngineError, Forbidden, RateExceeded, Unauthenticated, Unavailable
from contracts.settings import Settings
from contracts.tokens import Scope, Token, known_tokens, on_loopback, token_file

CALLER = "factor_engine_caller"
"""Where an ASGI scope says who asks."""
PROTOCOL = "factor-engine"
PROTOCOL_TOKEN = "bearer."  # noqa: S105
"""A page in a browser cannot set headers of a websocket: it offers the protocols `factor-engine, bearer.<token>`."""
LOOK_AGAIN_S = 1.0
BURST_S = 2.0
"""A caller that was quiet may ask for so many seconds' worth at once."""
NOBODY = Token("nobody", Scope.NONE, "0" * 64)
ANYBODY = Token(LOCAL, Scope.ADMIN, "0" * 64)
OPEN = frozenset(
    {
        "/live",
        "/",
        "/docs",
        "/docs/swagger-ui-bundle.js",
        "/docs/swagger-ui.css",
        "/docs/favicon-32x32.png",
        "/openapi.json",
        "/llms.txt",
        "/-/healthz",
        "/-/routes",
    }
)
"""What tells nothing of the models nor of the callers: whether we live, and the documentation."""
PAGE = "/page/"
"""The files of the page are open too: it asks with the reader's token for what it shows."""

_log = logging.getLogger(__name__)


class Callers:
    """Lets in who has a token, where one is required.

    Tokens are required where the engine listens beyond loopback, and wherever a token file or
    ``FACTOR_ENGINE_TOKENS`` is. Tokens that cannot be read let nobody in.

    Parameters
    ----------
    current
        Where the tokens are, and where the engine listens.
    """

    def __init__(self, current: Settings) -> None:
        self._current = current
        self._path = token_file(current)
        self._open = on_loopback(current.http_host)
        self._known: dict[str, Token] | None = None
        self._fault: EngineError | None = None
        self._stamp: object = ()
        self._look_at = 0.0
        self._buckets: dict[str, list[float]] = {}

    def admit(self, asgi: Asgi) -> Token:
        """Say who asks, and count it.

        Raises
        ------
        Unauthenticated
            There is no token, or none that is known.
        RateExceeded
            It was used too often.
        Unavailable
            The tokens cannot be read.
        """
        now = time.monotonic()
        if now >= self._look_at:
            self._look(now)
        if self._known is None and self._fault is None:
            return ANYBODY
        secret = _secret(asgi)
        found = self._find(secret) if secret is not None and self._known is not None else None
        if found is not None:
            self._count(found, now)
            return found
        if asgi["path"] in OPEN or asgi["path"].startswith(PAGE):
            return NOBODY
        if self._fault is not None:
            raise self._fault
        raise Unauthenticated(
            "this engine knows no such token"
            if secret is not None
            else "a token is required: authorization: Bearer <token>; python -m launch token add NAME makes one",
            field="authorization",
        )

    def _find(self, secret: bytes) -> Token | None:
        assert self._known is not None
        digest = sha256(secret).hexdigest()
        found = self._known.get(digest)
        return found if found is not None and hmac.compare_digest(found.digest, digest) else None

    def _count(self, token: Token, now: float) -> None:
        """Take one from the token's bucket, which fills at its rate."""
        bucket = self._buckets.get(token.name)
        most = max(1.0, token.per_second * BURST_S)
        if bucket is None:
            bucket = self._buckets[token.name] = [most, now]
        left = min(most, bucket[0] + (now - bucket[1]) * token.per_second)
        bucket[1] = now
        if left < 1.0:
            bucket[0] = left
            raise RateExceeded(
                f"token {token.name} may ask {token.per_second:g} times per second",
                retry_after_s=(1.0 - left) / token.per_second,
            )
        bucket[0] = left - 1.0

    def _look(self, now: float) -> None:
        """Read the tokens again where the file changed."""
        self._look_at = now + LOOK_AGAIN_S
        stamp = self._seen()
        if stamp == self._stamp:
            return
        # Until they are read nobody is let in: an error that nobody thought of must not leave the door open.
        self._known, self._fault = None, Unavailable("the tokens cannot be read")
        self._stamp = stamp
        try:
            known = known_tokens(self._current)
        except EngineError as error:
            _log.error("nobody is let in: %s", error.detail)
            self._fault = Unavailable(f"the tokens cannot be read: {error.detail}")
            return
        self._fault = None
        if known is None and not self._open:
            known = ()
        self._known = None if known is None else {token.digest: token for token in known}
        names = {token.name for token in known or ()}
        self._buckets = {name: bucket for name, bucket in self._buckets.items() if name in names}

    def _seen(self) -> Any:
        try:
            found = self._path.stat()
        except OSError as error:
            return error.errno
        return found.st_mtime_ns, found.st_ino, found.st_mode, found.st_uid


def _secret(asgi: Asgi) -> bytes | None:
    """Read the token that a request carries."""
    for name, value in asgi["headers"]:
        if name == b"authorization":
            kind, _, rest = value.partition(b" ")
            return bytes(rest.strip()) if kind.lower() == b"bearer" else None
    for offered in asgi.get("subprotocols", ()):
        if offered.startswith(PROTOCOL_TOKEN):
            return str(offered[len(PROTOCOL_TOKEN) :]).encode("latin-1", "replace")
    return None


def require(asgi: Asgi, needs: Scope) -> Token:
    """Refuse a caller whose token does not cover this; what came past no door is nobody.

    Raises
    ------
    Forbidden
        Says what would be needed.
    """
    found: Token = asgi.get(CALLER, NOBODY)
    if found.scope < needs:
        raise Forbidden(
            f"this needs a token of scope {needs.name.lower()}; {found.name} has {found.scope.name.lower()}",
            field="authorization",
        )
    return found
