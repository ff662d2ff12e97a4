"""The clients without `await`: for notebooks, scripts and the prompt."""

from __future__ import annotations

import asyncio
import functools
import inspect
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator
from typing import Any, Self

from clients.surface import Connection

CLOSE_S = 10.0
"""How long the end waits for what still runs."""


class Blocking:
    """A client whose methods wait for their answers: ``with Blocking(HttpEngine(url)) as engine``.

    It has every method of the client that it is given; `watch` is an iterator, which ends when it is closed.
    The client's loop runs in a thread of its own, so that it works where a loop runs already, as in Jupyter.

    Parameters
    ----------
    client
        `HttpEngine` or `NatsEngine`, not yet entered.
    """

    def __init__(self, client: Connection) -> None:
        self._client: Any = client
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="factor-engine client", daemon=True)

    def open(self) -> Self:
        """Connect; where a block does not fit, as between the cells of a notebook. `close` ends it.

        Raises
        ------
        Unavailable
            Nobody is there, as far as the client finds out now.
        """
        self._thread.start()
        try:
            self._wait(self._client.__aenter__())
        except BaseException:
            self._end()
            raise
        return self

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connection and its loop."""
        try:
            self._wait(self._client.__aexit__(None, None, None))
        finally:
            self._end()

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._client, name)
        if inspect.isasyncgenfunction(found):
            return functools.wraps(found)(lambda *given, **more: self._each(found(*given, **more)))
        if inspect.iscoroutinefunction(found):
            return functools.wraps(found)(lambda *given, **more: self._wait(found(*given, **more)))
        return found

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *dir(self._client)})

    def _wait(self, work: Coroutine[Any, Any, Any]) -> Any:
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()  # Ctrl-C: the request is given up too
            raise

    def _each(self, values: AsyncIterator[Any]) -> Iterator[Any]:
        try:
            while (value := self._wait(_next(values))) is not _END:
                yield value
        finally:
            if self._thread.is_alive():  # else what it followed has ended too
                self._wait(_closed(values))

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(CLOSE_S)
        if not self._thread.is_alive():
            self._loop.close()


_END = object()


async def _next(values: AsyncIterator[Any]) -> Any:
    return await anext(values, _END)


async def _closed(values: AsyncIterator[Any]) -> None:
    await values.aclose()  # type: ignore[attr-defined]
