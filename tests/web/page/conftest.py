"""The page in a real browser, over the application with the real workload actors, served on a port of its own."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ARGUMENTS = (
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
REAL = Path(__file__).parents[4] / "shared" / "data" / "sp500_2014_2018.parquet"
WAIT_MS = 180_000
"""How long a picture may take to come: the first answer of an actor loads what it runs, and the first look at a factor
compares it with all others, a minute beside other tests on a busy machine."""


def lacking(reason: str) -> None:
    """Skip where a browser cannot be had; in continuous integration that is a failure."""
    if os.environ.get("CI"):
        pytest.fail(f"{reason}, and continuous integration insists on it")
    pytest.skip(reason)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """Debian's chromium (or Google's), driven by Playwright.

    It ends with each file: while it lives an event loop runs in this thread, and other tests start their own.
    """
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        lacking("there is no chromium here: apt-get install chromium")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        lacking("playwright is not installed: make test does it")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(ARGUMENTS))
        yield browser
        browser.close()


class Server:
    """The application on a loopback port, in a thread; it can be away for a while.

    Parameters
    ----------
    app
        What it serves.
    """

    def __init__(self, app: Any) -> None:
        self._app = app
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/"
        self._server: Any = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Serve, and return when it does."""
        import uvicorn

        config = uvicorn.Config(
            self._app, host="127.0.0.1", port=self.port, log_level="error", lifespan="off", ws="websockets-sansio"
        )
        config.timeout_graceful_shutdown = 1
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        until(lambda: self._server.started)

    def stop(self) -> None:
        """Stop serving and cut every connection."""
        if self._thread is not None:
            self._server.should_exit = True
            self._thread.join(30)
            assert not self._thread.is_alive()
            self._thread = None


def until(condition: Any, seconds: float = WAIT_MS / 1e3) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to be"
        time.sleep(0.02)


@pytest.fixture(scope="session")
def served(http, services) -> Iterator[Server]:
    """The application with the model `m`, as a browser reaches it; its library and its running day are warm."""
    from web.app import make_app

    for path in ("/factors/definitions?model_id=m", "/running-day?model_id=m"):
        until(lambda path=path: http.get(path).status_code == 200, 300.0)

    server = Server(make_app(services))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def real(http) -> Iterator[str]:
    """A model of real prices: the last two years of the shared file."""
    import polars as pl

    from contracts import frames

    if not REAL.exists():
        pytest.skip("the shared data is not here")
    frame = pl.read_parquet(REAL)
    days = frame["date"].unique().sort().tail(504)
    answer = http.put(
        "/factor-model/real/data",
        content=frames.encode(frame.filter(pl.col("date") >= days[0])),
        headers={"content-type": frames.ARROW_STREAM},
    )
    assert answer.status_code == 200, answer.text
    until(lambda: http.get("/factors/definitions?model_id=real").status_code == 200, 300.0)
    yield "real"
    assert http.delete("/factor-model/real").status_code == 200


class Prefix:
    """A proxy as an operator may have one: it takes ``/engine`` off the path, and can be away for a while.

    Parameters
    ----------
    port
        Of the application behind it, on loopback.
    """

    def __init__(self, port: int) -> None:
        self._behind = port
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._open: set[asyncio.StreamWriter] = set()
        self.port = 0
        self.start()
        self.url = f"http://127.0.0.1:{self.port}/engine/"

    def start(self) -> None:
        """Listen, on the port of before."""
        self._server = self._do(asyncio.start_server(self._serve, "127.0.0.1", self.port))
        self.port = self._server.sockets[0].getsockname()[1]

    def stop(self) -> None:
        """Close the port and cut every connection."""

        async def cut() -> None:
            self._server.close()
            for writer in list(self._open):
                writer.transport.abort()

        self._do(cut())

    def close(self) -> None:
        """Stop for good."""
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def _do(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, away = await asyncio.open_connection("127.0.0.1", self._behind)
        self._open |= {writer, away}
        try:
            await asyncio.gather(self._pass(reader, away, b" /engine/", b" /"), self._pass(there, writer, b"", b""))
        except OSError:
            pass
        finally:
            self._open -= {writer, away}
            writer.close()
            away.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, old: bytes, new: bytes) -> None:
        while chunk := await reader.read(65536):
            writer.write(chunk.replace(old, new) if old else chunk)
            await writer.drain()
        writer.close()


@pytest.fixture
def prefix(served: Server) -> Iterator[Prefix]:
    """The same application below ``/engine/``."""
    proxy = Prefix(served.port)
    yield proxy
    proxy.close()


@pytest.fixture
def serve() -> Iterator[Any]:
    """Serve the application over other services, until the test ends."""
    from web.app import make_app

    begun: list[Server] = []

    def start(services: Any) -> Server:
        begun.append(Server(make_app(services)))
        begun[-1].start()
        return begun[-1]

    yield start
    for server in begun:
        server.stop()


class Tab:
    """One tab, which notes what a reader would not see: errors in the console and requests to other hosts.

    Parameters
    ----------
    page
        Playwright's page.
    url
        Where the page of the engine is.
    """

    def __init__(self, page: Any, url: str) -> None:
        self.page, self.url = page, url
        self.errors: list[str] = []
        self._meant: list[str] = []
        self.elsewhere: list[str] = []
        page.set_default_timeout(WAIT_MS)
        page.on("console", lambda told: self.errors.append(told.text) if told.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", self._asked)

    def expect(self, pattern: str) -> None:
        """Take the browser's lines that match for what the test meant, those that are still to come too."""
        self._meant.append(pattern)

    def unexpected(self) -> list[str]:
        """Give the lines that no test meant."""
        return [line for line in self.errors if not any(re.search(pattern, line) for pattern in self._meant)]

    def _asked(self, request: Any) -> None:
        if not request.url.startswith((self.url, "data:", f"blob:{self.url}")):
            self.elsewhere.append(request.url)

    def open(self, view: str) -> Any:
        """Go to a view, such as ``book?book=equal``."""
        self.page.goto(f"{self.url}#/{view}")
        return self.page

    def panel(self, title: str) -> Any:
        """Find a panel by its title."""
        return self.page.get_by_role("region", name=title, exact=True).first


@pytest.fixture
def tab(chromium, served) -> Iterator[Tab]:
    """A fresh tab; a test that meant no error ends without one."""
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    tab = Tab(context.new_page(), served.url)
    yield tab
    context.close()
    assert tab.unexpected() == []
    assert tab.elsewhere == []
