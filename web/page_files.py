"""The page at ``/``: plain files of ``web/page/``, served as they are.

They need no token: what they show they ask for with the reader's own. A browser asks again with the ETag that it has,
and is told that nothing changed. The page may load from here only, and may not be put into a frame.
"""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path
from typing import NamedTuple

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

FOLDER = Path(__file__).parent / "page"
KINDS = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".json": "application/json",
    ".txt": "text/plain; charset=utf-8",
}
"""The content types by suffix; a file with another suffix is not served. The machine's own table is not asked."""
POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; object-src 'none'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
    "Vary": "Accept-Encoding",
}


class _File(NamedTuple):
    """One file as it is sent: its bytes, the same packed, its type, and what it is recognised by."""

    body: bytes
    packed: bytes
    kind: str
    etag: str


class PageFiles:
    """The files of a folder, read when they are first asked for and again when they changed.

    Parameters
    ----------
    folder
        Nothing beyond it is given, nor what a name that begins with a dot stands for.
    """

    def __init__(self, folder: Path = FOLDER) -> None:
        self._folder = folder
        self._held: dict[str, tuple[int, _File]] = {}
        self._names = {
            path.relative_to(folder).as_posix()
            for path in folder.rglob("*")
            if path.suffix in KINDS and path.is_file() and not path.name.startswith(".")
        }

    def routes(self) -> list[Route]:
        """Give ``/`` and ``/page/{name}``."""
        return [
            Route("/", self._index, methods=["GET"], name="page"),
            Route("/page/{name:path}", self._named, methods=["GET"], name="page_file"),
        ]

    async def _index(self, request: Request) -> Response:
        return self._give(request, "index.html")

    async def _named(self, request: Request) -> Response:
        return self._give(request, request.path_params["name"])

    def _give(self, request: Request, name: str) -> Response:
        if name not in self._names:
            raise HTTPException(404)
        file = self._read(name)
        headers = HEADERS | {"ETag": file.etag}
        if _knows(request.headers.get("if-none-match", ""), file.etag):
            return Response(status_code=304, headers=headers)
        if "gzip" in request.headers.get("accept-encoding", "").lower():
            headers["Content-Encoding"] = "gzip"
            return Response(file.packed, headers=headers, media_type=file.kind)
        return Response(file.body, headers=headers, media_type=file.kind)

    def _read(self, name: str) -> _File:
        path = self._folder / name
        changed = path.stat().st_mtime_ns
        held = self._held.get(name)
        if held is not None and held[0] == changed:
            return held[1]
        body = path.read_bytes()
        file = _File(
            body,
            gzip.compress(body, 9, mtime=0),
            KINDS[path.suffix],
            f'"{hashlib.sha256(body).hexdigest()[:32]}"',
        )
        self._held[name] = (changed, file)
        return file


def _knows(given: str, etag: str) -> bool:
    """Say whether ``If-None-Match`` names a file; a proxy that packs it may have made the tag a weak one."""
    return any(tag.strip().removeprefix("W/") in (etag, "*") for tag in given.split(","))
